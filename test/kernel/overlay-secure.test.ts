/** Encrypted overlay networks where the kernel may lack ESP: nothing is made half, and what is to be encrypted never goes in the clear. */

import { execa } from 'execa';
import { expect, test } from 'vitest';
import { messageOf } from '../../src/base/index.ts';
import { removeNetnsPin } from '../../src/kernel/index.ts';
import { OverlayLab, ctx, isSilent } from './overlay-lab.ts';
import { allHosts, espOf, keysFrom, refusesForged, secure } from './secure-cases.ts';
import { testHosts } from './support.ts';

const ENCRYPTED = { options: { encrypted: '' } };
const refusal = (work: Promise<unknown>): Promise<string | undefined> => work.then(() => undefined, messageOf);

/** Asks the kernel by other means than we do. */
async function hasEsp(): Promise<boolean> {
  const [place] = await testHosts(1);
  const words = 'xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 256 aead rfc4106(gcm(aes))';
  const added = await execa(
    'ip',
    ['-n', place?.path.split('/').at(-1) ?? '', ...words.split(' '), `0x${'01'.repeat(20)}`, '64'],
    { reject: false },
  );
  return added.exitCode === 0;
}

test('a kernel that cannot encrypt refuses at create, with the reason, and one that can does not', async () => {
  const lab = await OverlayLab.open({ hosts: 1 });
  const refused = await refusal(lab.network(ENCRYPTED));
  if (await hasEsp()) expect(refused).toBeUndefined();
  else expect(refused).toMatch(/the kernel lacks ESP with rfc4106\(gcm\(aes\)\) \(\w+; modules .* modprobe/);
  expect((await espOf(lab.host(0))).policies).toEqual(['']);
});

test('the same of WireGuard', async () => {
  const lab = await OverlayLab.open({ hosts: 1 });
  const [place] = await testHosts(1);
  const made = await execa('ip', ['-n', place?.path.split('/').at(-1) ?? '', 'link', 'add', 'x', 'type', 'wireguard'], {
    reject: false,
  });
  const refused = await refusal(lab.network({ options: { encrypted: 'wireguard' } }));
  if (made.exitCode === 0) expect(refused).toBeUndefined();
  else expect(refused).toContain('the kernel lacks wireguard (module wireguard)');
  expect(lab.host(0).spaces()).toEqual([]);
});

test('without keys nothing is joined; a restart without keys shuts the ports before it makes the tunnels', async () => {
  const lab = await OverlayLab.open({ hosts: 3 });
  // As another host has made it, whose kernel can.
  const net = { ...(await lab.network()), ...ENCRYPTED };
  const host = lab.host(0);
  expect(await refusal(host.guest(net, { v4: '10.20.0.2/24' }))).toMatch(
    /cannot join secure network over: the cluster has not told its keys/,
  );
  expect(host.spaces()).toEqual([]);
  expect(await espOf(host)).toEqual({ states: 0, policies: [''] });

  // Joined in the clear, as far as this kernel is concerned, and told only now that it is not to be.
  const plain = { ...net, options: {} };
  const a = await host.guest(plain, { v4: '10.20.0.2/24' });
  const b = await lab.host(1).guest(plain, { v4: '10.20.0.3/24' });
  await lab.tell(plain);
  for (const guest of [a, b]) Object.assign(guest, { net });
  host.restart();
  expect(await host.restore(net)).toBeUndefined();
  await host.cluster.setPeers(ctx, net, lab.peersOf(net, host), true);
  const { policies } = await espOf(host);
  expect(policies.filter((line) => line.includes('action block'))).toHaveLength(1);
  const capture = await lab.capture('udp port 4789');
  expect(await isSilent(a, '10.20.0.3')).toBe(true);
  expect(await capture.end()).toBe('');
  await refusesForged(lab, lab.host(2), net, a);

  await host.leave(a);
  expect(await espOf(host)).toEqual({ states: 0, policies: [''] });
});

test('what a daemon of before left behind is taken away, and others’ is not', async () => {
  const lab = await OverlayLab.open();
  const made = await lab.network();
  const plain = { ...made, state: { ...(made.state as object), port: 4790 } };
  const net = { ...plain, ...ENCRYPTED };
  const host = lab.host(0);
  const foreign = 'dir out src 198.51.100.1/32 dst 198.51.100.2/32 proto udp dport 4789 priority 77';
  await host.at.exec('ip', ['xfrm', 'policy', 'add', ...foreign.split(' '), 'action', 'block']);
  const a = await host.guest(plain, { v4: '10.20.0.2/24' });
  Object.assign(a, { net });
  host.restart();
  await host.restore(net);
  expect((await espOf(host)).policies.length).toBeGreaterThan(4);
  // Another network is restored, and this one is not, as where a lease of it cannot be had again: it stays shut.
  const clear = await lab.network({ v4: ['10.21.0.0/24'] });
  await host.guest(clear, { v4: '10.21.0.2/24' });
  host.restart();
  expect(await host.restore(clear)).toBeUndefined();
  expect((await espOf(host)).policies.filter((line) => line.includes('action block'))).toHaveLength(2);
  await host.cluster.audit(ctx, net);
  expect((await espOf(host)).policies.filter((line) => line.includes('action block'))).toHaveLength(2);
  // Only when its namespace is gone nothing of it is left to shut.
  removeNetnsPin(`${host.pins}/overlay-${net.id.slice(0, 12)}`);
  host.restart();
  expect(await host.restore(clear)).toBeUndefined();
  const { policies } = await espOf(host);
  expect(policies.filter((line) => line.startsWith('src '))).toEqual([
    'src 198.51.100.1/32 dst 198.51.100.2/32 proto udp dport 4789 ',
  ]);
  if (await hasEsp()) await secure(host, keysFrom(1), allHosts(lab, 4));
});
