/** Overlay networks by the command line tool, on one daemon: names, kills of the daemon, what others take away, and nothing left. */

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import type { NetworkJson } from '../../src/base/index.ts';
import { Lab, waitUntil } from './lab.ts';

const open: Lab[] = [];
afterEach(async () => {
  for (const lab of open.splice(0)) await lab.close();
});

async function newLab(): Promise<Lab> {
  const lab = await Lab.open();
  open.push(lab);
  return lab;
}

const OPTION = 'com.docker.network.driver.overlay.vxlanid_list';
/** A look of the daemon's is five seconds after the last one. */
const LOOK_MS = 20_000;

const inspect = async (lab: Lab): Promise<NetworkJson> => (JSON.parse(await lab.ok('inspect', 'over')) as [NetworkJson])[0];
const spaces = (lab: Lab): string[] => readdirSync(join(lab.runDir, 'netns')).filter((name) => name.startsWith('overlay-'));
const pings = async (lab: Lab, from: string, to: string): Promise<boolean> =>
  (await lab.cli('exec', from, '--', 'ping', '-c', '1', '-W', '1', to)).exitCode === 0;

async function twoOn(lab: Lab, ...options: string[]): Promise<void> {
  await lab.ok('create', '-d', 'overlay', '--ipv6', '--subnet', '10.20.0.0/24', '--subnet', 'fd20::/64', ...options, 'over');
  for (const name of ['maria', 'jonas']) await lab.ok('run', '-d', '--name', name, '--network', 'over', '--', 'sleep', '600');
}

test('two sandboxes find each other by name in both families, and rm leaves nothing', async () => {
  const lab = await newLab();
  await twoOn(lab, '--internal');
  const { Driver, Scope, Containers } = await inspect(lab);
  expect({ Driver, Scope }).toEqual({ Driver: 'overlay', Scope: 'global' });
  expect(Object.values(Containers ?? {}).map((one) => [one.IPv4Address, one.MacAddress])).toEqual([
    ['10.20.0.2/24', '02:42:0a:14:00:02'],
    ['10.20.0.3/24', '02:42:0a:14:00:03'],
  ]);
  expect(await pings(lab, 'maria', 'jonas')).toBe(true);
  for (const address of ['10.20.0.3', 'fd20::3', '10.20.0.1']) expect(await pings(lab, 'maria', address)).toBe(true);
  expect(await lab.ok('exec', 'maria', '--', 'ip', 'route', 'show', 'default')).toBe('');
  expect(await lab.ok('exec', 'maria', '--', 'ip', '-o', 'link', 'show', 'eth0')).toContain(' mtu 1450 ');
  // Without a cluster nothing listens for tunnels, and the host has no link of the network's.
  expect((await lab.in('host', 'ss', '-lunH')).stdout).not.toContain(':4789');
  expect((await lab.in('host', 'ip', '-o', 'link')).stdout).not.toMatch(/veth|vx0/);
  expect((await lab.cli('rm', 'over')).stderr).toContain('has active endpoints');
  expect(spaces(lab)).toHaveLength(1);
  await lab.ok('sandbox', 'rm', '-f', 'maria', 'jonas');
  expect(spaces(lab)).toEqual([]);
  await lab.ok('rm', 'over');
  expect(await lab.leftovers()).toEqual([]);
});

test('a bridge network beside it leads outside a sandbox that is kept inside', async () => {
  const lab = await newLab();
  await twoOn(lab, '--internal');
  await lab.ok('create', 'way');
  await lab.ok('connect', 'way', 'maria');
  expect(await pings(lab, 'maria', '198.51.100.2')).toBe(true);
  expect(await pings(lab, 'maria', 'jonas')).toBe(true);
  expect(await pings(lab, 'jonas', '198.51.100.2')).toBe(false);
});

test(
  'a killed daemon comes back to what it left: packets flow all the while, others join, and what was taken is put back',
  { timeout: 90_000 },
  async () => {
    const lab = await newLab();
    await twoOn(lab, '-o', `${OPTION}=4242`);
    const key = await lab.ok('sandbox', 'inspect', '--format', '{{.Netns}}', 'maria');
    const flow = lab.in('host', 'nsenter', `--net=${key}`, 'ping', '-q', '-i', '0.05', '-c', '80', '-W', '1', '10.20.0.3');
    await lab.stop('SIGKILL');
    await lab.start();
    expect((await flow).stdout).toContain(' 0% packet loss');
    expect((await inspect(lab)).Degraded).toBeUndefined();
    await lab.ok('run', '-d', '--name', 'late', '--network', 'over', '--', 'sleep', '600');
    expect(await pings(lab, 'late', 'maria')).toBe(true);
    const taken = await lab.cli('create', '-d', 'overlay', '-o', `${OPTION}=4242`, 'other');
    expect(taken.stderr).toContain("VXLAN id 4242 is another network's");
    const inside = ['nsenter', `--net=${join(lab.runDir, 'netns', spaces(lab)[0] ?? '')}`, 'ip'] as const;
    const bridge = async (): Promise<string> =>
      (await lab.in('host', ...inside, '-o', 'link', 'show', 'br0')).stdout.split(':')[0] ?? '';
    const before = await bridge();
    expect(before).not.toBe('');
    await lab.in('host', ...inside, 'link', 'del', 'br0');
    await waitUntil(async () => !['', before].includes(await bridge()) && (await pings(lab, 'maria', '10.20.0.3')), LOOK_MS);
    await lab.ok('sandbox', 'rm', '-f', 'maria', 'jonas', 'late');
    await lab.ok('rm', 'over');
    await lab.ok('create', '-d', 'overlay', '-o', `${OPTION}=4242`, 'other');
    await lab.ok('rm', 'other', 'docker_gwbridge');
    expect(await lab.leftovers()).toEqual([]);
  },
);

test('a namespace that nobody is in is swept at the start, and after a reboot networks are as they were', async () => {
  const lab = await newLab();
  await lab.ok('create', '-d', 'overlay', 'over');
  await lab.ok('sandbox', 'create', '--network', 'over', 'box');
  expect(spaces(lab)).toHaveLength(1);
  await lab.reboot();
  expect(spaces(lab)).toEqual([]);
  await lab.ok('run', '-d', '--name', 'anna', '--network', 'over', '--', 'sleep', '600');
  const [pin] = spaces(lab);
  const stray = join(lab.runDir, 'netns', 'overlay-000000000000');
  await lab.in('host', 'sh', '-c', `touch ${stray} && unshare -n mount --bind /proc/self/ns/net ${stray}`);
  await lab.stop('SIGKILL');
  await lab.start();
  expect(spaces(lab)).toEqual([pin]);
  await lab.ok('sandbox', 'rm', '-f', 'anna');
  await lab.ok('rm', 'over', 'docker_gwbridge');
  expect(await lab.leftovers()).toEqual([]);
});

test('the docker client makes one too, and what is not there is refused in words', async () => {
  const lab = await newLab();
  const refused = await lab.cli('create', '-d', 'overlay', '--opt', 'com.docker.network.driver.overlay.vxlanid_list=0', 'secret');
  expect(refused.stderr).toContain('use whole numbers from 1');
  const { status, json } = await lab.api<{ Id: string }>('POST', '/networks/create', {
    Name: 'over',
    Driver: 'overlay',
    Attachable: true,
    Internal: true,
    Scope: 'global',
  });
  expect(status).toBe(201);
  expect(await inspect(lab)).toMatchObject({ Attachable: true, Internal: true });
  expect(json.Id).toMatch(/^[0-9a-f]{64}$/);
  await lab.ok('rm', 'over');
});
