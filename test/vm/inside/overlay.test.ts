/** The overlay driver on Debian's kernel: its bridge answers ARP and neighbour discovery, and nothing is flooded. */

import { expect, test } from 'vitest';
import { OverlayLab, addressOf, ctx, isSilent, pings, underlay } from '../../kernel/overlay-lab.ts';

const LIMIT_MS = 300_000;

test.each([4, 6] as const)(
  'sandboxes on two hosts over IPv%i reach each other, an address that nobody has is asked for here only, and a start changes nothing',
  { timeout: LIMIT_MS },
  async (family) => {
    const lab = await OverlayLab.open({ family });
    const net = await lab.network({ v4: ['10.20.0.0/24', '10.21.0.0/24'], v6: ['fd20::/64', 'fd21::/64'] });
    const a = await lab.host(0).guest(net, { v4: '10.20.0.2/24', v6: 'fd20::2/64' });
    const b = await lab.host(1).guest(net, { v4: '10.20.0.3/24', v6: 'fd20::3/64' });
    const c = await lab.host(1).guest(net, { v4: '10.21.0.3/24', v6: 'fd21::3/64' });
    await lab.tell(net);
    const works = async (): Promise<void> => {
      for (const to of [b, c]) for (const inside of [4, 6] as const) expect(await pings(a, addressOf(to, inside))).toBe(true);
    };
    await works();
    const capture = await lab.capture('udp');
    for (const nobody of ['10.20.0.77', 'fd20::77']) expect(await isSilent(a, nobody)).toBe(true);
    expect((await capture.end()).split('\n').filter((line) => line.includes('vni'))).toEqual([]);
    expect(await lab.host(0).inside(net, 'ip -d link show br0')).toContain('vlan_default_pvid 0');

    lab.host(0).restart();
    expect(await lab.host(0).observe(net)).toBe(0);
    expect(await lab.host(0).restore(net)).toBeUndefined();
    await lab.tell(net, false);
    await works();
    await lab
      .host(0)
      .inside(net, `ip neigh del 10.20.0.3 dev br0; bridge fdb add 02:00:00:00:00:77 dev vx0 dst ${underlay(5, family)} self`);
    await lab.tell(net);
    expect(await lab.host(0).cluster.audit(ctx, net)).toEqual({ restored: 1, removed: 1, left: 0 });
    await works();
    await lab.host(0).leave(a);
    expect(lab.host(0).spaces()).toEqual([]);
  },
);
