/** The IPAM driver dhcp against a real server, on a parent of a host. */

import { afterEach, expect, test } from 'vitest';
import { endServers, DhcpServer, type ServerOptions } from './dhcp-server.ts';
import { House, type HouseOptions } from './house-lab.ts';
import { LAN, plugLan } from './parent-lab.ts';
import { testFolder } from './support.ts';

afterEach(endServers);

async function dhcpHouse(options: HouseOptions = {}): Promise<House> {
  const house = await House.open(options);
  await plugLan(house.host, house.outside);
  return house;
}

const serve = (house: House, rest: Partial<ServerOptions> = {}): Promise<DhcpServer> =>
  DhcpServer.start({
    netns: house.outside.path,
    link: 'switch0',
    folder: testFolder(),
    range: '10.30.0.10,10.30.0.20,2m',
    ...rest,
  });

const onDhcp = { driver: 'macvlan', ipam: { driver: 'dhcp' }, options: { parent: 'lan0' } } as const;

test('a network has the subnet and the router of the server, and a sandbox the address that its file says', async () => {
  const house = await dhcpHouse();
  const server = await serve(house);
  await house.network('lan', onDhcp);
  const { pools } = house.controller.network('lan').record;
  expect(pools).toMatchObject([{ family: 4, prefix: LAN.v4, gateway: LAN.router }]);
  expect(server.leases()).toEqual([]);
  await house.controller.createSandbox({ name: 'box', networks: [['lan', {}]] });
  console.log(server.log, server.leases(), house.address('box', 'lan'));
  await house.controller.sandbox('box').delete();
  console.log(server.log.slice(-500), server.leases());
});
