/** Overlay networks over WireGuard on Debian's kernel: nothing in the clear on the wire, keys of hosts that come and go, nothing left. */

import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import type { IpFamily } from '../../../src/base/index.ts';
import { OverlayLab, addressOf, isSilent, pings } from '../../kernel/overlay-lab.ts';
import { allHosts, keysFrom, refusesForged, secure } from '../../kernel/secure-cases.ts';
import { MOST_GAP_S, Stream } from './stream.ts';

const LIMIT_MS = 300_000;
const POOLS = { v4: ['10.20.0.0/24'], v6: ['fd20::/64'], options: { encrypted: 'wireguard' } };

async function opened(family: IpFamily) {
  const lab = await OverlayLab.open({ family, hosts: 3 });
  const hosts = allHosts(lab, family);
  for (const host of lab.hosts.slice(0, 2)) await secure(host, keysFrom(1), hosts);
  const net = await lab.network(POOLS);
  const a = await lab.host(0).guest(net, { v4: '10.20.0.2/24', v6: 'fd20::2/64' });
  const b = await lab.host(1).guest(net, { v4: '10.20.0.3/24', v6: 'fd20::3/64' });
  await lab.tell(net);
  return { lab, net, a, b, hosts };
}

test.each([4, 6] as const)(
  'over IPv%i: sandboxes reach each other, the wire shows WireGuard only, forged frames stay out, all goes with the last one',
  { timeout: LIMIT_MS },
  async (family) => {
    const { lab, net, a, b } = await opened(family);
    const capture = await lab.capture('udp');
    for (const inside of [4, 6] as const) expect(await pings(a, addressOf(b, inside))).toBe(true);
    const seen = await capture.end();
    expect(seen.match(/\.51820 > /g)?.length ?? 0).toBeGreaterThanOrEqual(4);
    expect(seen).not.toMatch(/VXLAN|vni|4791|10\.20\.0/);
    const mtu = 1500 - (family === 4 ? 60 : 80) - 70;
    expect(await lab.host(0).inside(net, 'ip link show vx0')).toContain(`mtu ${mtu} `);
    expect(await pings(a, addressOf(b, 4), mtu - 28)).toBe(true);
    await refusesForged(lab, lab.host(2), net, b);
    // No socket of tunnels is in the host's own namespace.
    const sockets = (await lab.host(0).at.exec('ss', ['-Hulna'])).stdout;
    expect(sockets).toContain(':51820');
    expect(sockets).not.toContain(':4791');

    await lab.host(0).leave(a);
    await lab.host(1).leave(b);
    for (const host of lab.hosts) expect(host.spaces()).toEqual([]);
  },
);

test(
  'a restart finds all as it is, and a stream goes on; a host that is forgotten is out, one that is known again is in',
  { timeout: LIMIT_MS },
  async () => {
    const { lab, net, a, b, hosts } = await opened(4);
    const host = lab.host(0);
    const stream = await Stream.start(a, b);
    host.restart();
    expect(await host.observe(net)).toBe(0);
    expect(await host.restore(net)).toBeUndefined();
    await lab.tell(net, false);
    await secure(host, keysFrom(2), hosts);
    expect(await pings(a, addressOf(b, 4))).toBe(true);
    await sleep(2 * MOST_GAP_S * 1000);
    expect(await stream.end()).toBeLessThan(MOST_GAP_S);
    await secure(host, keysFrom(1), hosts.slice(0, 1));
    expect(await isSilent(a, addressOf(b, 4))).toBe(true);
    await secure(host, keysFrom(1), hosts);
    expect(await pings(a, addressOf(b, 4))).toBe(true);
    // Somebody takes the link away: a start brings it back, with the tunnels on it.
    await host.at.exec('nsenter', [`--net=${host.pins}/overlay-wireguard`, 'ip', 'link', 'del', 'wg0']);
    host.restart();
    await secure(host, keysFrom(1), hosts);
    expect(await host.restore(net)).toBeUndefined();
    await lab.tell(net);
    expect(await pings(a, addressOf(b, 4))).toBe(true);
  },
);
