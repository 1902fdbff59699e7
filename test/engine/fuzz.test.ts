/**
 * 5,000 mutated calls to a plugin's socket, clients that are slow and clients that go away: the daemon lives, answers, does not
 * grow, and once all is removed nothing is left. PBT_SEED repeats the calls.
 */

import { randomBytes } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { type Socket, connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { generator, mutatedOctets, mutatedValue, seed, type Random } from '../fuzz/random.ts';
import { sendOctets } from '../fuzz/send.ts';
import { Lab, waitUntil } from '../e2e/lab.ts';
import { callPlugin } from './replay/call.ts';

const REQUESTS = 5000;
const AT_ONCE = 8;
/** After so many all that was made by accident is removed, so that the next ones find the same place. */
const ROUND = 250;
/** Memory is compared from here on. */
const WARM_UP = 2000;
const MAX_GROWTH_KIB = 64 * 1024;
const NetworkID = 'a1'.repeat(32);
const EndpointID = 'b1'.repeat(32);
const PORTS = {
  'com.docker.network.portmap': [{ Proto: 6, IP: '', Port: 80, HostIP: '', HostPort: 18_091, HostPortEnd: 18_091 }],
};

let lab: Lab;
let box: string;

const corpus = (): readonly (readonly [call: string, body?: unknown])[] => [
  ['Plugin.Activate'],
  ['NetworkDriver.GetCapabilities'],
  [
    'NetworkDriver.CreateNetwork',
    {
      NetworkID,
      Options: {
        'com.docker.network.enable_ipv6': true,
        'com.docker.network.generic': { 'com.docker.network.driver.mtu': '1400' },
      },
      IPv4Data: [
        { AddressSpace: 'LocalDefault', Pool: '10.71.0.0/24', Gateway: '10.71.0.1/24', AuxAddresses: { a: '10.71.0.9/24' } },
      ],
      IPv6Data: [{ AddressSpace: 'LocalDefault', Pool: 'fd71::/64', Gateway: 'fd71::1/64' }],
    },
  ],
  [
    'NetworkDriver.CreateEndpoint',
    { NetworkID, EndpointID, Interface: { Address: '10.71.0.5/24', AddressIPv6: 'fd71::5/64', MacAddress: '' }, Options: PORTS },
  ],
  ['NetworkDriver.Join', { NetworkID, EndpointID, SandboxKey: `/run/netns/${box}`, Options: {} }],
  ['NetworkDriver.ProgramExternalConnectivity', { NetworkID, EndpointID, Options: PORTS }],
  ['NetworkDriver.EndpointOperInfo', { NetworkID, EndpointID }],
  ['NetworkDriver.RevokeExternalConnectivity', { NetworkID, EndpointID }],
  ['NetworkDriver.Leave', { NetworkID, EndpointID }],
  ['NetworkDriver.DeleteEndpoint', { NetworkID, EndpointID }],
  ['NetworkDriver.AllocateNetwork', { NetworkID, Options: { a: 'b' }, IPv4Data: [], IPv6Data: null }],
  ['NetworkDriver.GwAllocCheck', { Options: { 'com.docker.network.generic': { a: 'b' } } }],
  ['NetworkDriver.DiscoverNew', { DiscoveryType: 1, DiscoveryData: { Address: '192.0.2.1', Self: true } }],
  [
    'IpamDriver.RequestPool',
    { AddressSpace: 'LocalDefault', Pool: '10.72.0.0/24', SubPool: '10.72.0.128/25', Options: {}, V6: false },
  ],
  ['IpamDriver.RequestAddress', { PoolID: '{pool}', Address: '10.72.0.130', Options: { a: 'b' } }],
  ['IpamDriver.ReleaseAddress', { PoolID: '{pool}', Address: '10.72.0.130' }],
];

const socketPath = (): string => join(lab.folder, 'plugins/patchbay-bridge.sock');
const descriptors = (): number => readdirSync(`/proc/${lab.daemon?.pid}/fd`).length;
const ask = async (call: string, body?: unknown): Promise<Record<string, unknown>> =>
  JSON.parse((await callPlugin(socketPath(), call, body === undefined ? undefined : JSON.stringify(body))).text);

beforeAll(async () => {
  lab = await Lab.open({ flags: ['--bridge', 'none'] });
  box = `${lab.prefix}-box`;
  await execa('ip', ['netns', 'add', box]);
});
afterAll(async () => {
  await lab.close();
  await execa('ip', ['netns', 'del', box], { reject: false });
});

interface Made {
  readonly networks: Set<string>;
  readonly pools: Set<string>;
}

/** One call as octets, sound in one of two; in one of eight its framing is mutated too. */
function requestOf(random: Random, pool: string): { readonly call: string; readonly octets: Buffer } {
  const all = corpus();
  const [call, body] = all[random(all.length)] ?? all[0]!;
  const value = random(2) === 0 ? body : mutatedValue(body, random);
  const text = body === undefined ? '' : JSON.stringify(value).replaceAll('{pool}', pool);
  const payload = random(8) === 0 ? mutatedOctets(Buffer.from(text), random) : Buffer.from(text);
  const head = `POST /${call} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: ${payload.length}\r\n\r\n`;
  const whole = Buffer.concat([Buffer.from(head), payload]);
  return { call, octets: random(8) === 0 ? mutatedOctets(whole, random) : whole };
}

/** Whatever ids were in a call, one of them may have been made. */
function note(made: Made, octets: Buffer, answer: string): void {
  for (const [, id = ''] of octets.toString('latin1').matchAll(/"networkid":"([^"]*)"/gi)) made.networks.add(id);
  const pool = /"PoolID":"([^"]+)"/.exec(answer)?.[1];
  if (pool !== undefined) made.pools.add(pool);
}

async function clean({ networks, pools }: Made): Promise<void> {
  for (const id of networks) await ask('NetworkDriver.DeleteNetwork', { NetworkID: id });
  for (const id of pools) await ask('IpamDriver.ReleasePool', { PoolID: id });
}

test('5,000 mutated calls neither end the daemon, nor hang, nor make it grow, nor leave anything', async () => {
  const memory = (): number => Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${lab.daemon?.pid}/status`, 'utf8'))?.[1]);
  const random = generator(seed);
  const flaws: string[] = [];
  const counts = { success: 0, refusal: 0, none: 0 };
  const made: Made = { networks: new Set(), pools: new Set() };
  const descriptorsBefore = descriptors();
  let memoryBefore = 0;
  for (let sent = 0; sent < REQUESTS; sent += ROUND) {
    if (sent === WARM_UP) memoryBefore = memory();
    let left = ROUND;
    const worker = async (): Promise<void> => {
      while (left-- > 0) {
        const { octets } = requestOf(random, [...made.pools].at(-1) ?? 'none');
        const answer = await sendOctets(socketPath(), octets);
        note(made, octets, answer);
        const status = /^HTTP\/1\.1 (\d{3})/.exec(answer)?.[1];
        counts[status === undefined ? 'none' : status === '200' && !/"Err(or)?":/.test(answer) ? 'success' : 'refusal']++;
        if (status?.startsWith('5') && flaws.length < 10) flaws.push(`${JSON.stringify(octets.toString('latin1'))} → ${answer}`);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    await clean(made);
    made.networks.clear();
    made.pools.clear();
  }
  console.info(`answers: ${JSON.stringify(counts)}`);
  expect(flaws).toEqual([]);
  expect(lab.daemon?.exitCode).toBe(null);
  for (const kind of ['success', 'refusal'] as const) expect(counts[kind]).toBeGreaterThan(1000);
  expect(memory() - memoryBefore).toBeLessThan(MAX_GROWTH_KIB);
  await waitUntil(() => descriptors() <= descriptorsBefore + 5, 30_000);
  expect(lab.log.match(/"level":50.*/)?.[0]).toBeUndefined();
  expect(await lab.leftovers()).toEqual([]);
}, 300_000);

test('clients that send slowly are cut off, and engines are served meanwhile', async () => {
  const slow = Array.from({ length: 40 }, (_, i) => {
    const socket = connect(socketPath());
    const one = { socket, isEnded: false, text: '' };
    socket.on('data', (chunk: Buffer) => (one.text += chunk.toString()));
    socket.on('error', () => {});
    socket.on('close', () => (one.isEnded = true));
    socket.write(i % 2 === 0 ? 'POST /Plugin.Activate HTTP/1.1\r\nHost: x\r\n' : 'PO');
    return one;
  });
  const drip = setInterval(() => {
    for (const { socket } of slow) if (socket.writable) socket.write('X');
  }, 500);
  try {
    expect(await ask('Plugin.Activate')).toEqual({ Implements: ['NetworkDriver', 'IpamDriver'] });
    await waitUntil(() => slow.every(({ isEnded }) => isEnded), 60_000);
  } finally {
    clearInterval(drip);
    for (const { socket } of slow) socket.destroy();
  }
  for (const { text } of slow.filter((_, i) => i % 2 === 0)) expect(text).toMatch(/^HTTP\/1\.1 408 [^]*"Err"/);
}, 90_000);

/** Sends a call and goes away some time later, without reading. */
async function leave(call: string, body: unknown, afterMs: number): Promise<void> {
  const text = JSON.stringify(body);
  const socket: Socket = connect(socketPath());
  socket.on('error', () => {});
  socket.write(`POST /${call} HTTP/1.1\r\nHost: x\r\nContent-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`);
  await sleep(afterMs);
  socket.destroy();
}

test('a client that goes away in the middle of a call leaves all or nothing, and the same call works afterwards', async () => {
  const network = { NetworkID, Options: {}, IPv4Data: [{ Pool: '10.71.0.0/24', Gateway: '10.71.0.1/24' }], IPv6Data: [] };
  expect(await ask('NetworkDriver.CreateNetwork', network)).toEqual({});
  const before = descriptors();
  for (let i = 0; i < 30; i++) {
    const ep = { NetworkID, EndpointID: randomBytes(32).toString('hex') };
    const endpoint = { ...ep, Interface: { Address: `10.71.0.${10 + i}/24` }, Options: PORTS };
    const join = { ...ep, SandboxKey: `/run/netns/${box}` };
    const program = { ...ep, Options: PORTS };
    for (const [call, body] of [
      ['NetworkDriver.CreateEndpoint', endpoint],
      ['NetworkDriver.Join', join],
      ['NetworkDriver.ProgramExternalConnectivity', program],
    ] as const) {
      await leave(call, body, (i % 10) * 2);
      const answer = await ask(call, body);
      expect(answer['Err'], call).toBeUndefined();
    }
    expect(await ask('NetworkDriver.DeleteEndpoint', ep)).toEqual({});
  }
  for (let i = 0; i < 20; i++) {
    const other = { ...network, NetworkID: randomBytes(32).toString('hex'), IPv4Data: [{ Pool: `10.72.${i}.0/24` }] };
    await leave('NetworkDriver.CreateNetwork', other, i);
    expect(await ask('NetworkDriver.DeleteNetwork', { NetworkID: other.NetworkID })).toEqual({});
  }
  expect(await ask('NetworkDriver.DeleteNetwork', { NetworkID })).toEqual({});
  expect(await lab.leftovers()).toEqual([]);
  await waitUntil(() => descriptors() <= before + 2, 10_000);
  expect(lab.log.match(/"level":50.*/)?.[0]).toBeUndefined();
}, 60_000);
