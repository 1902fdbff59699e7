/** A service over all hosts: its name and its tasks are the same everywhere, at once, and its address is answered by those who serve. */

import type { ServiceJson } from '../../../src/base/index.ts';
import type { Lab } from '../lab.ts';
import type { Scenario } from '../scenario.ts';
import type { Box } from '../sandboxes.ts';
import { killHost } from '../verbs.ts';
import { must, until } from '../wait.ts';
import { GONE_MS, SPREAD_MS, ms } from './common.ts';
import { boxesEverywhere, makeOverlay } from './overlay.ts';

/** Changes whose way to all hosts is measured. */
const CHANGES = 40;
/** Questions to the virtual address, each a flow of its own. */
const QUESTIONS = 30;

/** Waits until every sandbox resolves the name to exactly these addresses. */
export async function everywhere(
  lab: Lab,
  boxes: readonly Box[],
  name: string,
  wanted: readonly string[],
  limitMs = SPREAD_MS,
): Promise<number> {
  const text = wanted.toSorted().join();
  const isSo = async ({ probe }: Box): Promise<boolean> => ((await probe.resolve(name, 4)) ?? []).toSorted().join() === text;
  return await until(
    `${name} is ${text || 'nobody'} everywhere`,
    async () => (await Promise.all(boxes.map(isSo))).every(Boolean),
    limitMs,
    lab.commands.signal,
  );
}

/** What this part of the values is not above. */
export function partOf(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0;
}

/** For people. */
export const spreadOf = (ways: readonly number[]): string =>
  `${ways.length} changes were everywhere after ${ms(partOf(ways, 0.5))}, 99 % after ${ms(partOf(ways, 0.99))}`;

/** Who answers at the address, asked again and again. */
async function answering({ probe }: Box, address: string): Promise<Set<string>> {
  const names = new Set<string>();
  for (let n = 0; n < QUESTIONS; n++) names.add((await probe.ask(address)) ?? 'nobody');
  return names;
}

export const services: Scenario = {
  name: 'services',
  about: 'a service has one address and the same members on all hosts: they come, drain, die with their host and come back',
  hosts: 3,
  async run(lab) {
    const overlay = await makeOverlay(lab, 'served', 85);
    await lab.host(1).ok('service', 'create', '--network', overlay.name, 'web');
    const boxes = await boxesEverywhere(lab, overlay, 2);
    const members = boxes.filter(({ name }) => name.endsWith('-2'));
    const clients = boxes.filter((box) => !members.includes(box));
    const { VirtualIPs } = await lab.host(2).must<ServiceJson>('GET', '/network-services/web');
    const [vip = ''] = VirtualIPs;
    await everywhere(lab, clients, 'web', [vip]);
    for (const { host, name } of members) await host.ok('service', 'add', 'web', name);
    const all = members.map(({ v4 }) => v4);
    await everywhere(lab, clients, 'tasks.web', all);
    for (const client of clients) {
      const isWhole = async (): Promise<boolean> => (await answering(client, vip)).size === members.length;
      await until(`all members answer ${client.name}, and nobody else`, isWhole, SPREAD_MS, lab.commands.signal);
    }

    const [first, ...others] = members;
    if (first === undefined) throw new Error('no member');
    const rest = others.map(({ v4 }) => v4);
    const ways: number[] = [];
    for (let n = 0; n < CHANGES; n++) {
      const isOut = n % 2 === 0;
      // By the API: a program that starts takes longer than the way of a change.
      const path = `/network-services/web/${isOut ? 'drain' : 'add'}`;
      const { status } = await first.host.api('POST', path, { Sandbox: first.name });
      must(status < 300, `${path} is answered with ${status}`);
      ways.push(await everywhere(lab, clients, 'tasks.web', isOut ? rest : all));
    }
    await first.host.ok('service', 'drain', 'web', first.name);
    await everywhere(lab, clients, 'tasks.web', rest);
    // On other hosts a name may be a moment ahead of the balance.
    for (const client of clients) {
      const isSpared = async (): Promise<boolean> => !(await answering(client, vip)).has(first.name);
      await until(`a member that drains gets nothing new from ${client.name}`, isSpared, SPREAD_MS, lab.commands.signal);
    }
    await first.host.ok('service', 'add', 'web', first.name);

    const dead = lab.host(lab.hosts.length);
    const left = clients.filter(({ host }) => host !== dead);
    await killHost(lab, dead.number);
    const gone = await everywhere(
      lab,
      left,
      'tasks.web',
      members.filter(({ host }) => host !== dead).map(({ v4 }) => v4),
      GONE_MS,
    );
    await lab.underlay.heal(dead.name);
    await dead.start();
    const back = await everywhere(lab, clients, 'tasks.web', all, GONE_MS);
    await lab.host(2).ok('service', 'rm', 'web');
    await everywhere(lab, clients, 'web', []);
    return `${spreadOf(ways)}; a dead host's members gone after ${ms(gone)}, back after ${ms(back)}`;
  },
};
