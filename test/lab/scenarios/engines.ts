/** Containers of real engines on two hosts are on one network, by address and by name, whatever restarts. */

import type { GuestJson } from '../../../src/base/index.ts';
import { type HostEngine, openEngines } from '../engines.ts';
import type { Lab } from '../lab.ts';
import type { Scenario } from '../scenario.ts';
import { must, until } from '../wait.ts';
import { GONE_MS, SPREAD_MS, ms } from './common.ts';
import { lists } from './overlay.ts';

const ENGINES = 2;
/** Containers of the first one live on while it is away. */
const FLAGS = [['--live-restore'], []];
const OURS = ['-d', 'patchbay-overlay', '--ipam-driver', 'patchbay-overlay'];
const BLUE = [...OURS, '--ipam-opt', 'patchbay.network=blue'];
const SUBNET = '10.66.0.0/24';
/** Names are taken away when they are not refreshed by then: a container's start on a busy machine. */
const START_MS = 60_000;

const create = (on: HostEngine, ...args: readonly string[]) => on.docker('network', 'create', ...args, 'blue');

/** A container that serves its name by HTTP. */
async function run(on: HostEngine, name: string, network: string, ...flags: string[]): Promise<void> {
  const serve = `echo ${name} >/www/name; exec httpd -f -h /www`;
  await on.ok('run', '-d', '--name', name, '--network', network, '--stop-signal', 'KILL', ...flags, 'bb:1', 'sh', '-c', serve);
}

const addressOf = (on: HostEngine, name: string): Promise<string> =>
  on.ok('inspect', '-f', '{{(index .NetworkSettings.Networks "blue").IPAddress}}', name);

/** What answers at an address or a name, asked by a container. */
const asked = async (on: HostEngine, from: string, at: string): Promise<string> =>
  (await on.docker('exec', from, 'timeout', '3', 'wget', '-qO-', `http://${at}/name`)).stdout.trim();

interface Standing {
  readonly on: HostEngine;
  readonly name: string;
}

/** Waits until every one reaches every other by name and by address; answers the milliseconds. */
async function allReach(lab: Lab, all: readonly Standing[], limitMs = SPREAD_MS): Promise<number> {
  const begin = performance.now();
  for (const { on, name: from } of all)
    for (const { on: there, name } of all) {
      if (name === from) continue;
      const address = await addressOf(there, name);
      for (const at of [name, address])
        await until(
          `${from} reaches ${name} at ${at}`,
          async () => (await asked(on, from, at)) === name,
          limitMs,
          lab.commands.signal,
        );
    }
  return performance.now() - begin;
}

async function refused(words: string, ran: Promise<{ readonly code: number; readonly stderr: string }>): Promise<void> {
  const { code, stderr } = await ran;
  must(code !== 0 && stderr.includes(words), `this is refused with ${JSON.stringify(words)}: ${code} ${stderr}`);
}

/** The first create makes the network, the second one joins it, and what contradicts it is refused in words. */
async function createBlue(one: HostEngine, two: HostEngine): Promise<void> {
  await refused('--ipam-opt patchbay.network=NAME', create(one, ...OURS));
  await refused('give --ipam-driver', create(one, '-d', 'patchbay-overlay', '-o', 'patchbay.network=blue'));
  await one.ok('network', 'create', ...BLUE, '--subnet', SUBNET, 'blue');
  await refused(SUBNET, create(two, ...BLUE, '--subnet', '10.67.0.0/24'));
  await refused('internal', create(two, ...BLUE, '--internal'));
  await refused('was made with no encrypted', create(two, ...BLUE, '-o', 'encrypted'));
  await refused('IPv6', create(two, ...BLUE, '--ipv6'));
  await refused('gateway', create(two, ...BLUE, '--subnet', SUBNET, '--gateway', '10.66.0.9'));
  await two.ok('network', 'create', ...BLUE, 'blue');
}

/** A sandbox of a host without an engine, and containers, know each other. */
async function meetsNative(lab: Lab, standing: readonly Standing[]): Promise<void> {
  const nora = await lab.sandboxes.start(lab.host(ENGINES + 1), 'nora', { network: 'blue' });
  for (const { on, name } of standing) {
    const address = await addressOf(on, name);
    if (name === 'jonas')
      await until('an alias is known', async () => (await nora.probe.resolve('joe', 4))?.join() === address, SPREAD_MS);
    const isKnown = async (): Promise<boolean> => (await nora.probe.resolve(name, 4))?.join() === address;
    await until(`nora knows ${name}`, isKnown, SPREAD_MS, lab.commands.signal);
    const pings = async (): Promise<boolean> => (await on.docker('exec', name, 'ping', '-c', '1', '-W', '1', 'nora')).code === 0;
    await until(`${name} reaches nora`, pings, SPREAD_MS, lab.commands.signal);
  }
  await nora.remove();
}

/** A host shows what its engine has in the network, and what it calls it. */
async function showsGuests({ host }: HostEngine, name: string, network: string): Promise<void> {
  const isSo = async (): Promise<boolean> => {
    const [guest] = await host.must<readonly GuestJson[]>('GET', '/guests');
    const [endpoint] = Object.values(guest?.Endpoints ?? {});
    return guest?.Network?.Id === network && endpoint?.Names?.[0] === name;
  };
  await until(`${host.name} shows ${name}`, isSo, SPREAD_MS);
}

/** The engine's own bridge leads outside, and has the published ports. */
async function leadsOut(lab: Lab, one: HostEngine): Promise<void> {
  const at = `http://${one.host.address}:8080/name`;
  const isServed = async (): Promise<boolean> =>
    (await lab.host(2).exec('curl', '-s', '--max-time', '2', at)).stdout.trim() === 'maria';
  await until('a published port is reached from another host', isServed, SPREAD_MS, lab.commands.signal);
  const { code } = await one.docker('exec', 'maria', 'ping', '-c', '1', '-W', '5', lab.host(2).address);
  must(code === 0, 'a container reaches the outside world');
  // Names that only the engine knows.
  await one.ok('network', 'create', 'side');
  await run(one, 'kurt', 'side');
  await one.ok('network', 'connect', '--alias', 'mia', 'side', 'maria');
  await until('a name of another network is found', async () => (await asked(one, 'maria', 'kurt')) === 'kurt', SPREAD_MS);
  await one.ok('rm', '-f', 'kurt');
  await one.ok('network', 'disconnect', 'side', 'maria');
  await one.ok('network', 'rm', 'side');
}

/** Either side ends and comes back, in any order. */
async function restarts(lab: Lab, one: HostEngine, two: HostEngine, standing: readonly Standing[]): Promise<void> {
  const jonas = await addressOf(two, 'jonas');
  const works = async (): Promise<boolean> => (await asked(one, 'maria', jonas)) === 'jonas';
  // The daemon: what is there goes on without it, names too.
  // What one container asks may time out on a busy machine; nobody comes to its help meanwhile.
  const goesOn = (what: string, isSo: () => Promise<boolean>): Promise<number> =>
    until(what, isSo, SPREAD_MS, lab.commands.signal);
  for (const { host } of [one, two]) {
    await host.kill();
    await goesOn(`containers reach each other while ${host.name} has no daemon`, works);
    await goesOn(`names go on while ${host.name} has no daemon`, async () => (await asked(one, 'maria', 'jonas')) === 'jonas');
    await host.start();
    await goesOn(`containers reach each other when the daemon of ${host.name} is back`, works);
  }
  await lab.showsAll();
  await allReach(lab, standing);
  // The engine, with containers that live on.
  await one.engine.stop();
  await one.start();
  await allReach(lab, standing);
  await one.engine.kill();
  await one.start();
  await allReach(lab, standing);
  // The engine, with containers that end; and the daemon before it is back.
  await two.engine.kill();
  await two.host.kill();
  await two.host.start();
  await two.start();
  await two.ok('start', 'jonas');
  await allReach(lab, standing, START_MS);
  // Both, the engine first.
  await two.engine.stop();
  await two.host.stop();
  await two.host.start();
  await two.start();
  await two.ok('start', 'jonas');
  await allReach(lab, standing, START_MS);
}

/** A host that is cut off is forgotten, and back when it is healed. */
async function cutAndHealed(lab: Lab, one: HostEngine, two: HostEngine, standing: readonly Standing[]): Promise<void> {
  await lab.underlay.carry(two.host.name, false);
  // By name only: the way there is cut.
  const isGone = async (): Promise<boolean> => (await one.docker('exec', 'maria', 'nslookup', '-type=a', 'jonas')).code !== 0;
  if (await isGone()) throw new Error('the name of a container is gone at once');
  await until('the name of a container of a host that is cut off is gone', isGone, GONE_MS, lab.commands.signal);
  await lab.underlay.heal(two.host.name);
  await lab.showsAll();
  await allReach(lab, standing, START_MS);
}

/** A container ends on one host, and begins with its name and address on another. */
async function moves(lab: Lab, one: HostEngine, two: HostEngine): Promise<void> {
  const address = await addressOf(two, 'jonas');
  await refused(
    'already in use',
    one.docker('run', '-d', '--name', 'thief', '--network', 'blue', '--ip', address, 'bb:1', 'true'),
  );
  await one.ok('rm', 'thief');
  await two.ok('rm', '-f', 'jonas');
  await run(one, 'jonas', 'blue', '--ip', address);
  await run(two, 'otto', 'blue');
  await allReach(lab, [
    { on: one, name: 'maria' },
    { on: one, name: 'jonas' },
    { on: two, name: 'otto' },
  ]);
}

/** The network stays while an engine has it; after the last one nothing is left. */
async function removed(lab: Lab, one: HostEngine, two: HostEngine, id: string): Promise<void> {
  const there = (): Promise<boolean> => lists(lab.host(ENGINES + 1), id);
  await two.ok('rm', '-f', 'otto');
  await two.ok('network', 'rm', 'blue');
  must(await there(), 'the network stays while an engine has it');
  const { stderr, exitCode } = await lab.host(ENGINES + 1).cli('rm', 'blue');
  must(exitCode !== 0 && stderr.includes(one.host.name), `it is not removed by another host: ${stderr}`);
  await one.ok('rm', '-f', 'maria', 'jonas');
  await one.ok('network', 'rm', 'blue');
  await until('the network is gone', async () => !(await there()), SPREAD_MS, lab.commands.signal);
  for (const { host } of [one, two]) {
    const left = async (): Promise<readonly string[]> => [
      ...host.lodged().filter((pin) => pin.startsWith('overlay-')),
      ...(await host.exec('ip', '-o', 'link')).stdout.split('\n').filter((line) => /: (veth|peer|vx|dead)/.test(line)),
    ];
    let found: readonly string[] = [];
    await until(`nothing is left on ${host.name}`, async () => (found = await left()).length === 0, SPREAD_MS).catch(() => {
      throw new Error(`left on ${host.name}: ${found.join(' | ')}`);
    });
  }
}

export const engines: Scenario = {
  name: 'engines',
  about: 'containers of engines on two hosts reach each other by address and name, over restarts of either side',
  hosts: ENGINES + 1,
  async run(lab) {
    const both = await openEngines(lab, FLAGS);
    try {
      const [one, two] = both;
      if (one === undefined || two === undefined) throw new Error('too few engines');
      await createBlue(one, two);
      const [blue] = (await lab.host(ENGINES + 1).must<readonly { Id: string; Name: string }[]>('GET', '/networks')).filter(
        ({ Name }) => Name === 'blue',
      );
      await run(one, 'maria', 'blue', '-p', '8080:80');
      await run(two, 'jonas', 'blue', '--network-alias', 'joe');
      const standing: readonly Standing[] = [
        { on: one, name: 'maria' },
        { on: two, name: 'jonas' },
      ];
      const first = await allReach(lab, standing);
      await showsGuests(two, 'jonas', blue?.Id ?? '');
      await leadsOut(lab, one);
      await meetsNative(lab, standing);
      await restarts(lab, one, two, standing);
      await cutAndHealed(lab, one, two, standing);
      await moves(lab, one, two);
      await removed(lab, one, two, blue?.Id ?? '');
      return `first reached by name and address after ${ms(first)}`;
    } finally {
      for (const one of both) await one.close();
    }
  },
};
