/** All that the keeper holds, by table and id, with the revision of each entry. What could not be had is tried again. */

import { KeyedLock, messageOf, type EndpointId, type Logger, type SandboxId } from '../base/index.ts';
import type { HoldConflict, HoldRequest, NameRecord, PeerNames, SandboxWish } from './contract.ts';
import { readEntries, type KeeperPaths } from './files.ts';
import type { Holds } from './holds.ts';
import { keyOf, type Entry, type Inventory, type PutAnswer, type Table } from './protocol.ts';
import type { Sandboxes } from './sandboxes.ts';

/** Pause between tries for what a restart could not get back, milliseconds: the first while, and after so many tries. */
const RETRY_MS = 1000;
const LATE_RETRY_MS = 15_000;
const EARLY_TRIES = 120;
/** Tries for a namespace, which does not come back. Host ports are not among these: holds.ts tries for them without end. */
const MAX_TRIES = 600;

interface Lost {
  readonly table: Table;
  readonly entry: Entry;
  tries: number;
}

export class KeeperState {
  readonly #log: Logger;
  readonly #sandboxes: Sandboxes;
  readonly #holds: Holds;
  readonly #locks = new KeyedLock();
  readonly #revisions = new Map<string, string>();
  /** Entries from the files that are not in force yet, by key. */
  readonly #lost = new Map<string, Lost>();
  #retry: NodeJS.Timeout | undefined;

  /** `held`: revisions of what `holds` has already, by owner. */
  constructor(log: Logger, sandboxes: Sandboxes, holds: Holds, held: ReadonlyMap<string, string>) {
    this.#log = log;
    this.#sandboxes = sandboxes;
    this.#holds = holds;
    for (const [owner, revision] of held) this.#revisions.set(keyOf('holds', owner), revision);
  }

  /** Takes up what the files say of names and sandboxes. Never throws for a single entry. */
  async restore(paths: KeeperPaths): Promise<void> {
    for (const table of ['names', 'peers', 'sandboxes'] as const) {
      const entries = readEntries(paths, table, this.#log);
      for (const entry of entries) this.#lost.set(keyOf(table, entry.id), { table, entry, tries: 0 });
      await Promise.all(entries.map((entry) => this.#tryLost(keyOf(table, entry.id))));
    }
    this.#scheduleRetry();
  }

  get isEmpty(): boolean {
    return this.#revisions.size === 0 && this.#lost.size === 0;
  }

  /** Of all entries that the keeper knows, also of those it still tries to get back. */
  get revisions(): Readonly<Record<string, string>> {
    const lost = [...this.#lost].map(([key, { entry }]) => [key, entry.revision] as const);
    return Object.fromEntries([...this.#revisions, ...lost]);
  }

  /** Sandboxes and endpoints include those still to be restored, so that a daemon can drop them; holds are what is held. */
  inventory(): Inventory {
    const lost = (table: Table): readonly string[] =>
      [...this.#lost.values()].filter((one) => one.table === table).map(({ entry }) => entry.id);
    return {
      sandboxes: [...this.#sandboxes.ids(), ...lost('sandboxes')],
      endpoints: [...this.#sandboxes.endpoints(), ...lost('names')],
      peers: [...this.#sandboxes.peers(), ...lost('peers')],
      holds: this.#holds.list(),
      conflicts: this.conflicts(),
    };
  }

  /** Host ports of ours that another process has. */
  conflicts(): readonly HoldConflict[] {
    return this.#holds.conflicts();
  }

  /** Makes the entry what is; live when it resolves. Throws what the table throws; then nothing of a sandbox or endpoint is left. */
  put(table: Table, entry: Entry): Promise<PutAnswer> {
    const key = keyOf(table, entry.id);
    return this.#locks.run(key, async () => {
      this.#lost.delete(key);
      this.#revisions.delete(key);
      const answer = await this.#apply(table, entry);
      this.#revisions.set(key, entry.revision);
      return answer;
    });
  }

  /** Lets go of the entry. Accepts what is not there. */
  drop(table: Table, id: string): Promise<void> {
    const key = keyOf(table, id);
    return this.#locks.run(key, async () => {
      this.#lost.delete(key);
      this.#revisions.delete(key);
      if (table === 'sandboxes') await this.#sandboxes.remove(id as SandboxId);
      else if (table === 'names') this.#sandboxes.setNames(id as EndpointId, null);
      else if (table === 'peers') this.#sandboxes.setPeers(id, null);
      else this.#holds.set(id as SandboxId, []);
    });
  }

  /** Lets go of everything. */
  async close(): Promise<void> {
    clearTimeout(this.#retry);
    this.#holds.closeAll();
    await this.#sandboxes.stop();
  }

  async #apply(table: Table, { id, value }: Entry): Promise<PutAnswer> {
    if (table === 'sandboxes') return this.#sandboxes.set(id as SandboxId, value as SandboxWish);
    if (table === 'holds') return this.#holds.set(id as SandboxId, value as readonly HoldRequest[]);
    if (table === 'peers') this.#sandboxes.setPeers(id, value as PeerNames);
    else this.#sandboxes.setNames(id as EndpointId, value as NameRecord);
    return null;
  }

  #tryLost(key: string): Promise<void> {
    return this.#locks.run(key, async () => {
      // A daemon's own put or drop may have come first.
      const lost = this.#lost.get(key);
      if (lost === undefined) return;
      const failure = await this.#restoreOne(lost);
      if (failure === undefined) {
        this.#lost.delete(key);
        this.#revisions.set(key, lost.entry.revision);
        if (lost.tries > 0) this.#log.warn({ key, tries: lost.tries }, 'keeper: restored at last');
      } else if (++lost.tries === 1) {
        this.#log.error({ key, failure }, 'keeper: not restored, will be tried again');
      } else if (lost.tries >= MAX_TRIES) {
        this.#lost.delete(key);
        this.#log.error({ key, failure }, 'keeper: given up');
      }
    });
  }

  /** What went wrong, or undefined. */
  async #restoreOne({ table, entry }: Lost): Promise<string | undefined> {
    try {
      await this.#apply(table, entry);
      return undefined;
    } catch (error) {
      return messageOf(error);
    }
  }

  #scheduleRetry(): void {
    if (this.#lost.size === 0) return;
    const isEarly = [...this.#lost.values()].some(({ tries }) => tries < EARLY_TRIES);
    const pause = isEarly ? RETRY_MS : LATE_RETRY_MS;
    this.#retry = setTimeout(() => {
      void Promise.all([...this.#lost.keys()].map((key) => this.#tryLost(key))).then(() => this.#scheduleRetry());
    }, pause);
  }
}
