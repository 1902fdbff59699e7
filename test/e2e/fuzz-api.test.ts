/**
 * 10,000 mutated requests against a daemon: none ends it, hangs, or is answered as an unexpected error; memory and
 * descriptors do not grow; once all is removed nothing is left. PBT_SEED repeats the requests.
 */

import { readFileSync, readdirSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { NetworkJson, SandboxAnswer } from '../../src/base/index.ts';
import { generator, mutatedOctets, mutatedValue, seed, type Random } from '../fuzz/random.ts';
import { sendOctets } from '../fuzz/send.ts';
import { Lab, waitUntil } from './lab.ts';

const REQUESTS = 10_000;
const AT_ONCE = 8;
/** After so many all that was made by accident is removed, so that the next ones find the same place. */
const ROUND = 400;
/** Memory is compared from here on. */
const WARM_UP = 4000;
const MAX_GROWTH_KIB = 64 * 1024;
interface Sample {
  readonly method: string;
  readonly path: string;
  readonly body?: unknown;
}

const NET = {
  Name: 'made',
  Driver: 'bridge',
  EnableIPv6: true,
  Internal: false,
  IPAM: {
    Driver: 'default',
    Options: {},
    Config: [{ Subnet: '10.5.0.0/24', IPRange: '10.5.0.128/25', Gateway: '10.5.0.1', AuxiliaryAddresses: { a: '10.5.0.9' } }],
  },
  Options: { 'com.docker.network.driver.mtu': '1400', 'com.docker.network.bridge.enable_icc': 'true' },
  Labels: { a: 'b' },
};
const SETTINGS = {
  IPAMConfig: { IPv4Address: '10.9.0.7', LinkLocalIPs: ['169.254.1.1'] },
  Aliases: ['alias'],
  MacAddress: '02:00:00:00:00:07',
  GwPriority: 1,
  DriverOpts: { 'com.docker.network.endpoint.ifname': 'lan0' },
};
const BOX = {
  Name: 'made',
  Hostname: 'made',
  Networks: { net: SETTINGS },
  PortBindings: { '80/tcp': [{ HostIp: '', HostPort: '18090' }], '53/udp': null },
  Dns: ['192.0.2.53'],
  DnsSearch: ['example.org'],
  DnsOptions: ['ndots:1'],
  ExtraHosts: ['far:192.0.2.1'],
  Labels: { a: 'b' },
};
const filters = (value: unknown): string => encodeURIComponent(JSON.stringify(value));

const CORPUS: readonly Sample[] = [
  { method: 'POST', path: '/networks/create', body: NET },
  { method: 'POST', path: '/networks/create', body: { Name: 'plain', ConfigOnly: true } },
  { method: 'POST', path: '/sandboxes/create', body: BOX },
  { method: 'POST', path: '/sandboxes/create', body: { Name: 'none', Networks: { none: {} } } },
  { method: 'POST', path: '/v1.44/networks/net/connect', body: { Container: 'spare', EndpointConfig: SETTINGS } },
  { method: 'POST', path: '/networks/net/disconnect', body: { Container: 'spare', Force: true } },
  { method: 'POST', path: '/sandboxes/spare/process', body: { Pid: 1 } },
  { method: 'DELETE', path: '/networks/made' },
  { method: 'DELETE', path: '/sandboxes/made?force=1' },
  { method: 'GET', path: `/networks?filters=${filters({ name: ['n.*t'], driver: ['bridge'], dangling: ['true'] })}` },
  { method: 'POST', path: `/networks/prune?filters=${filters({ until: ['10m'], label: ['none=x'] })}` },
  { method: 'GET', path: '/v1.56/networks/net?verbose=true&scope=local' },
  { method: 'GET', path: `/containers/json?filters=${filters({ name: ['box'] })}` },
  { method: 'GET', path: '/sandboxes/box' },
];

let lab: Lab;
beforeAll(async () => {
  lab = await Lab.open();
});
afterAll(async () => {
  await lab.close();
});

/** One request as octets; in one of four its framing is mutated too. */
function requestOf(random: Random): Buffer {
  const { method, path, body } = CORPUS[random(CORPUS.length)] as Sample;
  const text = body === undefined ? '' : JSON.stringify(mutatedValue(body, random));
  const payload = random(6) === 0 ? mutatedOctets(Buffer.from(text), random) : Buffer.from(text);
  const target =
    random(4) === 0
      ? mutatedOctets(Buffer.from(path), random)
          .toString('latin1')
          .replaceAll(/[\r\n]/g, '')
      : path;
  const type = text === '' ? '' : 'Content-Type: application/json\r\n';
  const head = `${method} ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${type}Content-Length: ${payload.length}\r\n\r\n`;
  const whole = Buffer.concat([Buffer.from(head, 'latin1'), payload]);
  return random(4) === 0 ? mutatedOctets(whole, random) : whole;
}

async function clean(): Promise<void> {
  const keep = new Set(['net', 'bridge', 'host', 'none']);
  for (const { Id } of (await lab.api<SandboxAnswer[]>('GET', '/sandboxes')).json)
    await lab.api('DELETE', `/sandboxes/${Id}?force=1`);
  for (const { Id, Name } of (await lab.api<NetworkJson[]>('GET', '/networks')).json)
    if (!keep.has(Name)) await lab.api('DELETE', `/networks/${Id}`);
  if ((await lab.api('GET', '/networks/net')).status === 404) await lab.ok('create', '--subnet', '10.9.0.0/24', 'net');
  await lab.ok('sandbox', 'create', '--network', 'net', 'box');
  await lab.ok('sandbox', 'create', 'spare');
}

test('10,000 mutated requests neither end the daemon, nor hang, nor make it grow, nor leave anything', async () => {
  const pid = lab.daemon?.pid ?? 0;
  const memory = (): number => Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
  const descriptors = (): number => readdirSync(`/proc/${pid}/fd`).length;
  const random = generator(seed);
  const flaws: string[] = [];
  const counts: Record<string, number> = {};
  await clean();
  const descriptorsBefore = descriptors();
  let memoryBefore = 0;
  for (let sent = 0; sent < REQUESTS; sent += ROUND) {
    if (sent === WARM_UP) memoryBefore = memory();
    const requests = Array.from({ length: ROUND }, () => requestOf(random));
    const worker = async (): Promise<void> => {
      for (let request = requests.pop(); request !== undefined; request = requests.pop()) {
        const answer = await sendOctets(lab.socket, request);
        const status = /^HTTP\/1\.1 (\d)\d\d/.exec(answer)?.[1] ?? 'none';
        counts[status] = (counts[status] ?? 0) + 1;
        if (/"code":"(internal|syscall_failed|firewall_failed|resolver_unavailable)"/.test(answer) && flaws.length < 10)
          flaws.push(`${JSON.stringify(request.toString('latin1'))} → ${answer.slice(-400)}`);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    await clean();
  }
  console.info(`answers by status: ${JSON.stringify(counts)}`);
  expect(flaws).toEqual([]);
  expect(lab.daemon?.exitCode).toBe(null);
  for (const status of ['2', '4']) expect(counts[status]).toBeGreaterThan(500);
  expect(memory() - memoryBefore).toBeLessThan(MAX_GROWTH_KIB);
  await waitUntil(() => descriptors() <= descriptorsBefore + 5, 30_000);
  expect(lab.log.match(/"level":50.*/)?.[0]).toBeUndefined();

  for (const name of ['box', 'spare']) await lab.ok('sandbox', 'rm', '-f', name);
  await lab.ok('rm', 'net');
  expect(await lab.leftovers()).toEqual([]);
}, 300_000);
