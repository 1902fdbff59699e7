/** Overlay networks of a lab: made once, sandboxes on every host, and what each host's kernel holds of the others. */

import type { SandboxAnswer } from '../../../src/base/index.ts';
import type { Host } from '../host.ts';
import type { Lab } from '../lab.ts';
import type { Box } from '../sandboxes.ts';
import { must, until } from '../wait.ts';
import { SPREAD_MS, pairsOf } from './common.ts';

export interface Overlay {
  readonly name: string;
  readonly id: string;
  /** Begin of its IPv4 addresses, `10.N.0.`. */
  readonly v4: string;
  readonly v6: string;
}

/** Makes a network of both families on host 1, and waits until every host lists it. `number` is of its subnets, 1 to 255. */
export async function makeOverlay(lab: Lab, name: string, number: number, flags: readonly string[] = []): Promise<Overlay> {
  const overlay = { name, v4: `10.${number}.0.`, v6: `fd00:${number}::` };
  const subnets = ['--ipv6', '--subnet', `${overlay.v4}0/24`, '--subnet', `${overlay.v6}/64`];
  const id = (await lab.host(1).ok('create', '-d', 'overlay', ...subnets, ...flags, name)).trim();
  await until(`every host lists ${name}`, () => everyHost(lab, (host) => lists(host, id)), SPREAD_MS, lab.commands.signal);
  return { ...overlay, id };
}

export const lists = async (host: Host, id: string): Promise<boolean> =>
  (await host.must<readonly { Id: string }[]>('GET', '/networks')).some(({ Id }) => Id === id);

export async function everyHost(lab: Lab, isTrue: (host: Host) => Promise<boolean>): Promise<boolean> {
  return (await Promise.all(lab.hosts.map(isTrue))).every(Boolean);
}

/** `count` sandboxes on each of these hosts, named `<network>-<host>-<n>`. */
export async function boxesEverywhere(lab: Lab, { name: network }: Overlay, count = 1, hosts = lab.hosts): Promise<Box[]> {
  const on = async (host: Host): Promise<Box[]> => {
    const boxes: Box[] = [];
    for (let n = 1; n <= count; n++) boxes.push(await lab.sandboxes.start(host, `${network}-${host.number}-${n}`, { network }));
    return boxes;
  };
  return (await Promise.all(hosts.map(on))).flat();
}

/** Waits until every one reaches every other by name and by all its addresses; answers the milliseconds. */
export async function allReachAll(lab: Lab, boxes: readonly Box[], limitMs = SPREAD_MS): Promise<number> {
  const begin = performance.now();
  await Promise.all(pairsOf(boxes).map(([from, to]) => reaches(lab, from, to, limitMs)));
  return performance.now() - begin;
}

/** Waits until one resolves the other's name to exactly its addresses, and the other answers there. */
async function reaches(lab: Lab, from: Box, to: Box, limitMs: number): Promise<void> {
  let last = '';
  const isSo = async (): Promise<boolean> => {
    const v4 = await from.probe.resolve(to.name, 4);
    const v6 = to.v6 === '' ? [] : await from.probe.resolve(to.name, 6);
    last = `${to.name} is ${JSON.stringify(v4)} ${JSON.stringify(v6)}, not ${to.addresses.join(' ')}`;
    if (`${v4} ${v6}` !== `${to.v4} ${to.v6}`) return false;
    const answers = await Promise.all(to.addresses.map((address) => from.probe.ask(address)));
    last = `at ${to.addresses.join(' ')} answer ${JSON.stringify(answers)}`;
    return answers.every((name) => name === to.name);
  };
  await until(`${from.name} reaches ${to.name}`, isSo, limitMs, lab.commands.signal).catch((error: Error) => {
    throw new Error(`${error.message}: ${last}`);
  });
}

/** Waits until none of these has an address by the name. */
export async function nameGone(lab: Lab, boxes: readonly Box[], name: string, limitMs = SPREAD_MS): Promise<number> {
  const isSo = async (): Promise<boolean> => {
    const found = await Promise.all(boxes.flatMap(({ probe }) => [probe.resolve(name, 4), probe.resolve(name, 6)]));
    return found.every((addresses) => (addresses ?? []).length === 0);
  };
  return await until(`${name} is no name any more`, isSo, limitMs, lab.commands.signal);
}

/** What a host's kernel says of endpoints on other hosts, one line an entry, sorted. Empty where the network is not. */
export async function entriesOn(host: Host, { id }: Overlay): Promise<string[]> {
  const pin = pinOf(id);
  if (!host.pins().includes(pin)) return [];
  const json = async (...words: [string, ...string[]]): Promise<readonly Entry[]> => {
    const { stdout, exitCode } = await host.inside(pin, ...words);
    return exitCode === 0 && stdout.trim() !== '' ? (JSON.parse(stdout) as readonly Entry[]) : [];
  };
  const fdb = await json('bridge', '-j', 'fdb', 'show', 'dev', 'vx0');
  const neighbours = await json('ip', '-j', 'neigh', 'show', 'dev', 'br0', 'nud', 'permanent');
  return [
    ...fdb.filter(({ dst }) => dst !== undefined).map(({ mac, dst }) => `${mac} is on ${dst}`),
    ...neighbours.map(({ dst, lladdr }) => `${dst} is ${lladdr}`),
  ].toSorted();
}

interface Entry {
  readonly mac?: string;
  readonly dst?: string;
  readonly lladdr?: string;
}

/** Pin of a network's namespace. */
export const pinOf = (id: string): string => `overlay-${id.slice(0, 12)}`;

/** What the entries on each host should be: those of all endpoints on other hosts, where it has an endpoint itself. */
export async function wantedEntries(
  lab: Lab,
  { name }: Overlay,
  alive: readonly Host[] = lab.hosts,
): Promise<Map<Host, string[]>> {
  const found = await Promise.all(
    alive.map(async (host) => {
      const answers = await host.must<readonly SandboxAnswer[]>('GET', '/sandboxes?all=1');
      return { host, ends: answers.map(({ Networks }) => Networks[name]).filter((end) => end !== undefined) };
    }),
  );
  return new Map(
    found.map(({ host, ends }) => {
      const others = ends.length === 0 ? [] : found.filter((other) => other.host !== host);
      const lines = others.flatMap((other) =>
        other.ends.flatMap(({ MacAddress: mac, IPAddress, GlobalIPv6Address }) => [
          `${mac} is on ${other.host.address}`,
          ...[IPAddress, GlobalIPv6Address].filter(Boolean).map((address) => `${address} is ${mac}`),
        ]),
      );
      return [host, lines.toSorted()];
    }),
  );
}

/** Waits until the kernels of these hosts hold exactly what they should; answers how many entries that is in all. */
export async function entriesAreTrue(lab: Lab, overlay: Overlay, alive: readonly Host[] = lab.hosts): Promise<number> {
  const wanted = await wantedEntries(lab, overlay, alive);
  for (const [host, lines] of wanted) {
    let found: string[] = [];
    const isSo = async (): Promise<boolean> => (found = await entriesOn(host, overlay)).join('\n') === lines.join('\n');
    await until(`the entries on ${host.name}`, isSo, SPREAD_MS, lab.commands.signal).catch((error: Error) => {
      const missing = lines.filter((line) => !found.includes(line));
      const surplus = found.filter((line) => !lines.includes(line));
      throw new Error(`${error.message}; missing: ${missing.join(', ') || 'none'}; too many: ${surplus.join(', ') || 'none'}`);
    });
  }
  return [...wanted.values()].reduce((sum, lines) => sum + lines.length, 0);
}

/** Of a watch: most of its packets were answered, and by nobody but this one. Answers the longest silence, for people. */
export async function watchHeld(from: Box, key: string, name: string, percent = 90): Promise<string> {
  const { sent, answered, names, longestGapMs } = await from.probe.seen(key);
  must(sent > 0 && answered >= (sent * percent) / 100, `${name} answers ${from.name}: ${answered} of ${sent}`);
  must(Object.keys(names).join() === name, `nobody but ${name} answers ${from.name}: ${JSON.stringify(names)}`);
  return `${answered} of ${sent} answered, longest silence ${Math.round(longestGapMs)} ms`;
}
