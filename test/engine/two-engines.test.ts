/** Two engines, of different age, use one daemon as their plugin: neither disturbs the other, whatever it forgets. */

import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { waitUntil } from '../e2e/lab.ts';
import type { LabEngine } from './engine.ts';
import { EngineLab, WIRE } from './lab.ts';

let lab: EngineLab;
let old: LabEngine;
let young: LabEngine;

beforeAll(async () => {
  lab = await EngineLab.open('stable', 'newest');
  [old, young] = [lab.engineAt(0), lab.engineAt(1)];
}, 300_000);
afterAll(() => lab?.close());
afterEach(async () => {
  for (const engine of [old, young]) await engine.clear();
  expect(await lab.leftovers()).toEqual([]);
});

const create = (engine: LabEngine, ...args: string[]): Promise<string> =>
  engine.ok('network', 'create', '-d', 'patchbay-bridge', ...args);

/** A web server behind a host port, and somebody who asks it. */
async function pair(engine: LabEngine, network: string, port: number): Promise<void> {
  const run = (...args: string[]): Promise<string> =>
    engine.ok('run', '-d', '--stop-signal', 'KILL', '--network', network, ...args);
  await run('--name', 'web', '-p', `${port}:80`, 'bb:1', 'httpd', '-f', '-h', '/www');
  await run('--name', 'asker', 'bb:1', 'sleep', '6000');
  await waitUntil(() => works(engine, port), 20_000);
}

const works = async (engine: LabEngine, port: number): Promise<boolean> =>
  (await engine.docker('exec', 'asker', 'timeout', '5', 'wget', '-qO-', 'http://web/')).stdout === 'served' &&
  (await lab.out('curl', '-s', '--max-time', '3', `http://${WIRE.host}:${port}/`)).stdout === 'served';

test('networks of one name, subnets by themselves: both work, and end without the other', async () => {
  await create(old, 'net');
  await create(young, 'net');
  await pair(old, 'net', 8080);
  await pair(young, 'net', 8081);
  const addressOf = (engine: LabEngine): Promise<string> =>
    engine.ok('inspect', '-f', '{{(index .NetworkSettings.Networks "net").IPAddress}}', 'web');
  const [first, second] = await Promise.all([addressOf(old), addressOf(young)]);
  expect(first).not.toBe(second);
  // What belongs to the one is as closed to the other as any other network.
  for (const [engine, address] of [
    [old, second],
    [young, first],
  ] as const)
    expect((await engine.docker('exec', 'asker', 'timeout', '2', 'wget', '-qO-', `http://${address}/`)).code).not.toBe(0);
  await old.clear();
  expect(await works(young, 8081)).toBe(true);
});

test('a subnet or a host port that the other engine has is refused in words, and nothing of it stays', async () => {
  await create(old, '--subnet', '10.33.0.0/24', 'net');
  await pair(old, 'net', 8080);
  const overlapping = await young.docker('network', 'create', '-d', 'patchbay-bridge', '--subnet', '10.33.0.0/25', 'net');
  expect(overlapping.code).not.toBe(0);
  expect(overlapping.stderr).toContain('10.33.0.0');
  const ours = ['--ipam-driver', 'patchbay-bridge', '--subnet', '10.34.0.0/24'];
  await create(old, ...ours, 'leased');
  const leased = await young.docker('network', 'create', '-d', 'patchbay-bridge', ...ours, 'leased');
  expect(leased.stderr).toMatch(/overlap/);
  await create(young, '--subnet', '10.35.0.0/24', 'net');
  const clash = await young.docker('run', '-d', '--network', 'net', '-p', '8080:80', 'bb:1', 'sleep', '600');
  expect(clash.code).not.toBe(0);
  expect(clash.stderr).toContain('8080');
  expect(await works(old, 8080)).toBe(true);
});

test('an engine that is killed, stopped, or has lost its memory takes nothing from the other', async () => {
  const ours = ['--ipam-driver', 'patchbay-bridge', '--subnet', '10.36.0.0/24', 'leased'];
  await create(old, 'net');
  await create(young, 'net');
  await create(young, ...ours);
  await pair(old, 'net', 8080);
  await pair(young, 'net', 8081);
  await young.ok('run', '-d', '--stop-signal', 'KILL', '--network', 'leased', 'bb:1', 'sleep', '6000');
  await young.kill();
  await young.start('--bridge', 'none');
  expect(await works(old, 8080)).toBe(true);
  await young.ok('start', 'web', 'asker');
  await waitUntil(() => works(young, 8081), 20_000);
  await old.stop();
  // Several looks at what engines have, while one of them does not answer.
  await sleep(12_000);
  expect(await works(young, 8081)).toBe(true);
  await old.start();
  await old.ok('start', 'web', 'asker');
  const lost = await Promise.all(['net', 'leased'].map((name) => young.ok('network', 'inspect', '-f', '{{.Id}}', name)));
  await young.stop();
  rmSync(join(young.folder, 'data/network/files/local-kv.db'));
  await young.start('--bridge', 'none');
  const isThere = async (): Promise<boolean> => {
    const links = await lab.on('ip', '-o', 'link');
    return lost.some((id) => links.includes(id.slice(0, 12)));
  };
  expect(await isThere()).toBe(true);
  await waitUntil(async () => !(await isThere()), 60_000);
  // Its subnet is free again.
  await waitUntil(() => lab.log.includes('an engine has forgotten a pool'), 20_000);
  await create(young, ...ours);
  await waitUntil(() => works(old, 8080), 20_000);
  expect(lab.log.match(/an engine has forgotten a network/g)).toHaveLength(2);
}, 300_000);
