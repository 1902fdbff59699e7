/** A house with a parent link of its own, and a switch outside that it is plugged into. */

import { House } from './house-lab.ts';
import type { TestHost } from './support.ts';

/** Subnets of the wire behind the parent, and the router on it. */
export const LAN = {
  v4: '10.30.0.0/24',
  v6: 'fd30::/64',
  router: '10.30.0.254',
  router6: 'fd30::fe',
  /** Behind the router. */
  far: '203.0.113.1',
  far6: '2001:db8:200::1',
} as const;

/** Makes the parent anew, as a cable that is plugged in again: its other end is a port of the switch. */
export async function plugIn({ host, outside }: Pick<House, 'host' | 'outside'>, name = 'lan0'): Promise<void> {
  await host.exec('ip', ['link', 'add', name, 'type', 'veth', 'peer', 'name', `s${name}`, 'netns', outside.path]);
  await host.exec('ip', ['link', 'set', name, 'up']);
  await outside.exec('ip', ['link', 'set', `s${name}`, 'master', 'switch0', 'up']);
}

/** Gives a host `lan0`, whose other side is a switch outside with a router on it. */
export async function plugLan(host: TestHost, outside: TestHost): Promise<void> {
  await outside.exec('sh', [
    '-ec',
    `ip link add switch0 type bridge; ip link set switch0 up
     ip addr add ${LAN.router}/24 dev switch0; ip addr add ${LAN.router6}/64 dev switch0 nodad
     ip addr add ${LAN.far}/32 dev lo; ip addr add ${LAN.far6}/128 dev lo`,
  ]);
  await plugIn({ host, outside });
}

/** A house with such a link. */
export async function lanHouse(): Promise<House> {
  const house = await House.open();
  await plugLan(house.host, house.outside);
  return house;
}

type Spec = Parameters<House['network']>[1];

/** Settings of a network on the wire. */
export const onLan = (options: Readonly<Record<string, string>> = {}, rest: Spec = {}): NonNullable<Spec> => ({
  driver: 'macvlan',
  enableIPv6: true,
  ipam: {
    config: [
      { subnet: LAN.v4, range: '10.30.0.0/25', gateway: LAN.router },
      { subnet: LAN.v6, gateway: LAN.router6 },
    ],
  },
  options: { parent: 'lan0', ...options },
  ...rest,
});

/** Whether one ping is answered. */
export const pings = async (from: TestHost, to: string): Promise<boolean> =>
  (await from.exec('ping', ['-c', '1', '-W', '1', to], { reject: false })).exitCode === 0;

/** The same, asked until it is as wished; a neighbour may have to be found first. */
export async function comes(from: TestHost, to: string, wanted = true): Promise<boolean> {
  for (let tries = 0; tries < 5; tries++) if ((await pings(from, to)) === wanted) return true;
  return false;
}

/** Names, kinds and MACs of the links of a place, without lo. */
export async function linksIn(place: TestHost): Promise<string[]> {
  const { stdout } = await place.exec('ip', ['-j', '-d', 'link']);
  const links = JSON.parse(stdout) as { ifname: string; address: string; linkinfo?: { info_kind?: string } }[];
  return links
    .filter((link) => link.ifname !== 'lo')
    .map((link) => `${link.ifname} ${link.linkinfo?.info_kind ?? ''} ${link.address}`)
    .sort();
}
