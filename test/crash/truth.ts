/** Compares what the daemon says with the kernel, the packet filter, the files, the held ports and the names. */

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { expect } from 'vitest';
import type { EndpointJson, NetworkJson, SandboxAnswer } from '../../src/base/index.ts';
import { waitUntil, type Lab } from '../e2e/lab.ts';
import { ask } from './client.ts';

export interface State {
  readonly networks: readonly NetworkJson[];
  readonly sandboxes: readonly SandboxAnswer[];
  /** Endpoints on the gateway bridge, which sandboxes do not show. */
  readonly gateways: readonly EndpointJson[];
}

/** Programs that look at sandboxes at once. */
const LOOKS = 8;

async function forEach<T, R>(list: readonly T[], look: (one: T) => Promise<readonly R[]>): Promise<R[]> {
  const rest = [...list];
  const found: R[] = [];
  const worker = async (): Promise<void> => {
    for (let one = rest.shift(); one !== undefined; one = rest.shift()) found.push(...(await look(one)));
  };
  await Promise.all(Array.from({ length: LOOKS }, worker));
  return found;
}

export async function stateOf(lab: Lab): Promise<State> {
  const [networks, sandboxes, endpoints] = await Promise.all([
    ask<NetworkJson[]>(lab, 'GET', '/networks'),
    ask<SandboxAnswer[]>(lab, 'GET', '/sandboxes'),
    ask<EndpointJson[]>(lab, 'GET', '/endpoints'),
  ]);
  expect([networks.status, sandboxes.status, endpoints.status]).toEqual([200, 200, 200]);
  const gateways = endpoints.json.filter(({ Name }) => Name.startsWith('gateway_'));
  return { networks: networks.json, sandboxes: sandboxes.json, gateways };
}

/** Networks whose sandboxes have names. */
const namedOf = (networks: readonly NetworkJson[]): NetworkJson[] =>
  networks.filter((net) => ['bridge', 'overlay'].includes(net.Driver) && !PREDEFINED.has(net.Name));

/** Sandboxes that are on the gateway bridge and need not, or the other way round. */
function gatewayLies({ networks, sandboxes, gateways }: State): string[] {
  const isOverlay = (id: string): boolean => networks.some((net) => net.Id === id && net.Driver === 'overlay');
  const needing = sandboxes.filter(({ Networks }) => {
    const ids = Object.values(Networks).map((ep) => ep.NetworkID);
    return ids.length > 0 && ids.every(isOverlay);
  });
  return compare(
    'way outside of',
    gateways.map((ep) => ep.Sandbox?.Name ?? ep.Name),
    needing.map((box) => box.Name),
  );
}

const PREDEFINED: ReadonlySet<string> = new Set(['bridge', 'host', 'none']);
/** Links that are out of service are deleted behind the caller's back. */
const SETTLE_MS = 15_000;

const compare = (what: string, found: readonly string[], wanted: readonly string[]): string[] => {
  const has = new Set(found);
  const wants = new Set(wanted);
  return [
    ...found.filter((one) => !wants.has(one)).map((one) => `${what} left over: ${one}`),
    ...wanted.filter((one) => !has.has(one)).map((one) => `${what} missing: ${one}`),
  ];
};

const endpointsOf = (sandboxes: readonly SandboxAnswer[]) => sandboxes.flatMap((box) => Object.values(box.Networks));

/** Also the one that the sandbox does not show. */
const endpointsIn = (box: SandboxAnswer, gateways: State['gateways']) => [
  ...Object.values(box.Networks),
  ...gateways.filter((ep) => ep.Sandbox?.Id === box.Id),
];

async function linkLies(lab: Lab, { networks, sandboxes, gateways }: State): Promise<string[]> {
  const bridges = networks.filter((net) => net.Driver === 'bridge' && !PREDEFINED.has(net.Name));
  const wanted = [
    ...bridges.map((net) => `br-${net.Id.slice(0, 12)}`),
    // Those of overlay networks are in namespaces of their own.
    ...[...endpointsOf(sandboxes), ...gateways]
      .filter((ep) => networks.some((net) => net.Id === ep.NetworkID && net.Driver === 'bridge'))
      .map((ep) => `veth${ep.EndpointID.slice(0, 11)}`),
  ];
  let lies: string[] = [];
  await waitUntil(async () => {
    const { stdout } = await lab.in('host', 'ip', '-o', 'link');
    const found = [...stdout.matchAll(/^\d+: ((?:br-|veth|dead)[^:@]*)/gm)].map(([, name = '']) => name);
    lies = compare('link', found, wanted);
    return lies.length === 0;
  }, SETTLE_MS).catch(() => {});
  return lies;
}

async function ruleLies(lab: Lab, { sandboxes, gateways }: State): Promise<string[]> {
  const lies: string[] = [];
  for (const [tool, host, key] of [
    ['iptables-save', '0.0.0.0', 'IPAddress'],
    ['ip6tables-save', '::', 'GlobalIPv6Address'],
  ] as const) {
    const { stdout } = await lab.in('host', tool, '-t', 'nat');
    const found = [...stdout.matchAll(/--dport (\d+) -j DNAT --to-destination \[?([0-9a-f.:]+?)\]?:\d+$/gm)];
    const wanted = sandboxes.flatMap((box) =>
      Object.values(box.Ports).flatMap((bindings) =>
        (bindings ?? []).filter(({ HostIp }) => HostIp === host).map(({ HostPort }) => [box, HostPort] as const),
      ),
    );
    for (const [box, port] of wanted) {
      const to = found.filter((match) => match[1] === port).map((match) => match[2] ?? '');
      const own = endpointsIn(box, gateways).map((ep) => ep[key]);
      // An IPv6 binding of a sandbox without IPv6 has no rule.
      if (host === '::' && !own.some(Boolean)) continue;
      if (to.length !== 1 || !own.includes(to[0] ?? '')) lies.push(`${tool}: port ${port} of ${box.Name} leads to ${String(to)}`);
    }
    const ports = new Set(wanted.map(([, port]) => port));
    lies.push(...found.filter(([, port = '']) => !ports.has(port)).map(([rule]) => `${tool} left over: ${rule}`));
  }
  return lies;
}

function fileLies(lab: Lab, { networks, sandboxes }: State): string[] {
  const list = (folder: string): string[] => readdirSync(join(lab.runDir, folder)).map((name) => name.replace(/\.json$/, ''));
  const short = sandboxes.filter((box) => !box.Adopted).map((box) => box.Id.slice(0, 12));
  const named = new Set(namedOf(networks).map((net) => net.Id));
  const used = new Set(endpointsOf(sandboxes).map((ep) => ep.NetworkID));
  const spaces = networks.filter((net) => net.Driver === 'overlay' && used.has(net.Id));
  const holds = list('keeper/holds');
  const publishes = (box: SandboxAnswer): boolean => Object.values(box.Ports).some((bindings) => (bindings ?? []).length > 0);
  const publishing = sandboxes.filter(publishes).map((box) => box.Id);
  const idle = sandboxes.filter((box) => !publishes(box)).map((box) => box.Id);
  return [
    ...compare('pin', list('netns'), [...short, ...spaces.map((net) => `overlay-${net.Id.slice(0, 12)}`)]),
    ...compare(
      'folder',
      list('sandboxes'),
      sandboxes.map((box) => box.Id.slice(0, 12)),
    ),
    ...compare(
      'names of endpoint',
      list('keeper/names'),
      endpointsOf(sandboxes)
        .filter((ep) => named.has(ep.NetworkID))
        .map((ep) => ep.EndpointID),
    ),
    // A sandbox without a network keeps the host ports that it once had.
    ...compare('holds of sandbox', holds, [...publishing, ...idle.filter((id) => holds.includes(id))]),
  ];
}

/** Prints those of its arguments that it can bind. */
const BINDER = `
const { createServer } = require('node:net');
for (const port of process.argv.slice(1)) {
  const server = createServer().on('error', () => {});
  server.listen(Number(port), '0.0.0.0', () => { console.log(port); server.close(); });
}`;

/** Published TCP ports that any process of the host could take. */
export async function portsNotHeld(lab: Lab, { sandboxes }: State): Promise<string[]> {
  const ports = sandboxes.flatMap((box) =>
    Object.entries(box.Ports)
      .filter(([key]) => key.endsWith('/tcp'))
      .flatMap(([, bindings]) => (bindings ?? []).map(({ HostPort }) => HostPort)),
  );
  const { stdout, stderr, exitCode } = await lab.in('host', process.execPath, '-e', BINDER, ...new Set(ports));
  expect(exitCode, stderr).toBe(0);
  return stdout.split('\n').filter(Boolean);
}

/** Names of neighbours that do not resolve to their address, asked once from every sandbox. */
export async function namesNotTrue({ networks, sandboxes }: State): Promise<string[]> {
  const named = namedOf(networks).map((net) => net.Name);
  return await forEach(sandboxes, async (box) => {
    const own = named.filter((name) => box.Networks[name] !== undefined);
    const questions = sandboxes.flatMap((other) => {
      const shared = own.filter((name) => other.Networks[name] !== undefined);
      return shared.length === 0 ? [] : [[other.Name, shared.map((name) => other.Networks[name]?.IPAddress ?? '')] as const];
    });
    if (questions.length === 0) return [];
    const asked = questions.flatMap(([name]) => [name, 'A']);
    const dig = ['dig', '+noall', '+answer', '+tries=1', '+time=5', '@127.0.0.11', ...asked];
    const { stdout } = await execa('nsenter', [`--net=${box.Netns}`, ...dig], { reject: false });
    const answers = [...stdout.matchAll(/^(\S+)\.\s+\d+\s+IN\s+A\s+(\S+)$/gm)];
    return questions.flatMap(([name, addresses]) => {
      const found = answers.filter((answer) => answer[1] === name).map((answer) => answer[2] ?? '');
      const isTrue = found.length > 0 && found.every((address) => addresses.includes(address));
      return isTrue ? [] : [`${box.Name}: ${name} is ${String(found)}, not ${String(addresses)}`];
    });
  });
}

async function insideLies(state: State): Promise<string[]> {
  let lies: string[] = [];
  await waitUntil(async () => {
    lies = await addressLies(state);
    return lies.length === 0;
  }, SETTLE_MS).catch(() => {});
  return lies;
}

async function addressLies({ sandboxes, gateways }: State): Promise<string[]> {
  return await forEach(sandboxes, async (box) => {
    const { stdout } = await execa('nsenter', [`--net=${box.Netns}`, 'ip', '-o', '-4', 'addr', 'show', 'scope', 'global'], {
      reject: false,
    });
    const found = [...stdout.matchAll(/ inet ([\d.]+)\//g)].map(([, address = '']) => address);
    return compare(
      `address in ${box.Name}`,
      found,
      endpointsIn(box, gateways).map((ep) => ep.IPAddress),
    );
  });
}

/** Everything that is not as the daemon says. Nobody may change anything meanwhile. */
export async function untruths(lab: Lab): Promise<string[]> {
  const state = await stateOf(lab);
  const half = state.sandboxes.flatMap((box) =>
    Object.entries(box.Networks)
      .filter(([, ep]) => ep.IPAddress === '' || ep.MacAddress === '')
      .map(([name]) => `${box.Name} on ${name} is half made`),
  );
  const degraded = state.networks.flatMap((net) => (net.Degraded === undefined ? [] : [`${net.Name}: ${net.Degraded}`]));
  const lies = await Promise.all([
    linkLies(lab, state),
    ruleLies(lab, state),
    insideLies(state),
    namesNotTrue(state),
    portsNotHeld(lab, state).then((ports) => ports.map((port) => `port ${port} is not held`)),
  ]);
  return [...half, ...degraded, ...gatewayLies(state), ...fileLies(lab, state), ...lies.flat()];
}

/** Tries of one removal: a keeper that a busy machine keeps from answering in time is a 503, and a removal may be repeated. */
const MAX_TRIES = 5;

async function removed(lab: Lab, path: string): Promise<number[]> {
  for (let tries = 1; ; tries++) {
    const { status } = await ask(lab, 'DELETE', path);
    if (status !== 503 || tries === MAX_TRIES) return [status];
  }
}

/** Removes every sandbox and network but those named in `keep`. */
export async function removeAll(lab: Lab, keep: ReadonlySet<string> = new Set()): Promise<void> {
  const { networks, sandboxes } = await stateOf(lab);
  const boxes = sandboxes.filter(({ Name }) => !keep.has(Name));
  const own = networks.filter(({ Name }) => !PREDEFINED.has(Name) && !keep.has(Name));
  const statuses = [
    ...(await forEach(boxes, ({ Id }) => removed(lab, `/sandboxes/${Id}?force=1`))),
    ...(await forEach(own, ({ Id }) => removed(lab, `/networks/${Id}`))),
  ];
  expect(statuses.filter((status) => status !== 204)).toEqual([]);
}

/** Removes everything, and answers what is left. */
export async function cleared(lab: Lab): Promise<string[]> {
  await removeAll(lab);
  return await lab.leftovers();
}
