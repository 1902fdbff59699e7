/** That this is the kernel that the other tests here are meant for. */

import { readFileSync } from 'node:fs';
import { execa } from 'execa';
import { expect, test } from 'vitest';
import { hostAt, testHosts } from '../../kernel/support.ts';

test('the kernel is not the one of the machine outside', () => {
  expect(readFileSync('/proc/sys/kernel/hostname', 'utf8').trim()).toBe('guest');
});

test.each([
  ['dummy', ['name', 'a0', 'type', 'dummy']],
  ['802.1q', ['link', 'lower', 'name', 'a0', 'type', 'vlan', 'id', '100']],
  ['ipvlan', ['link', 'lower', 'name', 'a0', 'type', 'ipvlan', 'mode', 'l3s']],
  ['vxlan', ['name', 'a0', 'type', 'vxlan', 'id', '4096', 'dstport', '4789']],
  ['wireguard', ['name', 'a0', 'type', 'wireguard']],
])('%s links can be made', async (_kind, words) => {
  const host = hostAt(await testHosts(1), 0);
  await host.exec('ip', ['link', 'add', 'name', 'lower', 'type', 'dummy']);
  await host.exec('ip', ['link', 'add', ...words]);
  expect(await host.exec('ip', ['link', 'show', 'a0'])).toMatchObject({ exitCode: 0 });
});

test('IPVS and ESP are there', async () => {
  await execa('modprobe', ['-a', 'ip_vs', 'esp4', 'xfrm_user', 'sch_netem']);
});
