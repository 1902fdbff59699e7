/** A real engine runs its containers on a link of the machine, by our macvlan driver. */

import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { waitUntil } from '../e2e/lab.ts';
import { EngineLab } from './lab.ts';

const ROUTER = '10.70.0.254';
/** A look of the daemon's is five seconds after the last one, and one that was heard of sooner. */
const LOOK_MS = 30_000;

describe.each(['stable', 'newest'] as const)('the %s engine', { timeout: 120_000 }, (generation) => {
  let lab: EngineLab;
  const plugIn = async (): Promise<void> => {
    await lab.on('ip', 'link', 'add', 'lan0', 'type', 'veth', 'peer', 'name', 'lan0', 'netns', lab.outside);
    await lab.on('ip', 'link', 'set', 'lan0', 'up');
    await lab.out('ip', 'addr', 'add', `${ROUTER}/24`, 'dev', 'lan0');
    await lab.out('ip', 'link', 'set', 'lan0', 'up');
  };
  beforeAll(async () => {
    lab = await EngineLab.open(generation);
    await plugIn();
  }, 300_000);
  afterAll(() => lab?.close());

  const run = (name: string, ...args: string[]): Promise<string> =>
    lab.ok('run', '-d', '--stop-signal', 'KILL', '--name', name, ...args, 'bb:1', 'sleep', '600');
  const pings = async (name: string, to: string): Promise<boolean> =>
    (await lab.docker('exec', name, 'ping', '-c', '3', '-W', '2', to)).code === 0;
  const addressOf = (name: string): Promise<string> =>
    lab.ok('inspect', '-f', '{{(index .NetworkSettings.Networks "lan").IPAddress}}', name);
  const macvlans = async (): Promise<string> => (await lab.on('ip', '-o', 'link', 'show', 'type', 'macvlan')).trim();

  test('containers are on the wire, over restarts and connects, and leave nothing', async () => {
    const options = ['--subnet', '10.70.0.0/24', '--gateway', ROUTER, '-o', 'parent=lan0', '-o', 'host_access=true'];
    await lab.ok('network', 'create', '-d', 'patchbay-macvlan', ...options, '--aux-address', 'host=10.70.0.200', 'lan');
    await run('one', '--network', 'lan');
    await run('two', '--network', 'lan');
    expect(await pings('one', ROUTER)).toBe(true);
    expect(await pings('one', 'two')).toBe(true);
    expect(await pings('two', '10.70.0.200')).toBe(true);
    expect(await lab.on('ping', '-c', '2', '-W', '2', await addressOf('one'))).toContain(' 0% packet loss');
    expect(await lab.ok('exec', 'one', 'ip', 'route')).toContain(`default via ${ROUTER} dev eth0`);
    await lab.ok('restart', 'one');
    expect(await pings('two', 'one')).toBe(true);

    // A container that has run for a while gets its link inside.
    await run('three', '--network', 'none');
    await lab.ok('network', 'disconnect', 'none', 'three');
    await sleep(2500);
    await lab.ok('network', 'connect', 'lan', 'three');
    expect(await pings('three', 'one')).toBe(true);
    await lab.ok('network', 'disconnect', 'lan', 'three');
    expect(await lab.ok('exec', 'three', 'ip', '-o', 'link')).not.toContain('macvlan');

    await lab.stopPlugin('SIGKILL');
    expect(await pings('two', 'one')).toBe(true);
    await lab.startPlugin();
    expect(await pings('two', ROUTER)).toBe(true);

    await lab.ok('rm', '-f', 'one', 'two', 'three');
    await lab.ok('network', 'rm', 'lan');
    expect(await macvlans()).toBe('');
    expect(await lab.leftovers()).toEqual([]);
    expect(await lab.on('ip', '-o', 'link', 'show', 'lan0')).toContain('lan0');
  });

  test('running containers have their links again when the parent is deleted and made anew', async () => {
    const options = ['--subnet', '10.70.0.0/24', '--gateway', ROUTER, '-o', 'parent=lan0'];
    await lab.ok('network', 'create', '-d', 'patchbay-macvlan', ...options, 'lan');
    await run('one', '--network', 'lan');
    await run('two', '--network', 'lan');
    const linkOf = async (name: string): Promise<string | undefined> =>
      /eth0@.* link\/ether (\S+)/.exec(await lab.ok('exec', name, 'ip', '-o', 'link'))?.[1];
    const macs = [await linkOf('one'), await linkOf('two')];
    expect(macs).toEqual([expect.any(String), expect.any(String)]);
    for (const isLong of [true, false]) {
      await lab.on('ip', 'link', 'del', 'lan0');
      expect([await linkOf('one'), await linkOf('two')]).toEqual([undefined, undefined]);
      if (isLong) await waitUntil(() => lab.log.includes('parent lan0 is not there'), LOOK_MS);
      await plugIn();
      for (const name of ['one', 'two']) await waitUntil(() => pings(name, ROUTER), LOOK_MS);
      expect([await linkOf('one'), await linkOf('two')]).toEqual(macs);
      expect(await lab.ok('exec', 'one', 'ip', 'route')).toContain(`default via ${ROUTER} dev eth0`);
      expect(await pings('two', 'one')).toBe(true);
    }
    await lab.ok('restart', 'one');
    expect(await pings('one', 'two')).toBe(true);
    await lab.ok('network', 'disconnect', 'lan', 'two');
    expect(await linkOf('two')).toBeUndefined();
    await lab.ok('rm', '-f', 'one', 'two');
    await lab.ok('network', 'rm', 'lan');
    expect(await macvlans()).toBe('');
    expect(await lab.leftovers()).toEqual([]);
  });

  test('what cannot work is told in words, and nothing is left', async () => {
    const create = (...options: string[]): ReturnType<EngineLab['docker']> =>
      lab.docker('network', 'create', '-d', 'patchbay-macvlan', '--subnet', '10.70.0.0/24', ...options, 'lan');
    expect((await create('-o', 'parent=nope')).stderr).toContain('example formatting is eth0.10: there is no link nope');
    expect((await create('-o', 'parent=lan0', '-o', 'macvlan_mode=bridged')).stderr).toContain(
      'use bridge, private, vepa, passthru',
    );
    expect((await create('-o', 'parent=lan0', '-o', 'host_access=true')).stderr).toContain('give --aux-address host=ADDRESS');
    expect(await macvlans()).toBe('');
    expect((await lab.ok('network', 'ls', '-q', '--filter', 'type=custom')).trim()).toBe('');
  });
});
