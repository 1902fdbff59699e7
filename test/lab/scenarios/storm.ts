/**
 * Everything at once, by chance: sandboxes come and go while hosts are cut off, lose packets and are late, and daemons and
 * members of etcd are killed. When all is healed, all is true.
 */

import type { SandboxAnswer } from '../../../src/base/index.ts';
import { MEMBERS } from '../etcd.ts';
import type { Host } from '../host.ts';
import type { Lab } from '../lab.ts';
import type { Scenario } from '../scenario.ts';
import { must } from '../wait.ts';
import { GONE_MS, chances, createBox, ms, pause } from './common.ts';
import { allReachAll, boxesEverywhere, entriesAreTrue, makeOverlay } from './overlay.ts';

/** Who change sandboxes at the same time, and pauses between faults, milliseconds. */
const CHANGERS = 6;
const SHORTEST_MS = 100;
const LONGEST_MS = 800;
/** Sandboxes of the storm on a host at most. */
const MOST = 15;

type Chance = ReturnType<typeof chances>;

/** What may happen to a lab; most of it is taken back by others of these. */
const FAULTS: readonly ((lab: Lab, below: Chance) => Promise<void>)[] = [
  async (lab, below) => await lab.underlay.lose(any(lab, below).name, 100),
  async (lab, below) => await lab.underlay.lose(any(lab, below).name, 5 + below(30)),
  async (lab, below) => void (await lab.underlay.delay(any(lab, below).name, 1 + below(50))),
  async (lab, below) => await lab.underlay.heal(any(lab, below).name),
  async (lab, below) => await lab.underlay.heal(any(lab, below).name),
  async (lab, below) => await lab.underlay.lose(`etcd${1 + below(MEMBERS)}`, 100),
  async (lab, below) => await lab.underlay.heal(`etcd${1 + below(MEMBERS)}`),
  async (lab, below) => await any(lab, below).kill(),
  async (lab) => await startDead(lab),
  async (lab, below) => await lab.etcd.kill(1 + below(MEMBERS)),
  async (lab) => beginMembers(lab),
  async (lab) => beginMembers(lab),
];

const any = (lab: Lab, below: Chance): Host => lab.host(1 + below(lab.hosts.length));

async function startDead(lab: Lab): Promise<void> {
  await Promise.all(lab.hosts.map((host) => host.start()));
}

function beginMembers(lab: Lab): void {
  for (let member = 1; member <= MEMBERS; member++) lab.etcd.begin(member);
}

/** Makes or removes a sandbox on some host; what is refused is counted, what is no clear refusal is an error. */
async function change(lab: Lab, network: string, below: Chance, number: number, counts: Counts): Promise<void> {
  const host = any(lab, below);
  const begin = performance.now();
  try {
    const boxes = (await host.must<readonly SandboxAnswer[]>('GET', '/sandboxes')).filter(({ Name }) => Name.startsWith('box-'));
    const isRemoval = boxes.length > 0 && (boxes.length > MOST || below(2) === 0);
    const box = boxes[below(Math.max(1, boxes.length))];
    const { status, message } =
      isRemoval && box !== undefined ? await removal(host, box.Name) : await createBox(host, `box-${number}`, network);
    if (status < 300) return void counts.done++;
    counts.refused++;
    if (status >= 500 && status !== 503) counts.strange.push(`${host.name} ${isRemoval ? 'rm' : 'create'}: ${status} ${message}`);
  } catch (error) {
    // Its daemon was killed meanwhile; a start takes away the socket that was left before it makes its own.
    if (!/ECONN|ENOENT|EPIPE|hang up|socket/.test(String(error))) throw error;
    counts.refused++;
  } finally {
    counts.longestMs = Math.max(counts.longestMs, performance.now() - begin);
  }
}

interface Counts {
  done: number;
  refused: number;
  longestMs: number;
  readonly strange: string[];
}

async function removal(host: Host, name: string): Promise<{ status: number; message: string }> {
  const { status, json } = await host.api<{ message?: string }>('DELETE', `/sandboxes/${name}`);
  return { status, message: json.message ?? '' };
}

/** Every address of the network is one sandbox's. */
async function addressesAreUnique(lab: Lab, network: string): Promise<number> {
  const all = await Promise.all(lab.hosts.map((host) => host.must<readonly SandboxAnswer[]>('GET', '/sandboxes')));
  const ends = all.flat().map(({ Networks }) => Networks[network]);
  const addresses = ends.flatMap((end) => (end === undefined ? [] : [end.IPAddress, end.GlobalIPv6Address]));
  must(new Set(addresses).size === addresses.length, `no address is given twice: ${addresses.toSorted().join(' ')}`);
  return addresses.length / 2;
}

export const storm: Scenario = {
  name: 'storm',
  about: 'sandboxes come and go under all faults at once, by chance: when all is healed, all is true',
  hosts: 3,
  async run(lab, { stormMs, seed }) {
    const overlay = await makeOverlay(lab, 'stormy', 81);
    const boxes = await boxesEverywhere(lab, overlay);
    await allReachAll(lab, boxes);
    const counts: Counts = { done: 0, refused: 0, longestMs: 0, strange: [] };
    const end = performance.now() + stormMs;
    let [faults, number] = [0, 0];
    const disturb = async (below: Chance): Promise<void> => {
      for (; performance.now() < end; faults++) {
        await FAULTS[below(FAULTS.length)]?.(lab, below);
        await pause(SHORTEST_MS + below(LONGEST_MS - SHORTEST_MS));
      }
    };
    const live = async (below: Chance): Promise<void> => {
      while (performance.now() < end) {
        await change(lab, overlay.name, below, number++, counts);
        await pause(below(SHORTEST_MS));
      }
    };
    await Promise.all([disturb(chances(seed)), ...Array.from({ length: CHANGERS }, (_, i) => live(chances(seed + 1 + i)))]);
    const begin = performance.now();
    await lab.healAll();
    await allReachAll(lab, boxes, GONE_MS);
    await entriesAreTrue(lab, overlay);
    const healed = performance.now() - begin;
    must(counts.strange.length === 0, `refusals are clear: ${counts.strange.join('; ')}`);
    const living = await addressesAreUnique(lab, overlay.name);
    return `${faults} faults, ${counts.done} changes, ${counts.refused} refused, the slowest after ${ms(counts.longestMs)}; ${living} sandboxes, all true ${ms(healed)} after`;
  },
};
