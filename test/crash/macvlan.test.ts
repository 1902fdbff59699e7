/** kill -9 of the daemon while sandboxes come and go on networks of macvlan: the kernel is as the daemon says, and nothing is left. */

import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { afterEach, expect, test } from 'vitest';
import type { NetworkJson, SandboxAnswer } from '../../src/base/index.ts';
import { Lab } from '../e2e/lab.ts';
import { ask } from './client.ts';

/** Kills in one run; the environment may ask for more. */
const KILLS = Math.max(6, Math.ceil((Number(process.env['PATCHBAY_KILLS']) || 12) / 4));
const WORKERS = 3;
const NETWORKS = ['plain', 'open'] as const;

const open: Lab[] = [];
afterEach(async () => {
  for (const lab of open.splice(0)) await lab.close();
});

interface Placed {
  readonly name: string;
  readonly networks: readonly string[];
}

/** One sandbox at a time that is created on one network, joins and leaves the other one, and is removed. */
class Worker {
  readonly #lab: Lab;
  readonly #me: number;
  #serial = 0;
  /** What the daemon has acknowledged last; undefined while the answer to a change is open. */
  state: Placed | undefined | 'unknown';
  isLost = false;
  acknowledged = 0;

  constructor(lab: Lab, me: number) {
    this.#lab = lab;
    this.#me = me;
  }

  async #change(method: string, path: string, body: unknown, to: Worker['state']): Promise<void> {
    const before = this.state;
    this.state = 'unknown';
    const { status } = await ask(this.#lab, method, path, body);
    // For want of a keeper a removal may have gone half the way: what is there is looked at after the kill.
    this.isLost = status === 0 || status === 503;
    if (this.isLost) return;
    expect([200, 201, 204], `${method} ${path}`).toContain(status);
    expect(before).not.toBe('unknown');
    this.acknowledged++;
    this.state = to;
  }

  async step(): Promise<void> {
    const { state } = this;
    if (state === 'unknown') throw new Error('not settled');
    const [first, second] = Math.random() < 0.5 ? NETWORKS : ([NETWORKS[1], NETWORKS[0]] as const);
    if (state === undefined) {
      const name = `box${this.#me}-${this.#serial++}`;
      await this.#change('POST', '/sandboxes/create', { Name: name, Networks: { [first]: {} } }, { name, networks: [first] });
    } else if (state.networks.length === 2) {
      const rest = { name: state.name, networks: state.networks.filter((one) => one !== second) };
      await this.#change('POST', `/networks/${second}/disconnect`, { Container: state.name }, rest);
    } else if (Math.random() < 0.5) {
      const other = NETWORKS.find((one) => !state.networks.includes(one)) ?? '';
      const both = { name: state.name, networks: [...state.networks, other] };
      await this.#change('POST', `/networks/${other}/connect`, { Container: state.name }, both);
    } else {
      await this.#change('DELETE', `/sandboxes/${state.name}`, undefined, undefined);
    }
  }

  /** What is not as acknowledged; afterwards what is there is the state. */
  settle(sandboxes: readonly SandboxAnswer[]): string[] {
    const mine = sandboxes.filter(({ Name }) => Name.startsWith(`box${this.#me}-`));
    const [box] = mine;
    const is: Placed | undefined = box && { name: box.Name, networks: Object.keys(box.Networks).sort() };
    const was = this.state;
    this.state = is;
    this.isLost = false;
    if (mine.length > 1) return [`worker ${this.#me} has ${mine.map(({ Name }) => Name).join(' and ')}`];
    if (was === 'unknown') return [];
    const text = (one: Placed | undefined): string =>
      one === undefined ? 'nothing' : `${one.name} on ${[...one.networks].sort().join()}`;
    return text(is) === text(was) ? [] : [`${text(is)}, not ${text(was)}`];
  }
}

interface LinkJson {
  readonly ifname: string;
  readonly address: string;
  readonly linkinfo?: { readonly info_kind?: string };
}

const macvlansIn = async (netns: string): Promise<LinkJson[]> => {
  const { stdout } = await execa('nsenter', [`--net=${netns}`, 'ip', '-j', '-d', 'link']);
  return (JSON.parse(stdout) as LinkJson[]).filter(({ linkinfo }) => linkinfo?.info_kind === 'macvlan');
};

/** Links, addresses and routes that are not as the daemon says. */
async function lies(lab: Lab, networks: readonly NetworkJson[], sandboxes: readonly SandboxAnswer[]): Promise<string[]> {
  const wrong = networks.flatMap(({ Name, Degraded }) => (Degraded === undefined ? [] : [`${Name}: ${Degraded}`]));
  for (const box of sandboxes) {
    const wanted = Object.values(box.Networks);
    const found = (await macvlansIn(box.Netns)).map(({ address }) => address).sort();
    if (
      found.join() !==
      wanted
        .map(({ MacAddress }) => MacAddress)
        .sort()
        .join()
    )
      wrong.push(`${box.Name} has links ${found.join()}`);
    const { stdout } = await execa('nsenter', [`--net=${box.Netns}`, 'ip', '-o', '-4', 'addr', 'show', 'scope', 'global']);
    for (const { IPAddress } of wanted) if (!stdout.includes(` ${IPAddress}/`)) wrong.push(`${box.Name} lacks ${IPAddress}`);
  }
  const id = networks.find(({ Name }) => Name === 'open')?.Id.slice(0, 12) ?? '';
  const own = (await macvlansIn(`/run/netns/${lab.host}`)).map(({ ifname }) => ifname);
  if (own.join() !== `hm-${id}`) wrong.push(`the host has ${own.join()}`);
  const routes = (await lab.in('host', 'ip', '-4', 'route', 'show', 'dev', `hm-${id}`)).stdout;
  const there = [...routes.matchAll(/^([\d.]+) /gm)].map(([, address = '']) => address).sort();
  const ways = sandboxes.flatMap(({ Networks }) => Networks['open']?.IPAddress ?? []).sort();
  if (there.join() !== ways.join()) wrong.push(`the host has routes to ${there.join()}, not to ${ways.join()}`);
  return wrong;
}

test(`${KILLS} kills while endpoints of macvlan come and go`, { timeout: 60_000 + KILLS * 20_000 }, async () => {
  const lab = await Lab.open({ before: [['ip', 'link', 'add', 'lan0', 'type', 'veth', 'peer', 'name', 'lan1']] });
  open.push(lab);
  await lab.in('host', 'sh', '-c', 'ip link set lan0 up; ip link set lan1 up');
  await lab.ok('create', '-d', 'macvlan', '--subnet', '10.80.0.0/24', '-o', 'parent=lan0', 'plain');
  await lab.ok('create', '-d', 'macvlan', '--subnet', '10.81.0.0/24', '-o', 'parent=lan0', '-o', 'host_access=true', 'open');
  const workers = Array.from({ length: WORKERS }, (_, i) => new Worker(lab, i));
  for (let kill = 1; kill <= KILLS; kill++) {
    let isOver = false;
    const killed = sleep(50 + Math.random() * 500).then(async () => {
      await lab.stop('SIGKILL');
      isOver = true;
    });
    await Promise.all(
      workers.map(async (worker) => {
        while (!isOver && !worker.isLost) await worker.step();
      }),
    );
    await killed;
    lab.log = '';
    await lab.start();
    expect(lab.log).not.toContain('"level":50');
    const [{ json: networks }, { json: sandboxes }] = await Promise.all([
      ask<NetworkJson[]>(lab, 'GET', '/networks'),
      ask<SandboxAnswer[]>(lab, 'GET', '/sandboxes'),
    ]);
    expect(
      workers.flatMap((worker) => worker.settle(sandboxes)),
      `kill ${kill}`,
    ).toEqual([]);
    expect(await lies(lab, networks, sandboxes), `kill ${kill}\n${lab.log}`).toEqual([]);
  }
  const acknowledged = workers.reduce((sum, worker) => sum + worker.acknowledged, 0);
  process.stdout.write(`${KILLS} kills, ${acknowledged} changes acknowledged\n`);
  expect(acknowledged).toBeGreaterThan(KILLS);
  for (const name of (await lab.ok('sandbox', 'ls', '-q')).split('\n').filter(Boolean)) await lab.ok('sandbox', 'rm', '-f', name);
  for (const name of NETWORKS) await lab.ok('rm', name);
  expect(await macvlansIn(`/run/netns/${lab.host}`)).toEqual([]);
  expect(await lab.leftovers()).toEqual([]);
});
