/** Encrypted overlay networks on Debian's kernel: nothing in the clear on the wire, keys that change, and nothing left. */

import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import type { IpFamily } from '../../../src/base/index.ts';
import { OverlayLab, addressOf, ctx, isSilent, pings } from '../../kernel/overlay-lab.ts';
import { allHosts, espOf, keysFrom, refusesForged, secure } from '../../kernel/secure-cases.ts';
import { MOST_GAP_S, Stream } from './stream.ts';

const LIMIT_MS = 300_000;
const POOLS = { v4: ['10.20.0.0/24'], v6: ['fd20::/64'], options: { encrypted: '' } };
const SECRET = 'nobody-may-read-this';

async function opened(family: IpFamily) {
  const lab = await OverlayLab.open({ family, hosts: 3 });
  const hosts = allHosts(lab, family);
  const tell = async (first: number): Promise<void> => {
    for (const host of lab.hosts.slice(0, 2)) await secure(host, keysFrom(first), hosts);
  };
  await tell(1);
  const net = await lab.network(POOLS);
  const a = await lab.host(0).guest(net, { v4: '10.20.0.2/24', v6: 'fd20::2/64' });
  const b = await lab.host(1).guest(net, { v4: '10.20.0.3/24', v6: 'fd20::3/64' });
  await lab.tell(net);
  return { lab, net, a, b, tell, hosts };
}

test.each([4, 6] as const)(
  'over IPv%i: sandboxes reach each other, the wire shows ESP only, forged frames stay out, all goes with the last one',
  { timeout: LIMIT_MS },
  async (family) => {
    const { lab, net, a, b } = await opened(family);
    const capture = await lab.capture('esp or udp');
    for (const inside of [4, 6] as const) expect(await pings(a, addressOf(b, inside))).toBe(true);
    await a.exec('sh', ['-c', `echo ${SECRET} > /dev/udp/10.20.0.3/9 || true`], { reject: false });
    const seen = await capture.end();
    expect(seen.match(/ESP\(spi=0x/g)?.length ?? 0).toBeGreaterThanOrEqual(4);
    expect(seen).not.toMatch(/VXLAN|vni|4790|10\.20\.0/);
    // A packet as large as the network's MTU goes as one.
    const mtu = family === 4 ? 1424 : 1404;
    expect(await lab.host(0).inside(net, 'ip link show vx0')).toContain(`mtu ${mtu} `);
    expect(await pings(a, addressOf(b, 4), mtu - 28)).toBe(true);
    expect(await isSilent(a, addressOf(b, 4), mtu - 27)).toBe(true);
    await refusesForged(lab, lab.host(2), net, b);
    expect(await espOf(lab.host(0))).toMatchObject({ states: 8 });

    await lab.host(0).leave(a);
    await lab.host(1).leave(b);
    for (const host of lab.hosts) expect(await espOf(host)).toEqual({ states: 0, policies: [''] });
  },
);

test(
  'keys change under way without a packet lost or a gap in a stream, whichever host hears of it first',
  { timeout: LIMIT_MS },
  async () => {
    const { lab, a, b, hosts } = await opened(4);
    const stream = await Stream.start(a, b);
    const packets = a.exec('ping', ['-i', '0.05', '-c', '200', '-W', '8', '-q', addressOf(b, 4)], { reject: false });
    for (let first = 2; first <= 5; first++) {
      const order = first % 2 === 0 ? [0, 1] : [1, 0];
      for (const i of order) {
        await secure(lab.host(i), keysFrom(first), hosts);
        await sleep(300);
      }
    }
    expect((await packets).stdout).toContain('200 received');
    // After the last change it had time to show a gap.
    await sleep(2 * MOST_GAP_S * 1000);
    expect(await stream.end()).toBeLessThan(MOST_GAP_S);
    // Three for what comes from each of two hosts, one for what goes to each.
    expect(await espOf(lab.host(0))).toMatchObject({ states: 8 });
    expect((await lab.host(0).at.exec('ip', ['xfrm', 'state'])).stdout).not.toContain('0x01010101');
  },
);

test(
  'a restart finds all as it is; what somebody takes is put back; without keys it goes on',
  { timeout: LIMIT_MS },
  async () => {
    const { lab, net, a, b, hosts } = await opened(4);
    const host = lab.host(0);
    host.restart();
    expect(await host.restore(net)).toBeUndefined();
    await lab.tell(net, false);
    expect(await pings(a, addressOf(b, 4))).toBe(true);
    await host.at.exec('sh', ['-ec', 'ip xfrm state flush; ip xfrm policy flush']);
    await secure(host, keysFrom(1), hosts);
    expect(await pings(a, addressOf(b, 4))).toBe(true);
    // A host that is in the cluster no more gets nothing, and sends nothing.
    await secure(host, keysFrom(1), hosts.slice(0, 1));
    expect(await isSilent(a, addressOf(b, 4))).toBe(true);
    await host.driver.deleteNetwork(ctx, net);
    expect(await espOf(host)).toEqual({ states: 0, policies: [''] });
  },
);
