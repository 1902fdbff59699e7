/** Published ports of services on a host: with members here, elsewhere, or nowhere. */

import { afterEach, expect, test } from 'vitest';
import type { Address } from '../../src/base/index.ts';
import type { BalancedMember, PublishedService } from '../../src/balance/index.ts';
import { nftGeneration } from '../../src/kernel/index.ts';
import { Talk, serveLines } from './balance-lab.ts';
import { ask, askUdp, serveUdp } from './firewall-lab.ts';
import { eventually } from './keeper-lab.ts';
import { House, WIRE } from './house-lab.ts';
import type { TestHost } from './support.ts';

const ID = 'a1'.repeat(32);
const houses: House[] = [];

afterEach(async () => {
  for (const house of houses.splice(0)) await house.controller.services.ingress.apply([]);
});

async function open(): Promise<House> {
  const house = await House.open();
  houses.push(house);
  return house;
}

/** A house with an overlay network and two members in it; `net` is a bridge network with two members and both families. */
async function houseWithMembers(network: 'over' | 'net'): Promise<House> {
  const house = await open();
  if (network === 'over') await house.network('over', { driver: 'overlay' });
  else await house.network('net', { enableIPv6: true });
  for (const name of ['m1', 'm2']) {
    const place = await house.sandbox(name, [[network, {}]]);
    serveUdp(place, name, 53);
    serveLines(place, name);
  }
  return house;
}

function member(house: House, name: string, network: string, state: BalancedMember['state'] = 'serving'): BalancedMember {
  const families = network === 'net' ? ([4, 6] as const) : ([4] as const);
  return { addresses: families.map((family) => house.address(name, network, family) as Address), state };
}

const PORTS: PublishedService['ports'] = [
  { protocol: 'tcp', published: 8080, target: 80 },
  { protocol: 'udp', published: 5353, target: 53 },
  { protocol: 'tcp', published: 7007, target: 7 },
];

const published = (members: readonly BalancedMember[], network: string, ports = PORTS, id = ID): PublishedService => ({
  service: { id, vips: [], members },
  network,
  ports,
});

const both = (house: House, network: string): PublishedService =>
  published([member(house, 'm1', network), member(house, 'm2', network)], network);

/** Who answers to so many questions, sorted. */
async function answers(from: TestHost, address: string, count = 4, port = 8080): Promise<string[]> {
  const names: string[] = [];
  for (let i = 0; i < count; i++) names.push((await ask(from, address, port)).replace(/ .*/, ''));
  return names.sort();
}

const TWICE = ['m1', 'm1', 'm2', 'm2'];

test.each(['over', 'net'] as const)('ports answer to the outside, the host itself and a sandbox: network %s', async (network) => {
  const house = await houseWithMembers(network);
  await house.network('other');
  const other = await house.sandbox('other', [['other', {}]]);
  await house.controller.services.ingress.apply([both(house, network)]);
  expect(house.controller.services.ingress.troubleOf(ID)).toBeUndefined();
  expect(await answers(house.outside, WIRE.host)).toEqual(TWICE);
  expect(await answers(house.host, WIRE.host)).toEqual(TWICE);
  expect(await answers(house.host, '127.0.0.1')).toEqual(TWICE);
  expect(await answers(other, WIRE.host)).toEqual(TWICE);
  // The gateway bridge keeps its sandboxes apart: where frames on bridges pass the packet filter, its published ports too.
  const quiet =
    'cd /proc/sys/net/bridge 2>/dev/null || exit 0; echo 0 >bridge-nf-call-iptables; echo 0 >bridge-nf-call-ip6tables';
  await house.host.exec('sh', ['-c', quiet]);
  expect(await answers(house.inside('m1'), WIRE.host)).toEqual(TWICE);
  const said = [await askUdp(house.outside, WIRE.host, 5353), await askUdp(house.outside, WIRE.host, 5353)];
  expect(said.map((answer) => answer.replace(/ .*/, '')).sort()).toEqual(['m1', 'm2']);
  if (network === 'net') expect(await answers(house.outside, WIRE.host6)).toEqual(TWICE);
});

test('an ingress passes on only what it has led on', async () => {
  const house = await houseWithMembers('over');
  await house.controller.services.ingress.apply([both(house, 'over')]);
  const m1 = house.address('m1', 'over');
  const inside = house.inside(`ingress_${ID.slice(0, 12)}`);
  const { stdout } = await inside.exec('ip', ['-4', '-o', 'addr', 'show', 'scope', 'global']);
  const outer = stdout
    .split('\n')
    .flatMap((line) => /inet ([\d.]+)\//.exec(line)?.[1] ?? [])
    .find((address) => address !== house.address(`ingress_${ID.slice(0, 12)}`, 'over'));
  await house.host.exec('ip', ['route', 'add', `${m1}/32`, 'via', outer ?? '']);
  await expect(house.host.exec('ping', ['-c2', '-i0.2', '-W1', m1])).rejects.toThrow(/ping/);
  expect(await answers(house.outside, WIRE.host)).toEqual(TWICE);
  // The way itself is there: without the chain the packets arrive.
  await inside.exec('nft', ['flush', 'chain', 'inet', tableIn(await inside.exec('nft', ['list', 'tables'])), 'passage']);
  await house.host.exec('ping', ['-c1', '-W2', m1]);
  await house.controller.services.ingress.apply([both(house, 'over')]);
  await expect(house.host.exec('ping', ['-c2', '-i0.2', '-W1', m1])).rejects.toThrow(/ping/);
});

const tableIn = ({ stdout }: { readonly stdout: string }): string => /inet (patchbay-\w+-services)/.exec(stdout)?.[1] ?? '';

test('a host without a member answers too, and one that nobody serves refuses at once', async () => {
  const house = await houseWithMembers('over');
  const [m1] = both(house, 'over').service.members;
  await house.controller.services.ingress.apply([published(m1 === undefined ? [] : [{ ...m1, state: 'draining' }], 'over')]);
  for (const from of [house.outside, house.host]) expect(await ask(from, WIRE.host, 8080)).toBe('refused');
  await house.controller.services.ingress.apply([published([], 'over')]);
  expect(await ask(house.outside, WIRE.host, 8080)).toBe('refused');
  await house.controller.services.ingress.apply([both(house, 'over')]);
  expect(await answers(house.outside, WIRE.host)).toEqual(TWICE);
});

test('members come and go under a connection, which goes on while its member is drained', async () => {
  const house = await houseWithMembers('over');
  const { ingress } = house.controller.services;
  const m1 = member(house, 'm1', 'over');
  await ingress.apply([published([m1], 'over')]);
  const talk = await Talk.open(house.outside, WIRE.host, 7007);
  expect(await talk.say()).toMatch(/^m1 /);
  await ingress.apply([published([{ ...m1, state: 'draining' }, member(house, 'm2', 'over')], 'over')]);
  expect(await talk.say()).toMatch(/^m1 /);
  expect(await answers(house.outside, WIRE.host)).toEqual(['m2', 'm2', 'm2', 'm2']);
  expect(await ingress.countFlows(ID, m1)).toBe(1);
  await talk.close();
  await eventually(async () => ((await ingress.countFlows(ID, m1)) === 0 ? true : undefined), 'the connection is over');
  const again = await Talk.open(house.outside, WIRE.host, 7007);
  expect(await again.say()).toMatch(/^m2 /);
  await ingress.apply([published([m1], 'over')]);
  await expect(again.say()).rejects.toMatchObject({ code: 'ECONNRESET' });
});

test('the same wish again, in this life or the next, changes nothing; none leaves nothing', async () => {
  const house = await houseWithMembers('over');
  const before = await house.world();
  await house.controller.services.ingress.apply([both(house, 'over')]);
  const world = await house.world();
  const place = house.inside(`ingress_${ID.slice(0, 12)}`);
  const generation = nftGeneration(place.host);
  await house.controller.services.ingress.apply([both(house, 'over')]);
  expect(await house.world()).toEqual(world);
  await house.start();
  expect(await answers(house.outside, WIRE.host)).toEqual(TWICE);
  await house.controller.services.ingress.apply([both(house, 'over')]);
  expect(await house.world()).toEqual(world);
  expect(nftGeneration(place.host)).toBe(generation);
  await house.controller.services.ingress.apply([]);
  expect(await house.world()).toEqual(before);
});

test('other ports of a service are followed, and many calls at once end as the last of them', async () => {
  const house = await houseWithMembers('net');
  const { ingress } = house.controller.services;
  const wish = both(house, 'net');
  await Promise.all([[wish], [], [{ ...wish, ports: PORTS.slice(0, 1) }], [wish]].map((one) => ingress.apply(one)));
  expect(await answers(house.outside, WIRE.host)).toEqual(TWICE);
  await ingress.apply([{ ...wish, ports: [{ protocol: 'tcp', published: 8081, target: 80 }] }]);
  expect(await answers(house.outside, WIRE.host, 4, 8081)).toEqual(TWICE);
  expect(await ask(house.outside, WIRE.host, 8080)).toBe('refused');
  await ingress.apply([{ ...wish, ports: [{ protocol: 'tcp', published: 8081, target: 81 }] }]);
  expect(await ask(house.outside, WIRE.host, 8081)).toBe('refused');
});

test('a host port that somebody has is said to be taken, other services go on, and it comes when it is free', async () => {
  const house = await houseWithMembers('net');
  const { ingress } = house.controller.services;
  await house.sandbox('taker', [['net', {}]], { portBindings: { '80/tcp': [{ HostIp: '', HostPort: '8080' }] } });
  const wish = both(house, 'net');
  const other = {
    ...wish,
    service: { ...wish.service, id: 'b2'.repeat(32) },
    ports: [{ protocol: 'tcp', published: 8081, target: 80 }] as const,
  };
  await ingress.apply([wish, other]);
  expect(ingress.troubleOf(ID)).toContain('port is already allocated');
  expect(ingress.troubleOf(other.service.id)).toBeUndefined();
  expect(await answers(house.outside, WIRE.host, 4, 8081)).toEqual(TWICE);
  expect(await ask(house.outside, WIRE.host, 8080)).toMatch(/^taker/);
  await house.controller.deleteSandbox('taker', true);
  await ingress.apply([wish, other]);
  expect(ingress.troubleOf(ID)).toBeUndefined();
  expect(await answers(house.outside, WIRE.host)).toEqual(TWICE);
});

test('what cannot be published is said: SCTP, a network that is internal or not there', async () => {
  const house = await houseWithMembers('net');
  const { ingress } = house.controller.services;
  await ingress.apply([{ ...both(house, 'net'), ports: [{ protocol: 'sctp', published: 8080, target: 80 }] }]);
  expect(ingress.troubleOf(ID)).toContain('8080/sctp');
  await house.network('inner', { internal: true });
  await ingress.apply([published([], 'inner')]);
  expect(ingress.troubleOf(ID)).toContain('network inner is internal');
  await ingress.apply([published([], 'nowhere')]);
  expect(ingress.troubleOf(ID)).toContain('network nowhere not found');
  await ingress.apply([]);
  expect(ingress.troubleOf(ID)).toBeUndefined();
  expect(
    house.controller
      .sandboxes()
      .map(({ name }) => name)
      .sort(),
  ).toEqual(['m1', 'm2']);
});

test('what others took away is put back', async () => {
  const house = await houseWithMembers('over');
  const { ingress } = house.controller.services;
  const wish = [both(house, 'over')];
  await ingress.apply(wish);
  const name = `ingress_${ID.slice(0, 12)}`;
  await house.inside(name).exec('sh', ['-ec', 'nft flush ruleset; sysctl -qw net.ipv4.ip_forward=0']);
  await house.host.exec('iptables', ['-t', 'nat', '-F']);
  await house.controller.mend();
  await ingress.apply(wish);
  expect(await answers(house.outside, WIRE.host)).toEqual(TWICE);
  await house.controller.deleteSandbox(name, true);
  await ingress.apply(wish);
  expect(await answers(house.outside, WIRE.host)).toEqual(TWICE);
});
