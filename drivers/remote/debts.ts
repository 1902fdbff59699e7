/**
 * Removals that did not reach their plugin: kept in the store and delivered in order when it is back, so that nothing stays in the
 * plugin that nobody knows of.
 */

import { isDeepStrictEqual } from 'node:util';
import { type Env, type Json, messageOf } from '../../src/base/index.ts';
import { Collection, type Store } from '../../src/store/index.ts';

/** Most removals that are remembered; further ones are only told to the log. */
const MAX_DEBTS = 4096;
/** How long one is tried, milliseconds: after a week the plugin is not coming back. */
const LIFE_MS = 7 * 24 * 3600 * 1000;
/** Time between two tries, milliseconds. */
const EVERY_MS = 5000;

interface Debt {
  readonly id: string;
  readonly plugin: string;
  readonly method: string;
  readonly body: Json;
  readonly since: number;
}

/** Who delivers to one plugin. */
export interface Debtor {
  readonly name: string;
  era(): Promise<string | undefined>;
  /** False when the plugin was not reached. */
  deliver(method: string, body: Json): Promise<boolean>;
}

export class Debts {
  readonly #store: Store;
  readonly #records: Collection<Debt>;
  readonly #env: Env;
  /** In the order of their making. */
  readonly #owed: Debt[] = [];
  readonly #settling = new Map<string, Promise<void>>();
  #made = 0;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;
  /** Answers who delivers to a plugin. */
  debtor: (plugin: string) => Debtor | undefined = () => undefined;

  private constructor(store: Store, env: Env) {
    this.#store = store;
    this.#env = env;
    this.#records = new Collection(store, 'plugin-debt', {
      decode: (value) => value as unknown as Debt,
      encode: (debt) => debt as unknown as Json,
    });
  }

  static async open(store: Store, env: Env): Promise<Debts> {
    const debts = new Debts(store, env);
    debts.#owed.push(...(await debts.#records.all()).sort((a, b) => (a.id < b.id ? -1 : 1)));
    debts.#schedule();
    return debts;
  }

  async owe(plugin: string, method: string, body: Json): Promise<void> {
    if (this.#owed.length >= MAX_DEBTS) {
      this.#env.log.error({ plugin, method, body }, 'too many removals wait for their plugins: this one is not remembered');
      return;
    }
    const since = this.#env.now();
    const id = `${String(since).padStart(15, '0')}-${String(this.#made++).padStart(8, '0')}`;
    const debt: Debt = { id, plugin, method, body, since };
    this.#owed.push(debt);
    await this.#store.commit({ put: [this.#records.write(debt)] });
    this.#schedule();
  }

  hasOf(name: string): boolean {
    return this.#owed.some(({ plugin }) => plugin === name);
  }

  /** Delivers what is owed to a plugin that is there. Never throws; callers at the same time share one try. */
  async settle(debtor: Debtor): Promise<void> {
    if (!this.hasOf(debtor.name)) return;
    const running = this.#settling.get(debtor.name);
    if (running !== undefined) return running;
    const work = this.#deliver(debtor)
      .catch((error: unknown) =>
        this.#env.log.error({ plugin: debtor.name, problem: messageOf(error) }, 'removals cannot be told'),
      )
      .finally(() => this.#settling.delete(debtor.name));
    this.#settling.set(debtor.name, work);
    return work;
  }

  async #deliver(debtor: Debtor): Promise<void> {
    for (const debt of this.#owed.filter(({ plugin }) => plugin === debtor.name)) {
      if (!this.#owed.includes(debt)) continue;
      const isOld = this.#env.now() - debt.since > LIFE_MS;
      if (!isOld && ((await debtor.era()) === undefined || !(await debtor.deliver(debt.method, debt.body)))) return;
      const { plugin, method } = debt;
      this.#env.log.info(
        { plugin, method },
        isOld ? 'a removal was never told to its plugin' : 'a removal was told to its plugin',
      );
      await this.#settled(debt);
    }
  }

  async #settled(debt: Debt): Promise<void> {
    const at = this.#owed.indexOf(debt);
    if (at >= 0) this.#owed.splice(at, 1);
    await this.#store.commit({ remove: [this.#records.key(debt.id)] });
  }

  /** It is not to be delivered any more. */
  async forgive(plugin: string, method: string, body: Json): Promise<void> {
    const isMeant = (debt: Debt): boolean =>
      debt.plugin === plugin && debt.method === method && isDeepStrictEqual(debt.body, body);
    for (const debt of this.#owed.filter(isMeant)) await this.#settled(debt);
  }

  #schedule(): void {
    if (this.#timer !== undefined || this.#isClosed || this.#owed.length === 0) return;
    this.#timer = setTimeout(() => void this.#round(), EVERY_MS).unref();
  }

  async #round(): Promise<void> {
    for (const plugin of new Set(this.#owed.map((debt) => debt.plugin))) {
      const debtor = this.debtor(plugin);
      if (debtor !== undefined && !this.#isClosed) await this.settle(debtor);
    }
    this.#timer = undefined;
    this.#schedule();
  }

  /** No further round begins; resolves when none is under way. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await Promise.all(this.#settling.values());
  }
}
