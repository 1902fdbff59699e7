/** Every pair of sandboxes on all hosts, by name and by address, in both families; and two networks apart. */

import type { NetworkJson } from '../../../src/base/index.ts';
import type { Host } from '../host.ts';
import type { Lab } from '../lab.ts';
import type { Scenario } from '../scenario.ts';
import type { Box } from '../sandboxes.ts';
import { must } from '../wait.ts';
import { ms } from './common.ts';
import { type Overlay, allReachAll, boxesEverywhere, entriesAreTrue, makeOverlay } from './overlay.ts';

/** How long nobody may answer, milliseconds. */
const SILENCE_MS = 400;

async function isApart(from: Box, to: Box): Promise<void> {
  const found = await Promise.all([from.probe.resolve(to.name, 4), from.probe.resolve(to.name, 6)]);
  must(
    found.every((addresses) => (addresses ?? []).length === 0),
    `${from.name} does not know the name ${to.name}`,
  );
  const answers = await Promise.all(to.addresses.map((address) => from.probe.ask(address, SILENCE_MS)));
  must(
    answers.every((name) => name === null),
    `${from.name} does not reach ${to.name}: ${JSON.stringify(answers)}`,
  );
}

/** `inspect -v` on a host tells who is where, on all of them. */
async function showsAll(lab: Lab, host: Host, { name }: Overlay, boxes: readonly Box[]): Promise<void> {
  const [seen] = JSON.parse(await host.ok('inspect', '-v', name)) as NetworkJson[];
  const peers = (seen?.Peers ?? []).map(({ Name, IP }) => `${Name} ${IP}`);
  const wanted = lab.hosts.map(({ name: host, address }) => `${host} ${address}`).toSorted();
  must(peers.join() === wanted.join(), `${host.name} shows the hosts of ${name}: ${peers.join(', ')}`);
  const tasks = (seen?.Services?.['']?.Tasks ?? []).map(({ EndpointIP, Info }) => `${EndpointIP} ${Info['Host']} ${Info['MAC']}`);
  const ends = boxes.map(({ v4, host, mac }) => `${v4} ${host.name} ${mac}`);
  must(tasks.toSorted().join() === ends.toSorted().join(), `${host.name} shows who is where: ${tasks.join(', ')}`);
}

export const names: Scenario = {
  name: 'names',
  about:
    'sandboxes on all hosts reach each other by name and address, v4 and v6; two networks do not; inspect tells who is where',
  hosts: 2,
  async run(lab) {
    const begin = performance.now();
    const one = await makeOverlay(lab, 'one', 81);
    const two = await makeOverlay(lab, 'two', 82);
    const listed = performance.now() - begin;
    const ones = await boxesEverywhere(lab, one, 2);
    const twos = await boxesEverywhere(lab, two);
    const reached = await allReachAll(lab, ones);
    await allReachAll(lab, twos);
    for (const from of ones) await Promise.all(twos.map((to) => isApart(from, to)));
    for (const from of twos) await Promise.all(ones.map((to) => isApart(from, to)));
    for (const host of lab.hosts) await showsAll(lab, host, one, ones);
    const entries = (await entriesAreTrue(lab, one)) + (await entriesAreTrue(lab, two));
    const pairs = ones.length * (ones.length - 1) + twos.length * (twos.length - 1);
    return `${pairs} pairs reach each other after ${ms(reached)}, two networks listed everywhere after ${ms(listed)}, ${entries} entries`;
  },
};
