/** A real engine runs its containers on our bridge driver: the verbs of its CLI, one after the other. */

import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { EngineLab, WIRE } from './lab.ts';

const SLEEP = ['bb:1', 'sleep', '600'];
const HTTP = ['bb:1', 'httpd', '-f', '-h', '/www'];

describe.each(['stable', 'newest'] as const)('the %s engine', { timeout: 120_000 }, (generation) => {
  let lab: EngineLab;
  beforeAll(async () => {
    lab = await EngineLab.open(generation);
  }, 300_000);
  afterAll(() => lab?.close());

  /** Whatever a test made goes, and nothing of ours is left. */
  afterEach(async () => {
    await lab.engine.clear();
    expect(await lab.leftovers()).toEqual([]);
  });

  const create = (...args: string[]): Promise<string> => lab.ok('network', 'create', '-d', 'patchbay-bridge', ...args);
  const run = (name: string, ...args: string[]): Promise<string> =>
    lab.ok('run', '-d', '--stop-signal', 'KILL', '--name', name, ...args);
  /** Tried until it is answered: a process that was just started does not listen yet. */
  const fetchFrom = async (name: string, url: string): Promise<string> => {
    for (let tries = 1; ; tries++) {
      const { code, stdout, stderr } = await lab.docker('exec', name, 'timeout', '5', 'wget', '-qO-', url);
      if (code === 0 || tries === 20) return `${stdout}${stderr}`;
      await sleep(250);
    }
  };
  const addressOf = (name: string, net: string, field = 'IPAddress'): Promise<string> =>
    lab.ok('inspect', '-f', `{{(index .NetworkSettings.Networks "${net}").${field}}}`, name);
  const served = async (url: string): Promise<string> =>
    (await lab.out('curl', '-sg', '--max-time', '5', '--retry', '20', '--retry-delay', '1', '--retry-all-errors', url)).stdout;
  /** Without those that are out of service and about to be deleted. */
  const linksIn = async (name: string): Promise<string[]> =>
    (await lab.ok('exec', name, 'ip', '-o', 'link')).split('\n').filter((line) => !/^\d+: dead/.test(line));
  const refused = async (url: string): Promise<boolean> => (await lab.out('curl', '-sg', '--max-time', '2', url)).code !== 0;

  test('containers of one network reach each other by name and address, those of another do not', async () => {
    await create('net');
    await create('other');
    await run('web', '--network', 'net', '--network-alias', 'www', ...HTTP);
    await run('asker', '--network', 'net', ...SLEEP);
    await run('stranger', '--network', 'other', ...SLEEP);
    const address = await addressOf('web', 'net');
    for (const host of ['web', 'www', address]) expect(await fetchFrom('asker', `http://${host}/`)).toBe('served');
    expect((await lab.docker('exec', 'stranger', 'timeout', '2', 'wget', '-qO-', `http://${address}/`)).code).not.toBe(0);
    expect(await lab.ok('exec', 'asker', 'ip', '-o', '-4', 'addr', 'show', 'eth0')).toContain('inet ');
    expect(await lab.ok('exec', 'asker', 'ip', 'route')).toContain('default via');
  });

  test('stop, start, restart and kill, with and without others on the network', async () => {
    await create('net');
    await run('web', '--network', 'net', '-p', '8080:80', ...HTTP);
    await run('asker', '--network', 'net', ...SLEEP);
    await lab.ok('stop', 'web');
    expect(await refused(`http://${WIRE.host}:8080/`)).toBe(true);
    await lab.ok('start', 'web');
    expect(await fetchFrom('asker', 'http://web/')).toBe('served');
    await lab.ok('restart', 'web');
    expect(await fetchFrom('asker', 'http://web/')).toBe('served');
    expect(await served(`http://${WIRE.host}:8080/`)).toBe('served');
    await lab.ok('kill', 'web');
    await lab.ok('start', 'web');
    expect(await served(`http://${WIRE.host}:8080/`)).toBe('served');
  });

  test('a running container is connected and disconnected, more than once', async () => {
    await create('net');
    await create('more');
    await run('web', '--network', 'net', ...HTTP);
    await run('asker', '--network', 'more', ...SLEEP);
    for (let i = 0; i < 3; i++) {
      await lab.ok('network', 'connect', '--alias', `alias${i}`, 'more', 'web');
      expect(await fetchFrom('asker', `http://alias${i}/`)).toBe('served');
      expect(await addressOf('web', 'more')).toMatch(/^[\d.]+$/);
      await lab.ok('network', 'disconnect', 'more', 'web');
      expect(await linksIn('web')).toHaveLength(2);
    }
    // An engine's own network beside ours, before and after.
    await lab.ok('network', 'create', 'own');
    await lab.ok('network', 'connect', 'more', 'web');
    await lab.ok('network', 'connect', 'own', 'web');
    expect(await linksIn('web')).toHaveLength(4);
    await lab.ok('network', 'disconnect', 'net', 'web');
    expect(await fetchFrom('asker', 'http://web/')).toBe('served');
  });

  test('given addresses, both families, a given MAC', async () => {
    await create('--ipv6', '--subnet', '10.31.0.0/24', '--subnet', 'fd31::/64', 'net');
    await run('web', '--network', 'net', '--ip', '10.31.0.77', '--ip6', 'fd31::77', ...HTTP);
    await run('asker', '--network', 'net', ...SLEEP);
    expect(await addressOf('web', 'net')).toBe('10.31.0.77');
    expect(await addressOf('web', 'net', 'GlobalIPv6Address')).toBe('fd31::77');
    expect(await fetchFrom('asker', 'http://10.31.0.77/')).toBe('served');
    expect(await fetchFrom('asker', 'http://[fd31::77]/')).toBe('served');
    const mac = await addressOf('web', 'net', 'MacAddress');
    expect(await lab.ok('exec', 'web', 'ip', '-o', 'link', 'show', 'eth0')).toContain(mac);
    if (generation === 'stable') return;
    await run('maced', '--network', 'net', '--mac-address', '02:42:00:00:00:99', ...SLEEP);
    expect(await lab.ok('exec', 'maced', 'ip', '-o', 'link', 'show', 'eth0')).toContain('02:42:00:00:00:99');
  });

  test('published ports, single and in a range, are reached from outside and show nobody else', async () => {
    await create('net');
    await run('web', '--network', 'net', '-p', '8080:80', '-p', '9000-9002:80', '-p', '127.0.0.1:7000:80', ...HTTP);
    for (const port of [8080, 9000]) expect(await served(`http://${WIRE.host}:${port}/`)).toBe('served');
    expect(await refused(`http://${WIRE.host}:7000/`)).toBe(true);
    expect(await lab.on('curl', '-s', '--max-time', '5', 'http://127.0.0.1:7000/')).toBe('served');
    const clash = await lab.docker('run', '-d', '--name', 'late', '--network', 'net', '-p', '8080:80', ...HTTP);
    expect(clash.code).not.toBe(0);
    expect(clash.stderr).toContain('8080');
    await lab.ok('rm', '-f', 'web', 'late');
    expect(await refused(`http://${WIRE.host}:8080/`)).toBe(true);
    await run('web', '--network', 'net', '-p', '8080:80', ...HTTP);
    expect(await served(`http://${WIRE.host}:8080/`)).toBe('served');
  });

  test('published ports follow the gateway from one of our networks to the other', async () => {
    await create('a-net');
    await create('b-net');
    await run('web', '--network', 'a-net', '-p', '8080:80', ...HTTP);
    await lab.ok('network', 'connect', 'b-net', 'web');
    expect(await served(`http://${WIRE.host}:8080/`)).toBe('served');
    await lab.ok('network', 'disconnect', 'a-net', 'web');
    expect(await served(`http://${WIRE.host}:8080/`)).toBe('served');
  });

  test('an internal network has no way out', async () => {
    await create('--internal', 'net');
    await run('web', '--network', 'net', ...HTTP);
    await run('asker', '--network', 'net', ...SLEEP);
    expect(await fetchFrom('asker', 'http://web/')).toBe('served');
    expect(await lab.ok('exec', 'asker', 'ip', 'route')).not.toContain('default');
    expect(await linksIn('asker')).toHaveLength(2);
  });

  test('our IPAM serves the engine too', async () => {
    await create('--ipam-driver', 'patchbay-bridge', 'auto');
    await create(
      '--ipam-driver',
      'patchbay-bridge',
      '--subnet',
      '10.32.0.0/24',
      '--ip-range',
      '10.32.0.128/25',
      '--aux-address',
      'router=10.32.0.5',
      'given',
    );
    await run('web', '--network', 'given', ...HTTP);
    await run('asker', '--network', 'given', ...SLEEP);
    expect(await addressOf('web', 'given')).toBe('10.32.0.129');
    expect(await addressOf('asker', 'given')).toBe('10.32.0.130');
    expect(await fetchFrom('asker', 'http://web/')).toBe('served');
    expect(
      (
        await lab.docker(
          'network',
          'create',
          '-d',
          'patchbay-bridge',
          '--ipam-driver',
          'patchbay-bridge',
          '--subnet',
          '10.32.0.0/25',
          'twice',
        )
      ).stderr,
    ).toMatch(/overlap/);
    await lab.ok('rm', '-f', 'web', 'asker');
    await lab.ok('network', 'rm', 'given', 'auto');
    await create('--ipam-driver', 'patchbay-bridge', '--subnet', '10.32.0.0/24', 'given');
  });

  test('a wrong option is refused in words, and nothing is made', async () => {
    const { code, stderr } = await lab.docker(
      'network',
      'create',
      '-d',
      'patchbay-bridge',
      '-o',
      'com.docker.network.driver.mtu=12',
      'net',
    );
    expect(code).not.toBe(0);
    expect(stderr).toContain('com.docker.network.driver.mtu');
    expect(await lab.leftovers()).toEqual([]);
  });
});
