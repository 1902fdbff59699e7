/** Removals that failed are tried again while the daemon runs, as a start does by itself: what they are of keeps its name, ports and addresses until then. */

import { codeOf, messageOf, shortId } from '../base/index.ts';
import type { Cnm } from './context.ts';
import { endGhosts } from './ghosts.ts';
import { deleteNetwork } from './networks.ts';
import type { SandboxRecord } from './records.ts';
import { deleteSandbox } from './sandboxes.ts';

export class Removals {
  readonly #cnm: Cnm;
  /** Why a removal failed the last time, by the id of what it is of: the same reason is said once. */
  readonly #said = new Map<string, string>();

  constructor(cnm: Cnm) {
    this.#cnm = cnm;
  }

  /** One that is under way is waited for, and finds nothing left to do. Never throws: what fails is logged and tried the next time. */
  async finish(): Promise<void> {
    const { state, locks } = this.#cnm;
    for (const { id, name } of state.allSandboxes().filter(isOver)) {
      await this.#attempt('a sandbox', id, name, () =>
        locks.run(`sandbox:${id}`, async () => {
          const sandbox = state.sandboxById(id);
          if (sandbox === undefined || !isOver(sandbox)) return false;
          await deleteSandbox(this.#cnm, id);
          return true;
        }),
      );
    }
    for (const { id, name } of state.allNetworks()) {
      await this.#attempt('endpoints', id, name, async () => (await endGhosts(this.#cnm, id)) > 0);
    }
    for (const { id, name } of state.allNetworks().filter(({ phase }) => phase === 'deleting')) {
      await this.#attempt('a network', id, name, async () => {
        await deleteNetwork(this.#cnm, id);
        return true;
      });
    }
  }

  async #attempt(what: string, id: string, name: string, work: () => Promise<boolean>): Promise<void> {
    const { closing, env } = this.#cnm;
    if (closing) return;
    const key = `${what} ${id}`;
    try {
      if (await work()) env.log.info({ id: shortId(id), name }, `removal of ${what}: finished`);
      this.#said.delete(key);
    } catch (error) {
      // Whoever was at it has done it meanwhile.
      if (codeOf(error) === 'no_network') return void this.#said.delete(key);
      const reason = messageOf(error);
      if (this.#said.get(key) !== reason)
        env.log.error({ id: shortId(id), name, err: error }, `removal of ${what}: could not be finished`);
      this.#said.set(key, reason);
    }
  }
}

/** To be removed: asked for, or by the end of its process. */
const isOver = ({ phase, autoRemove, exited }: SandboxRecord): boolean =>
  phase === 'deleting' || (phase === 'ready' && autoRemove && exited === true);
