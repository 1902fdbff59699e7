/**
 * Bad input of every kind to a plugin's socket: each is refused under the key and with the status that an engine reads, in words
 * that name what is wrong, and nothing changes in the kernel, the files or the store.
 */

import { execa } from 'execa';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Watched } from '../e2e/bad-input/asking.ts';
import { Lab, waitUntil } from '../e2e/lab.ts';
import { storedRecords } from '../e2e/records.ts';
import { FIXED, TABLES } from './bad-input/rows.ts';
import { callPlugin } from './replay/call.ts';
import { refusalOf } from './replay/shapes.ts';

let lab: Lab;
let watched: Watched;
let before: unknown;
let wellBefore: unknown;
let recordsBefore: unknown;
let box: string;
const words: Record<string, string> = {};

const socket = (): string => join(lab.folder, 'plugins/patchbay-bridge.sock');

async function ask(call: string, body: unknown): Promise<Record<string, unknown>> {
  const { text } = await callPlugin(socket(), call, JSON.stringify(body));
  const answer = JSON.parse(text) as Record<string, unknown>;
  if (answer['Err'] !== undefined || answer['Error'] !== undefined) throw new Error(`${call}: ${text}`);
  return answer;
}

beforeAll(async () => {
  lab = await Lab.open({ flags: ['--bridge', 'none'] });
  box = `${lab.prefix}-box`;
  await execa('ip', ['netns', 'add', box]);
  await lab.ok('create', '--subnet', '10.9.0.0/24', 'net');
  await lab.ok('sandbox', 'create', '--network', 'net', 'box');
  words['own'] = await lab.ok('sandbox', 'inspect', '--format', '{{.Netns}}', 'box');
  words['host'] = `/run/netns/${lab.host}`;
  words['box'] = `/run/netns/${box}`;
  const { network: NetworkID, idle, joined } = FIXED;
  const pool = { AddressSpace: 'LocalDefault', Pool: '10.72.0.0/24', SubPool: '', Options: {}, V6: false };
  words['pool'] = String((await ask('IpamDriver.RequestPool', pool))['PoolID']);
  await ask('IpamDriver.RequestAddress', { PoolID: words['pool'], Address: '10.72.0.7', Options: {} });
  const IPv4Data = [{ Pool: '10.71.0.0/24', Gateway: '10.71.0.1/24' }];
  await ask('NetworkDriver.CreateNetwork', { NetworkID, Options: {}, IPv4Data, IPv6Data: [] });
  const portmap = [{ Proto: 6, IP: '', Port: 80, HostIP: '', HostPort: 18_090, HostPortEnd: 18_090 }];
  for (const [EndpointID, Address, Options] of [
    [idle, '10.71.0.5/24', {}],
    [joined, '10.71.0.6/24', { 'com.docker.network.portmap': portmap }],
  ] as const)
    await ask('NetworkDriver.CreateEndpoint', { NetworkID, EndpointID, Interface: { Address }, Options });
  await ask('NetworkDriver.Join', { NetworkID, EndpointID: joined, SandboxKey: words['box'] });
  await ask('NetworkDriver.ProgramExternalConnectivity', { NetworkID, EndpointID: joined, Options: {} });
  await lab.stop();
  recordsBefore = await storedRecords(lab.stateDir);
  await lab.start();
  watched = new Watched(lab);
  before = await watched.look();
  wellBefore = await watched.lookWell();
});
afterAll(async () => {
  watched?.close();
  await lab.close();
  await execa('ip', ['netns', 'del', box], { reject: false });
});

const filled = (body: unknown): string | Buffer | undefined => {
  if (body === undefined || Buffer.isBuffer(body)) return body;
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  return text.replaceAll(/\{(own|host|box|pool)\}/g, (_all, word: string) => words[word] ?? '');
};

describe.each(Object.entries(TABLES))('%s', (_topic, rows) => {
  test.each(rows.map((row) => [row.title, row] as const))('%s is refused, named, and changes nothing', async (_title, row) => {
    const { status, text } = await callPlugin(socket(), row.call, filled(row.body), row);
    expect([status, refusalOf(row.call).safeParse(JSON.parse(text)).success], text).toEqual([row.status, true]);
    const [message = ''] = Object.values(JSON.parse(text) as Record<string, string>);
    for (const wanted of row.says) expect(message).toMatch(wanted);
    // oxlint-disable-next-line no-control-regex
    expect(message).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/);
    expect(message.length).toBeLessThan(2048);
    expect(await watched.look()).toEqual(before);
  });
});

test('an empty file, a path that leads nowhere, and one that nobody made are sandboxes that we do not see', async () => {
  const { network: NetworkID, idle: EndpointID } = FIXED;
  for (const SandboxKey of [`/run/netns/${lab.prefix}-to-come`, '/proc/self/fd/999/x']) {
    const answer = await ask('NetworkDriver.Join', { NetworkID, EndpointID, SandboxKey });
    expect(answer['InterfaceName']).toMatchObject({ SrcName: `peer${EndpointID.slice(0, 11)}`, DstPrefix: 'eth' });
    await ask('NetworkDriver.Leave', { NetworkID, EndpointID });
    await waitUntil(async () => JSON.stringify(await watched.look()) === JSON.stringify(before), 10_000);
  }
});

test('after all of them rules, records and the daemon are what they were', async () => {
  expect(Object.values(TABLES).flat().length).toBeGreaterThan(120);
  expect(await watched.lookWell()).toEqual(wellBefore);
  expect(lab.log).not.toMatch(/"level":50/);
  // Nothing of ours came into being in the namespace of the machine itself.
  expect(readdirSync('/sys/class/net').filter((name) => /^eth1\d\d$|^peer/.test(name))).toEqual([]);
  await lab.stop();
  expect(await storedRecords(lab.stateDir)).toEqual(recordsBefore);
  await lab.start();
});
