/** kill -9 of the daemon, of the keeper, and of both at random moments of a mixed load: nothing acknowledged is lost, nothing leaks. */

import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import { Lab, waitUntil } from '../e2e/lab.ts';
import { Client, runClients } from './load.ts';
import { Traffic } from './traffic.ts';
import { cleared, namesNotTrue, portsNotHeld, stateOf, untruths } from './truth.ts';

/** Kills of the daemon in one run; the environment may ask for more. */
const KILLS = Number(process.env['PATCHBAY_KILLS']) || 12;
/** A keeper that dies young again and again is brought back after up to 5 s, hence fewer of these. */
const KEEPER_KILLS = Math.max(4, Math.ceil(KILLS / 10));
const CLIENTS = 4;
/** Bound within which names and held ports are back after a keeper's death, milliseconds. */
const BACK_MS = 20_000;
const KILL_BUDGET_MS = 40_000;

const open: Lab[] = [];
const talking: Traffic[] = [];
afterEach(async () => {
  for (const traffic of talking.splice(0)) traffic.kill();
  for (const lab of open.splice(0)) await lab.close();
});

interface Scene {
  readonly lab: Lab;
  readonly clients: readonly Client[];
  readonly traffic: Traffic;
}

async function scene(withNames: boolean): Promise<Scene> {
  const lab = await Lab.open();
  open.push(lab);
  const traffic = await Traffic.open(lab, withNames, (begun) => talking.push(begun));
  return { lab, traffic, clients: Array.from({ length: CLIENTS }, (_, i) => new Client(lab, i)) };
}

const someTime = (): Promise<void> => sleep(50 + Math.random() * 500);

async function check({ lab, clients }: Scene, kill: number): Promise<void> {
  const { networks, sandboxes } = await stateOf(lab);
  expect(
    clients.flatMap((client) => client.settle(networks, sandboxes)),
    `kill ${kill}: acknowledged`,
  ).toEqual([]);
  expect(await untruths(lab), `kill ${kill}:\n${lab.log}`).toEqual([]);
  expect(
    clients.flatMap((client) => client.surprises),
    `kill ${kill}`,
  ).toEqual([]);
}

async function finish({ lab, clients, traffic }: Scene, title: string): Promise<void> {
  const reports = await traffic.close();
  expect(reports.join('\n')).not.toContain('failed');
  const counts = new Map<number, number>();
  for (const { answers } of clients) for (const [status, n] of answers) counts.set(status, (counts.get(status) ?? 0) + n);
  expect(counts.get(201) ?? 0).toBeGreaterThan(0);
  const statuses = [...counts].toSorted(([a], [b]) => a - b).map(([status, n]) => `${status === 0 ? 'none' : status}: ${n}`);
  console.log(`${title}; answers ${statuses.join(', ')}; traffic ${reports.join(' ')}`);
  expect(await cleared(lab)).toEqual([]);
}

test(
  `${KILLS} kills of the daemon under load: what was acknowledged is, nothing else is, no stream or name is lost`,
  { timeout: 60_000 + KILLS * KILL_BUDGET_MS },
  async () => {
    const all = await scene(true);
    const { lab, clients } = all;
    for (let kill = 1; kill <= KILLS; kill++) {
      const killed = someTime().then(() => lab.stop('SIGKILL'));
      await runClients(clients, killed);
      lab.log = '';
      await lab.start();
      expect(lab.log).not.toContain('"level":50');
      await check(all, kill);
    }
    await finish(all, `${KILLS} kills of the daemon`);
  },
);

/** Milliseconds until every name resolves and every published port is held. */
async function untilBack({ lab }: Scene, state: Awaited<ReturnType<typeof stateOf>>): Promise<number> {
  const begun = performance.now();
  let wrong: string[] = [];
  await waitUntil(async () => {
    wrong = [...(await portsNotHeld(lab, state)), ...(await namesNotTrue(state))];
    return wrong.length === 0;
  }, BACK_MS).catch(() => {});
  expect(wrong, 'names and held ports').toEqual([]);
  return performance.now() - begun;
}

const longest = (times: readonly number[]): string => `back after ${Math.round(Math.max(...times))} ms at most`;

test(
  `${KEEPER_KILLS} kills of the keeper or its supervisor under load: names and held ports come back, streams go on`,
  { timeout: 60_000 + KEEPER_KILLS * KILL_BUDGET_MS },
  async () => {
    const all = await scene(false);
    const { lab, clients } = all;
    const times: number[] = [];
    for (let kill = 1; kill <= KEEPER_KILLS; kill++) {
      const strike = async (): Promise<void> => {
        await someTime();
        const { keeper, supervisor } = await lab.keeperProcesses();
        if (kill % 4 === 0) process.kill(supervisor, 'SIGKILL');
        if (kill % 4 !== 0 || kill % 8 === 0) process.kill(keeper, 'SIGKILL');
        await someTime();
      };
      await runClients(clients, strike());
      times.push(await untilBack(all, await stateOf(lab)));
      await check(all, kill);
    }
    await finish(all, `${KEEPER_KILLS} kills of the keeper, ${longest(times)}`);
  },
);

test(
  `${KEEPER_KILLS} kills of daemon and keeper at once: names and held ports come back without a daemon`,
  { timeout: 60_000 + KEEPER_KILLS * KILL_BUDGET_MS },
  async () => {
    const all = await scene(false);
    const { lab, clients } = all;
    const times: number[] = [];
    for (let kill = 1; kill <= KEEPER_KILLS; kill++) {
      await runClients(clients, someTime());
      const state = await stateOf(lab);
      const strike = async (): Promise<void> => {
        await someTime();
        const { keeper } = await lab.keeperProcesses();
        const gone = lab.stop('SIGKILL');
        process.kill(keeper, 'SIGKILL');
        await gone;
      };
      // The load goes on into the deaths every other time; then only what nobody touched can be looked at without a daemon.
      if (kill % 2 === 0) await runClients(clients, strike());
      else await strike();
      if (kill % 2 !== 0) times.push(await untilBack(all, state));
      lab.log = '';
      await lab.start();
      expect(lab.log).not.toContain('"level":50');
      await untilBack(all, await stateOf(lab));
      await check(all, kill);
    }
    await finish(all, `${KEEPER_KILLS} kills of both, without a daemon ${longest(times)}`);
  },
);
