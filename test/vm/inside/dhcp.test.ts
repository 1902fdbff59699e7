/** Addresses of a DHCP server where this machine's kernel has no links for them: behind the MAC of the parent, and on a VLAN. */

import { join } from 'node:path';
import { afterEach, expect, onTestFinished, test } from 'vitest';
import { openDhcp } from '../../../drivers/dhcp/open.ts';
import { type NetworkId, prefixAddress, silentLogger } from '../../../src/base/index.ts';
import type { DriverNetwork } from '../../../src/driver/index.ts';
import type { IpamDriver } from '../../../src/ipam/index.ts';
import { MemoryStore } from '../../../src/store/index.ts';
import { DhcpServer, endServers } from '../../kernel/dhcp-server.ts';
import { LAN, comes } from '../../kernel/parent-lab.ts';
import { testFolder } from '../../kernel/support.ts';
import { WireLab } from './wire-lab.ts';

afterEach(endServers);

const LIMIT_MS = 200_000;
const NET = 'a1'.repeat(32) as NetworkId;

async function ipamOf(lab: WireLab): Promise<IpamDriver> {
  const env = { log: silentLogger, now: Date.now };
  const dhcp = await openDhcp({ host: lab.host.host, env, store: new MemoryStore() });
  onTestFinished(() => dhcp.close());
  return dhcp.ipam;
}

const serve = (lab: WireLab, link: string, range: string): Promise<DhcpServer> =>
  DhcpServer.start({
    netns: lab.outside.path,
    link,
    leaseFile: join(testFolder(), 'leases'),
    range,
    flags: ['--dhcp-option=option:T1,2', '--dhcp-option=option:T2,5'],
  });

test(
  'endpoints of ipvlan have leases behind the MAC of their parent, told apart by their ids, and keep them',
  { timeout: LIMIT_MS },
  async () => {
    const lab = await WireLab.open();
    const server = await serve(lab, 'switch0', '10.30.0.10,10.30.0.20,2m');
    const ipam = await ipamOf(lab);
    const { local } = await ipam.addressSpaces();
    const pool = await ipam.requestPool({ owner: NET, space: local, family: 4, parent: 'lan0' });
    expect(pool).toMatchObject({ prefix: LAN.v4, gateway: LAN.router });
    const net = await lab.network('ipvlan', { parent: 'lan0' }, [`${pool.prefix} ${pool.gateway}`], []);
    const owners = ['b2'.repeat(32), 'c3'.repeat(32)];
    const given = await Promise.all(owners.map((owner) => ipam.requestAddress(pool.id, { owner })));
    const { mac } = await lab.host.host.rtnl().link.get({ name: 'lan0' });
    expect(
      server
        .leases()
        .map((one) => [one.mac, one.clientId.replaceAll(':', '')])
        .sort(),
    ).toEqual([
      [mac, `00${'b2'.repeat(16)}`],
      [mac, `00${'c3'.repeat(16)}`],
    ]);
    for (const prefix of given) {
      const box = await lab.join('ipvlan', net, prefix);
      expect(await comes(box.inside, LAN.far)).toBe(true);
      await server.says(new RegExp(`DHCPACK.* ${prefixAddress(prefix)} `), 3);
    }
    for (const [i, owner] of owners.entries()) await ipam.releaseAddress(pool.id, prefixAddress(given[i] ?? pool.prefix), owner);
    await server.says(/DHCPRELEASE/, 2);
  },
);

test('a VLAN is made before it is asked on, and goes with a network that comes to nothing', { timeout: LIMIT_MS }, async () => {
  const lab = await WireLab.open();
  await lab.outside.exec('sh', [
    '-ec',
    'ip link add link switch0 name switch0.50 type vlan id 50; ip addr add 10.50.0.254/24 dev switch0.50; ip link set switch0.50 up',
  ]);
  // One on the wire without tags, which is not to be heard on the VLAN, nor the other way round.
  await serve(lab, 'switch0', '10.30.0.10,10.30.0.20,2m');
  await serve(lab, 'switch0.50', '10.50.0.10,10.50.0.20,2m');
  const ipam = await ipamOf(lab);
  const { local } = await ipam.addressSpaces();
  const net: DriverNetwork = {
    id: NET,
    name: 'lan',
    internal: false,
    enableIPv4: true,
    enableIPv6: false,
    options: { parent: 'lan0.50' },
    v4: [],
    v6: [],
    state: null,
  };
  const ctx = { signal: new AbortController().signal };
  await lab.drivers.macvlan.prepareParent?.(ctx, net);
  expect(await lab.links()).toEqual(['lan0.50 vlan']);
  for (const [parent, subnet] of [
    ['lan0.50', '10.50.0.0/24'],
    ['lan0', LAN.v4],
  ] as const)
    expect((await ipam.requestPool({ owner: NET, space: local, family: 4, parent })).prefix).toBe(subnet);
  await lab.drivers.macvlan.deleteNetwork(ctx, net);
  expect(await lab.links()).toEqual([]);
});
