/** Deletes dead links of the host namespace. The kernel takes 16 to 20 ms a delete, or 40 to 60 for a whole group. */

import { setTimeout as delay } from 'node:timers/promises';
import { messageOf, type Logger } from '../base/index.ts';
import type { Mark, Netns, Reaper } from './contract.ts';
import { openRtnl } from './rtnl.ts';

/**
 * A pass holds the kernel's rtnl lock, and whoever makes a link meanwhile waits for it. It starts once nobody has kicked for
 * this long, but after the longer time in any case, milliseconds; at once when somebody waits for it.
 */
const QUIET_MS = 150;
const LONGEST_WAIT_MS = 1000;
/** Pause before a failed pass is tried again, milliseconds. */
const RETRY_MS = 200;
const MAX_TRIES = 2;

class GroupReaper implements Reaper {
  readonly #rtnl: ReturnType<typeof openRtnl>;
  readonly #group: number;
  readonly #log: Logger;
  #wanted = false;
  #kicks = 0;
  #closed = false;
  #waiting = 0;
  /** Ends the time before a pass. */
  #hurry: AbortController | undefined;
  #passes: Promise<void> | undefined;

  constructor(host: Netns, mark: Mark, log: Logger) {
    this.#rtnl = openRtnl(host);
    this.#group = mark.deadGroup;
    this.#log = log;
  }

  kick(): void {
    if (this.#closed) return;
    this.#wanted = true;
    this.#kicks++;
    this.#passes ??= this.#run();
  }

  async idle(): Promise<void> {
    this.#waiting++;
    this.#hurry?.abort();
    try {
      await this.#passes;
    } finally {
      this.#waiting--;
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#hurry?.abort();
    await this.#passes;
    this.#rtnl[Symbol.dispose]();
  }

  async #run(): Promise<void> {
    try {
      while (this.#wanted) {
        await this.#quiet();
        this.#wanted = false;
        await this.#pass();
      }
    } finally {
      this.#passes = undefined;
    }
  }

  async #quiet(): Promise<void> {
    const hurry = new AbortController();
    this.#hurry = hurry;
    let seen = -1;
    for (let waited = 0; waited < LONGEST_WAIT_MS && seen !== this.#kicks && !this.#isUrgent(); waited += QUIET_MS) {
      seen = this.#kicks;
      await delay(QUIET_MS, undefined, { signal: hurry.signal }).catch(() => {});
    }
    this.#hurry = undefined;
  }

  #isUrgent(): boolean {
    return this.#closed || this.#waiting > 0;
  }

  async #pass(): Promise<void> {
    for (let tries = 1; tries <= MAX_TRIES; tries++) {
      try {
        await this.#rtnl.removeGroup(this.#group);
        return;
      } catch (error) {
        this.#log.warn({ group: this.#group, tries, error: messageOf(error) }, 'dead links could not be deleted');
        if (tries < MAX_TRIES && !this.#closed) await delay(RETRY_MS);
      }
    }
  }
}

/** Works on its own socket into `host`; close it before the namespace is unpinned. What fails twice waits for the next kick. */
export const createReaper = (host: Netns, mark: Mark, log: Logger): Reaper => new GroupReaper(host, mark, log);
