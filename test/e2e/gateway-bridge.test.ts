/**
 * Sandboxes on overlay networks and the outside, by the command line tool and the API: ways out, published ports, names from
 * upstream, kills of the daemon at any moment, and nothing left.
 */

import { afterEach, expect, test } from 'vitest';
import type { EndpointJson, NetworkJson, SandboxAnswer } from '../../src/base/index.ts';
import { Lab, WIRE, waitUntil } from './lab.ts';

const open: Lab[] = [];
afterEach(async () => {
  for (const lab of open.splice(0)) await lab.close();
});

async function newLab(): Promise<Lab> {
  const lab = await Lab.open();
  open.push(lab);
  await lab.ok('create', '-d', 'overlay', '--subnet', '10.20.0.0/24', 'over');
  return lab;
}

const GATEWAY = 'docker_gwbridge';
const PORT = 8080;
const HELLO = `require('http').createServer((q, r) => r.end('hello from ' + process.argv[1])).listen(80)`;
/** A look of the daemon's is five seconds after the last one. */
const LOOK_MS = 20_000;
const KILLS = 12;

const run = (lab: Lab, name: string, ...options: string[]): Promise<string> =>
  lab.ok('run', '-d', '--name', name, '--network', 'over', ...options, '--', process.execPath, '-e', HELLO, name);

const leadsOut = async (lab: Lab, name: string): Promise<boolean> =>
  (await lab.cli('exec', name, '--', 'ping', '-c', '1', '-W', '1', WIRE.outside)).exitCode === 0;
const answer = async (lab: Lab, port = PORT): Promise<string> =>
  (await lab.in('outside', 'curl', '-s', '-m', '2', `http://${WIRE.host}:${port}/`)).stdout;
const gateways = async (lab: Lab): Promise<string[]> =>
  (await lab.api<EndpointJson[]>('GET', '/endpoints')).json
    .filter(({ Name }) => Name.startsWith('gateway_'))
    .map(({ Sandbox, Interface, State }) => `${Sandbox?.Name} ${Interface} ${State}`)
    .sort();

test('run -p on an overlay network: reached from outside, reaches it, asks upstream, and is not shown on a network unasked', async () => {
  const lab = await newLab();
  const { stderr } = await lab.cli(
    'run',
    '-d',
    '--name',
    'web',
    '--network',
    'over',
    '-p',
    `${PORT}:80`,
    '--',
    process.execPath,
    '-e',
    HELLO,
    'web',
  );
  expect(stderr).toBe('');
  await waitUntil(async () => (await answer(lab)) === 'hello from web', LOOK_MS);
  expect(await leadsOut(lab, 'web')).toBe(true);
  expect(await lab.ok('exec', 'web', '--', 'getent', 'hosts', 'host.example')).toContain('203.0.113.7');
  expect(await lab.ok('exec', 'web', '--', 'ip', 'route', 'show', 'default')).toContain(' dev eth1');
  expect(await lab.ok('port', 'web')).toContain(`:${PORT}`);
  const { json: box } = await lab.api<SandboxAnswer>('GET', '/sandboxes/web');
  expect(Object.keys(box.Networks)).toEqual(['over']);
  expect(box.Ports['80/tcp']).toEqual([{ HostIp: '0.0.0.0', HostPort: String(PORT) }]);
  type Container = { NetworkSettings: { Networks: object; Ports: object } };
  const { json: container } = await lab.api<Container>('GET', '/containers/web/json');
  expect(Object.keys(container.NetworkSettings.Networks)).toEqual(['over']);
  expect(Object.keys(container.NetworkSettings.Ports)).toEqual(['80/tcp']);
  const shown = await lab.api<unknown[]>('GET', `/containers/json?filters=${encodeURIComponent(`{"network":["${GATEWAY}"]}`)}`);
  expect(shown.json).toEqual([]);
  const [network] = JSON.parse(await lab.ok('inspect', GATEWAY)) as [NetworkJson];
  expect(Object.entries(network.Containers ?? {}).map(([id, { Name }]) => [id, Name])).toEqual([
    [box.Id, `gateway_${box.Id.slice(0, 12)}`],
  ]);
  expect(network.Options).toEqual({
    'com.docker.network.bridge.enable_icc': 'false',
    'com.docker.network.bridge.enable_ip_masquerade': 'true',
  });
  expect((await lab.cli('rm', GATEWAY)).stderr).toContain('has active endpoints');
  expect((await lab.cli('disconnect', GATEWAY, 'web')).stderr).toContain('is not connected');
  expect(await gateways(lab)).toEqual(['web eth1 joined']);
  await lab.ok('sandbox', 'rm', '-f', 'web');
  await lab.ok('rm', 'over', GATEWAY);
  expect(await lab.leftovers()).toEqual([]);
});

test('two sandboxes talk over the overlay network only, and a bridge network that comes and goes leaves both published', async () => {
  const lab = await newLab();
  await run(lab, 'web', '-p', `${PORT}:80`);
  await run(lab, 'other', '-p', `${PORT + 1}:80`);
  await lab.ok('create', 'way');
  await waitUntil(async () => (await answer(lab, PORT + 1)) === 'hello from other', LOOK_MS);
  const [network] = JSON.parse(await lab.ok('inspect', GATEWAY)) as [NetworkJson];
  const there = Object.values(network.Containers ?? {}).map(({ IPv4Address }) => IPv4Address.replace(/\/.*/, ''));
  expect(there).toHaveLength(2);
  const own = await lab.ok('exec', 'web', '--', 'ip', '-o', '-4', 'addr', 'show', 'eth1');
  const far = there.find((address) => !own.includes(` ${address}/`)) ?? '';
  const ask = (url: string) => lab.cli('exec', 'web', '--', 'curl', '-s', '-m', '2', url);
  expect((await ask('http://other/')).stdout).toBe('hello from other');
  expect((await ask(`http://${far}/`)).exitCode).not.toBe(0);
  await lab.ok('connect', 'way', 'web');
  expect(await gateways(lab)).toEqual(['other eth1 joined']);
  expect(await answer(lab)).toBe('hello from web');
  await lab.ok('disconnect', 'way', 'web');
  expect(await gateways(lab)).toEqual(['other eth1 joined', 'web eth1 joined']);
  expect(await answer(lab)).toBe('hello from web');
  await lab.ok('disconnect', 'over', 'web');
  expect(await gateways(lab)).toEqual(['other eth1 joined']);
  await lab.ok('sandbox', 'rm', '-f', 'web', 'other');
  await lab.ok('rm', 'over', 'way', GATEWAY);
  expect(await lab.leftovers()).toEqual([]);
});

test(
  'a daemon that is killed while ways outside come and go has each where it belongs after the start',
  { timeout: 300_000 },
  async () => {
    const lab = await newLab();
    await lab.ok('create', 'way');
    await run(lab, 'web', '-p', `${PORT}:80`);
    await waitUntil(async () => (await answer(lab)) === 'hello from web', LOOK_MS);
    const networks = async (): Promise<string> =>
      Object.keys((await lab.api<SandboxAnswer>('GET', '/sandboxes/web')).json.Networks)
        .sort()
        .join();
    for (let kill = 0; kill < KILLS; kill++) {
      const verb = (await networks()).includes('way') ? 'disconnect' : 'connect';
      // Requests by curl: they reach the daemon sooner than a program that has to start.
      const work = lab.api('POST', `/networks/way/${verb}`, { Container: 'web' }).catch(() => undefined);
      const more = lab
        .api('POST', '/sandboxes/create', {
          Name: `box${kill}`,
          Networks: { over: {} },
          PortBindings: { '80/tcp': [{ HostPort: '' }] },
        })
        .catch(() => undefined);
      await new Promise((resolve) => setTimeout(resolve, 10 + Math.random() * 60));
      await lab.stop('SIGKILL');
      await Promise.all([work, more]);
      await lab.start();
      const wanted = (await networks()).includes('way') ? [] : ['web'];
      await waitUntil(async () => {
        const { json: boxes } = await lab.api<SandboxAnswer[]>('GET', '/sandboxes');
        const lasting = boxes.map(({ Name }) => Name).filter((name) => name !== 'web');
        const found = (await gateways(lab)).filter((line) => line.endsWith(' joined')).map((line) => line.split(' ')[0]);
        return found.join() === [...lasting, ...wanted].sort().join() && (await gateways(lab)).length === found.length;
      }, LOOK_MS);
      expect(await leadsOut(lab, 'web')).toBe(true);
      await waitUntil(async () => (await answer(lab)) === 'hello from web', LOOK_MS);
      const { json: boxes } = await lab.api<SandboxAnswer[]>('GET', '/sandboxes');
      for (const { Name } of boxes) if (Name !== 'web') await lab.ok('sandbox', 'rm', '-f', Name);
    }
    await lab.ok('sandbox', 'rm', '-f', 'web');
    await lab.ok('rm', 'over', 'way', GATEWAY);
    expect(await lab.leftovers()).toEqual([]);
  },
);

test('it is back after a restart of the machine, with the subnet that somebody gave it', async () => {
  const lab = await newLab();
  await lab.ok('create', '--subnet', '10.99.0.0/24', '--ipv6', '--subnet', 'fd99::/64', GATEWAY);
  await lab.ok('sandbox', 'create', '--network', 'over', '-p', `${PORT}:80`, 'web');
  expect(await gateways(lab)).toEqual(['web eth1 joined']);
  await lab.reboot();
  expect(await gateways(lab)).toEqual([]);
  await run(lab, 'web', '-p', `${PORT}:80`);
  await waitUntil(async () => (await answer(lab)) === 'hello from web', LOOK_MS);
  const [network] = JSON.parse(await lab.ok('inspect', GATEWAY)) as [NetworkJson];
  const [{ IPv4Address, IPv6Address } = {}] = Object.values(network.Containers ?? {});
  expect([IPv4Address, IPv6Address]).toEqual(['10.99.0.2/24', 'fd99::2/64']);
  expect((await lab.cli('exec', 'web', '--', 'ping', '-c', '1', '-W', '1', WIRE.outside6)).exitCode).toBe(0);
  expect((await lab.cli('prune', '-f')).stdout).not.toContain(GATEWAY);
  await lab.ok('sandbox', 'rm', '-f', 'web');
  await lab.ok('rm', 'over', GATEWAY);
  expect(await lab.leftovers()).toEqual([]);
});
