/** Foreign plugins through the daemon and the CLI: a second daemon of ours is the plugin, so that both ends of the protocol are real. */

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, expect, test, vi } from 'vitest';
import type { EndpointJson, NetworkJson } from '../../src/base/index.ts';
import { ForeignPlugin, outerOf } from '../kernel/foreign-plugin.ts';
import { Lab, WIRE, waitUntil } from './lab.ts';

vi.setConfig({ testTimeout: 180_000 });

const SERVER = `require('http').createServer((q,r)=>r.end('from '+require('os').hostname())).listen(80,'::')`;
/** Longest wait for a look of the daemon's at a degraded network, milliseconds. */
const MENDED_MS = 60_000;

const labs: Lab[] = [];
const plugins: ForeignPlugin[] = [];
afterEach(async () => {
  for (const lab of labs.splice(0).reverse()) await lab.close();
  for (const plugin of plugins.splice(0)) await plugin.stop();
});

/** The plugin, and the daemon that uses it, on one machine. */
async function both(): Promise<{ plugin: Lab; lab: Lab }> {
  const plugin = await Lab.open({ flags: ['--bridge', 'none'] });
  labs.push(plugin);
  const path = ['--plugin-path', join(plugin.folder, 'plugins')];
  const lab = await Lab.open({ in: plugin, flags: ['--bridge', 'none', ...path] });
  labs.push(lab);
  return { plugin, lab };
}

const fetched = async (lab: Lab, from: string, url: string): Promise<string> =>
  (await lab.cli('exec', from, '--', 'curl', '-s', '-m', '3', url)).stdout;

test('sandboxes of one daemon on networks and addresses of another: names, ports, kills of either side, and nothing left', async () => {
  const { plugin, lab } = await both();
  await lab.ok('create', '-d', 'patchbay-bridge', '--ipam-driver', 'patchbay-bridge', 'far');
  const [net] = JSON.parse(await lab.ok('inspect', 'far')) as [NetworkJson];
  expect(net).toMatchObject({ Driver: 'patchbay-bridge', IPAM: { Driver: 'patchbay-bridge' } });
  await lab.ok('run', '-d', '--name', 'web', '--network', 'far', '-p', '8080:80', '--', process.execPath, '-e', SERVER);
  await lab.ok('run', '-d', '--name', 'client', '--network', 'far', '--', 'sleep', '1000');
  const isReached = (): Promise<void> =>
    waitUntil(async () => (await fetched(lab, 'client', 'http://web/')).startsWith('from '), 20_000);
  const isPublished = (): Promise<void> =>
    waitUntil(
      async () => (await lab.in('outside', 'curl', '-s', '-m', '3', `http://${WIRE.host}:8080/`)).stdout.startsWith('from '),
      20_000,
    );
  await isReached();
  await isPublished();
  expect((await lab.cli('exec', 'client', '--', 'ip', '-o', 'link')).stdout).toContain('eth0');

  await lab.stop('SIGKILL');
  await lab.start();
  await isReached();
  await isPublished();
  await plugin.stop('SIGKILL');
  await isReached();
  await plugin.start();
  await isReached();
  await isPublished();

  // A sandbox that has run for a while, and gets a second network.
  await lab.ok('create', '-d', 'patchbay-bridge', 'second');
  await lab.ok('connect', 'second', 'client');
  await lab.ok('connect', '--alias', 'twice', 'second', 'web');
  await waitUntil(async () => (await fetched(lab, 'client', 'http://twice/')).startsWith('from '), 20_000);
  await lab.ok('disconnect', 'second', 'web');
  for (const name of ['web', 'client']) await lab.ok('sandbox', 'rm', '-f', name);
  for (const name of ['far', 'second']) await lab.ok('rm', name);
  expect(await lab.leftovers()).toEqual([]);
  expect(await plugin.leftovers()).toEqual([]);
  const taken = (await lab.in('outside', 'curl', '-s', '-m', '3', `http://${WIRE.host}:8080/`)).exitCode;
  expect(taken).not.toBe(0);
});

test('a host port that the plugin cannot have is an error in its words, and nothing is left', async () => {
  const { plugin, lab } = await both();
  await plugin.ok('create', 'own');
  await plugin.ok('sandbox', 'create', 'holder', '--network', 'own', '-p', '8080:80');
  await lab.ok('create', '-d', 'patchbay-bridge', 'far');
  const refused = await lab.cli('sandbox', 'create', 'late', '--network', 'far', '-p', '8080:80');
  expect(refused).toMatchObject({
    exitCode: 1,
    stderr: expect.stringMatching(/ProgramExternalConnectivity: remote: .*8080/) as string,
  });
  expect(await lab.ok('sandbox', 'ls', '-q')).toBe('');
  await lab.ok('rm', 'far');
  // Out of service at once, deleted a little later.
  await waitUntil(async () => !/peer[0-9a-f]{11}/.test((await lab.in('host', 'ip', '-o', 'link')).stdout), 10_000);
});

test('the sockets that a daemon serves are no plugins of its own', async () => {
  const lab = await Lab.open({ flags: ['--bridge', 'none'] });
  labs.push(lab);
  await lab.stop();
  await lab.start(['--plugin-path', join(lab.folder, 'plugins')]);
  const refused = await lab.cli('create', '-d', 'patchbay-bridge', 'net');
  expect(refused).toMatchObject({
    exitCode: 1,
    stderr: expect.stringContaining('is this daemon itself: use "bridge"') as string,
  });
});

test('a plugin that goes and comes: degraded and mended in inspect, and what it knows of an endpoint', async () => {
  const lab = await Lab.open({ flags: ['--bridge', 'none'] });
  labs.push(lab);
  mkdirSync(join(lab.folder, 'foreign'), { recursive: true });
  const path = join(lab.folder, 'foreign', 'weather.sock');
  const run = (command: string, args: readonly string[]): Promise<unknown> =>
    execa('nsenter', [`--net=/run/netns/${lab.host}`, command, ...args]);
  const plugin = await ForeignPlugin.open(path, run);
  plugins.push(plugin);
  await lab.ok('create', '-d', 'weather', '--ipam-driver', 'weather', 'net');
  await lab.ok('sandbox', 'create', 'box', '--network', 'net');
  const [ep] = JSON.parse(await lab.ok('endpoint', 'inspect', 'box')) as [EndpointJson];
  expect(ep.DriverInfo).toEqual({ 'foreign.link': outerOf(ep.Id) });

  await plugin.stop();
  await lab.stop('SIGKILL');
  await lab.start();
  const state = async (): Promise<string | undefined> =>
    (JSON.parse(await lab.ok('inspect', 'net')) as [NetworkJson])[0].Degraded;
  expect(await state()).toContain('plugin "weather" does not answer');
  const [blind] = JSON.parse(await lab.ok('endpoint', 'inspect', 'box')) as [EndpointJson];
  expect([blind.DriverInfo, blind.Degraded]).toEqual([undefined, expect.stringContaining('does not answer')]);
  await lab.ok('sandbox', 'rm', 'box');
  await plugin.start();
  await waitUntil(async () => (await state()) === undefined, MENDED_MS);
  // Told without anybody's asking.
  await waitUntil(() => plugin.endpoints.size === 0, MENDED_MS);
  await lab.ok('rm', 'net');
  expect([plugin.networks.size, plugin.pools.size, plugin.addresses.size]).toEqual([0, 0, 0]);
});
