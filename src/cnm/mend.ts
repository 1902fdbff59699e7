/**
 * While the daemon runs: what others took from the kernel behind our back is put back. Rules, bridges and ports are looked at
 * every few seconds, since nothing that listens for changes hears all of them, and links of the host as soon as they are heard to
 * go or to come back; what a start could not mend is tried again.
 */

import { setImmediate as nextTick } from 'node:timers/promises';
import { type NetworkId, type SandboxId, messageOf } from '../base/index.ts';
import { type LinkNews, type Netns, watchLinks } from '../kernel/index.ts';
import { type Cnm, contextOf, driversInUse } from './context.ts';
import { tellAllLeases } from './foreign-leases.ts';
import { settleGateways } from './gateway-bridge.ts';
import { mendGuests } from './guests/restore.ts';
import type { GuestState } from './guests/state.ts';
import { tryOpenSandboxNetns } from './join.ts';
import { concernsUs } from './news.ts';
import { lossesOf } from './losses.ts';
import type { NetworkRecord, SandboxRecord } from './records.ts';
import { Removals } from './removals.ts';
import { repin, restoreSandboxes, storeReports, wishOf } from './restore.ts';
import { deleteSandbox } from './sandboxes.ts';
import { resolverTable } from './steps/resolver.ts';

/** Rounds between two tries of a network that stays degraded, and of removals that failed; of these also when the keeper is back. */
const DEGRADED_ROUNDS = 6;
/** Quiet after the last that is heard of links until a round begins, milliseconds: whoever takes many away is let finish. */
const PAUSE_MS = 1000;
/** Longest time of a look before the event loop has a turn, milliseconds. */
const TURN_MS = 1;
/** Sandboxes whose inside is looked at in one round; of more, each has its turn in a later one. */
const INSIDES_A_ROUND = 100;

export class Mender {
  readonly #cnm: Cnm;
  readonly #guests: GuestState;
  readonly #removals: Removals;
  readonly #everyMs: number;
  #timer: NodeJS.Timeout | undefined;
  #round = 0;
  /** Where in the list of sandboxes the next round begins to look inside. */
  #nextInside = 0;
  /** Networks with an endpoint that lost something inside a sandbox, found in this round. */
  readonly #lost = new Set<NetworkId>();
  /** Sandboxes in which a process keeps the redirect from being laid, as the log has it. */
  readonly #barred = new Set<SandboxId>();
  /** Links have changed in a way that concerns us: the next round comes soon, and tries degraded networks too. */
  #isHeard = false;
  /** The keeper was away and answers again: removals that failed without it are finished in the next round, which comes soon. */
  #isKeeperBack = false;
  #storeProblem: string | undefined;
  #links: { close(): void } | undefined;
  /** When the next round is due whatever is heard, milliseconds of the process. */
  #due = 0;
  /** The round that the timer began. */
  #running: Promise<void> | undefined;

  /** `everyMs`: time between two rounds; 0: never. */
  constructor(cnm: Cnm, guests: GuestState, everyMs: number) {
    this.#cnm = cnm;
    this.#guests = guests;
    this.#removals = new Removals(cnm);
    this.#everyMs = everyMs;
  }

  start(): void {
    this.#cnm.keeper.onBack = () => {
      this.#isKeeperBack = true;
      if (this.#timer !== undefined) this.#next();
    };
    if (this.#everyMs === 0 || this.#cnm.closing) return;
    this.#links ??= watchLinks(this.#cnm.host, (news) => this.#heard(news), this.#cnm.mark);
    this.#due = performance.now() + this.#everyMs;
    this.#next();
  }

  #next(): void {
    clearTimeout(this.#timer);
    if (this.#cnm.closing) return;
    const dueMs = Math.max(0, this.#due - performance.now());
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined;
        this.#running = this.mend();
        void this.#running.finally(() => this.start());
      },
      this.#isHeard || this.#isKeeperBack ? Math.min(dueMs, PAUSE_MS) : dueMs,
    ).unref();
  }

  /** What is heard in a round, be it of the round's own work, brings the next one forward. */
  #heard(news: LinkNews | undefined): void {
    if (!concernsUs({ cnm: this.#cnm, state: this.#guests }, news)) return;
    this.#isHeard = true;
    if (this.#timer !== undefined) this.#next();
  }

  /** No further round begins; resolves when none is under way. */
  async stop(): Promise<void> {
    clearTimeout(this.#timer);
    this.#cnm.keeper.onBack = undefined;
    this.#links?.close();
    await this.#running;
  }

  /** One round. Never throws: what fails is logged, shown as degraded, and tried again. */
  async mend(): Promise<void> {
    this.#round++;
    const isHeard = this.#isHeard;
    const isKeeperBack = this.#isKeeperBack;
    this.#isHeard = false;
    this.#isKeeperBack = false;
    this.#lookAtStore();
    await this.#guarded('the packet filter', async () => {
      if (await this.#cnm.firewall.check()) {
        this.#cnm.env.log.warn({}, 'rules of ours were gone from the packet filter: all were written again');
      }
    });
    await this.#guarded('sandboxes', () => this.#sandboxes());
    if (isKeeperBack || this.#round % DEGRADED_ROUNDS === 0) await this.#removals.finish();
    await this.#guarded('networks', () => this.#networks(isHeard));
    await this.#guarded('peers', async () => this.#cnm.shared?.audit());
    await this.#guarded('services', async () => this.#cnm.services?.audit());
    await this.#guarded('ways outside', () => settleGateways(this.#cnm));
    if (this.#round % DEGRADED_ROUNDS === 1) await this.#guarded('leases of plugins', () => tellAllLeases(this.#cnm));
    await this.#guarded('networks of engines', () => mendGuests({ cnm: this.#cnm, state: this.#guests }));
  }

  /** Said when it begins and when it is over; changes are refused meanwhile. */
  #lookAtStore(): void {
    const problem = this.#cnm.store.problem?.();
    if (problem === this.#storeProblem) return;
    this.#storeProblem = problem;
    const { log } = this.#cnm.env;
    // With the id a start on an empty folder knows what was made here, and removes it.
    if (problem === undefined) log.warn({}, 'the store takes changes again');
    else
      log.error(
        { problem, instance: this.#cnm.mark.instanceId },
        'the store takes no changes: sandboxes stay connected, changes are refused',
      );
  }

  async #guarded(what: string, work: () => Promise<void>): Promise<void> {
    if (this.#cnm.closing) return;
    try {
      await work();
    } catch (error) {
      this.#cnm.env.log.error({ err: error }, `${what} could not be looked after`);
    }
  }

  async #sandboxes(): Promise<void> {
    const all = this.#cnm.state.sandboxes();
    const first = this.#nextInside < all.length ? this.#nextInside : 0;
    const end = first + INSIDES_A_ROUND;
    this.#nextInside = end;
    for (const id of this.#barred) if (this.#cnm.state.sandboxById(id) === undefined) this.#barred.delete(id);
    let since = performance.now();
    for (const [i, { id }] of all.entries()) {
      if (performance.now() - since > TURN_MS) {
        await nextTick();
        since = performance.now();
      }
      if (this.#cnm.closing) return;
      const sandbox = this.#cnm.state.sandboxById(id);
      if (sandbox === undefined) continue;
      const isDue = (i >= first && i < end) || i < end - all.length;
      const found = isDue ? this.#lookInside(sandbox) : isThere(sandbox) && 'whole';
      if (found === 'whole') continue;
      await this.#cnm.locks.run(`sandbox:${id}`, () => (found === 'lossy' ? this.#refurnish(id) : this.#findAgain(id)));
    }
  }

  /** False when the namespace is gone. What an endpoint has lost is noted for its network. */
  #lookInside(sandbox: SandboxRecord): 'whole' | 'lossy' | false {
    using netns = tryOpenSandboxNetns(sandbox);
    if (netns === undefined) return isThere(sandbox) && 'whole';
    const { endpoints, things, isBarred } = lossesOf(this.#cnm, sandbox, netns);
    for (const ep of endpoints) this.#lost.add(ep.network);
    this.#tellBarred(sandbox, isBarred);
    return things.length === 0 ? 'whole' : 'lossy';
  }

  /** Said when it begins and when it is over. */
  #tellBarred({ id, name }: SandboxRecord, isBarred: boolean): void {
    if (isBarred === this.#barred.has(id)) return;
    const { log } = this.#cnm.env;
    if (isBarred) {
      this.#barred.add(id);
      const table = resolverTable(this.#cnm.mark.tag);
      log.warn(
        { sandbox: id, name, table },
        'a process in a sandbox owns the table of our resolver: no names there until it ends',
      );
    } else {
      this.#barred.delete(id);
      log.warn({ sandbox: id, name }, 'nobody in a sandbox owns the table of our resolver any more');
    }
  }

  /** Puts back what is not an endpoint's: files, redirect, default routes. Those of a lost address come with its network. */
  async #refurnish(id: SandboxId): Promise<void> {
    const cnm = this.#cnm;
    const sandbox = cnm.state.sandboxById(id);
    if (sandbox === undefined || sandbox.phase !== 'ready') return;
    using netns = tryOpenSandboxNetns(sandbox);
    if (netns === undefined) return;
    const { endpoints, things } = lossesOf(cnm, sandbox, netns);
    if (endpoints.length > 0 || things.length === 0) return;
    cnm.env.log.warn({ sandbox: id, name: sandbox.name, things }, 'a sandbox has lost something inside: it is put back');
    await restoreSandboxes(cnm, new Map([[id, netns]]));
  }

  /** The namespace is pinned again while its process or its path leads to it; a sandbox without a namespace is removed. */
  async #findAgain(id: SandboxId): Promise<void> {
    const cnm = this.#cnm;
    const sandbox = cnm.state.sandboxById(id);
    if (sandbox === undefined || sandbox.phase !== 'ready' || isThere(sandbox)) return;
    using netns = repin(cnm, sandbox);
    if (netns !== undefined) return;
    cnm.env.log.warn({ sandbox: id, name: sandbox.name }, 'the namespace of a sandbox is gone: the sandbox is removed');
    await deleteSandbox(cnm, id);
  }

  async #networks(isHeard: boolean): Promise<void> {
    const isDue = isHeard || this.#round % DEGRADED_ROUNDS === 0;
    const suspects = new Set(this.#lost);
    this.#lost.clear();
    for (const driver of driversInUse(this.#cnm)) {
      if (driver.restorer === undefined) continue;
      const mine = this.#cnm.state
        .networks()
        .filter((net) => net.driver === driver.name && !net.configOnly && !this.#cnm.unleased.has(net.id));
      const wrong = new Set(await driver.restorer.observe(mine.map((net) => wishOf(this.#cnm, net))));
      for (const { id, degraded } of mine) if (degraded === undefined ? wrong.has(id) : isDue) suspects.add(id);
    }
    for (const id of suspects) await this.#guarded(`network ${id}`, () => this.#network(id));
  }

  /** Nobody may join or leave meanwhile: a port that is on its way out would be plugged in again. */
  async #network(id: NetworkId): Promise<void> {
    const { state, locks, lodgers } = this.#cnm;
    const sandboxes = [...new Set(state.endpointsOfNetwork(id).flatMap((ep) => ep.sandbox ?? ep.boundTo ?? []))];
    // In this order: an endpoint's lock comes before a network's, and a sandbox's before both.
    const keys = [sandboxes.map((sandbox) => `sandbox:${sandbox}`), lodgers?.locksOf(id) ?? [], [`network:${id}`]];
    const held = (at: number): Promise<void> => {
      const some = keys[at];
      if (some !== undefined) return locks.runAll(some, () => held(at + 1));
      const net = state.networkById(id);
      return net?.phase === 'ready' ? this.#restore(net, sandboxes) : Promise.resolve();
    };
    await held(0);
  }

  async #restore(net: NetworkRecord, sandboxes: readonly SandboxId[]): Promise<void> {
    const cnm = this.#cnm;
    const { restorer } = cnm.drivers.get(net.driver);
    if (restorer === undefined) return;
    const alive = new Map<string, Netns>();
    try {
      for (const id of sandboxes) {
        const sandbox = cnm.state.sandboxById(id);
        const netns = sandbox === undefined ? undefined : tryOpenSandboxNetns(sandbox);
        if (netns !== undefined) alive.set(id, netns);
      }
      const isWrong = async (): Promise<boolean> =>
        this.#hasLostInside(net, alive) || (await restorer.observe([wishOf(cnm, net)])).length > 0;
      if (net.degraded === undefined && !(await isWrong())) return;
      const problem = await this.#problemOf(net, alive, restorer);
      await storeReports(
        cnm,
        [{ id: net.id, state: problem.state, rules: [], ...(problem.text && { problem: problem.text }) }],
        new Map(),
      );
      // Routes need the links that are missing; what else a sandbox has lost is put back in another round.
      if (problem.text === undefined) {
        await restoreSandboxes(cnm, alive);
        cnm.env.log.warn({ network: net.id, name: net.name }, 'a network was not as left: it is mended');
      }
    } finally {
      for (const netns of alive.values()) netns[Symbol.dispose]();
    }
  }

  #hasLostInside({ id }: NetworkRecord, alive: ReadonlyMap<string, Netns>): boolean {
    return [...alive].some(([sandboxId, netns]) => {
      const sandbox = this.#cnm.state.sandboxById(sandboxId as SandboxId);
      return sandbox !== undefined && lossesOf(this.#cnm, sandbox, netns).endpoints.some((ep) => ep.network === id);
    });
  }

  async #problemOf(
    net: NetworkRecord,
    alive: ReadonlyMap<string, Netns>,
    restorer: NonNullable<ReturnType<Cnm['drivers']['get']>['restorer']>,
  ): Promise<{ readonly text?: string; readonly state: NetworkRecord['driverState'] }> {
    let { driverState: state } = net;
    try {
      const [report] = await restorer.restore(contextOf(), [wishOf(this.#cnm, net, alive)]);
      if (report === undefined) return { state };
      state = report.state;
      if (report.problem !== undefined) return { text: report.problem, state };
      await this.#cnm.firewall.mend(report.rules);
      return { state };
    } catch (error) {
      return { text: messageOf(error), state };
    }
  }
}

/** Whether the pin still leads to the sandbox's namespace. */
function isThere(sandbox: SandboxRecord): boolean {
  if (sandbox.mode !== 'own') return true;
  using netns = tryOpenSandboxNetns(sandbox);
  return netns !== undefined;
}
