/** The way outside of sandboxes on overlay networks: the gateway bridge comes and goes with what else leads them there. */

import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import type { EndpointRecord } from '../../src/cnm/index.ts';
import { ask, probe } from './firewall-lab.ts';
import { House, WIRE } from './house-lab.ts';
import { eventually } from './keeper-lab.ts';
import { comes } from './parent-lab.ts';
import type { TestHost } from './support.ts';

const GATEWAY = 'docker_gwbridge';
const PORTS = { '80/tcp': [{ HostIp: '', HostPort: '8080' }] };
const ICC = 'com.docker.network.bridge.enable_icc';

async function houseWithOverlay(spec: Parameters<House['network']>[1] = {}): Promise<House> {
  const house = await House.open();
  await house.network('over', { driver: 'overlay', ipam: { config: [{ subnet: '10.20.0.0/24' }] }, ...spec });
  return house;
}

/** The sandbox's endpoint on the gateway bridge. */
function gatewayOf(house: House, name: string): EndpointRecord | undefined {
  const { id } = house.controller.sandbox(name);
  const found = house.controller.endpointsOfSandbox(id).filter((ep) => ep.name === `gateway_${id.slice(0, 12)}`);
  expect(found.length).toBeLessThan(2);
  return found[0];
}

const hasNetwork = (house: House): boolean => house.controller.networks().some((net) => net.name === GATEWAY);

/** Default routes of IPv4, as `eth1 172.16.0.1`. */
async function defaults(place: TestHost): Promise<string[]> {
  const { stdout } = await place.exec('ip', ['-j', 'route', 'show', 'default']);
  return (JSON.parse(stdout || '[]') as { dev: string; gateway?: string }[]).map(({ dev, gateway }) => `${dev} ${gateway}`);
}

/** Links in use; those that wait for their deletion are not. */
async function links(place: TestHost): Promise<string[]> {
  const { stdout } = await place.exec('ip', ['-j', 'link']);
  const names = (JSON.parse(stdout) as { ifname: string }[]).map(({ ifname }) => ifname);
  return names.filter((name) => !name.startsWith('dead')).sort();
}

const pool = (house: House): string => house.controller.network(GATEWAY).record.pools[0]?.gateway ?? '';

async function publishes(house: House, name = 'maria'): Promise<void> {
  expect(await ask(house.outside, WIRE.host, 8080)).toMatch(new RegExp(`^${name} `));
}

test('a sandbox on an overlay network reaches the outside, and its published port is reached from there', async () => {
  const house = await houseWithOverlay();
  expect(hasNetwork(house)).toBe(false);
  const { sandbox, warnings } = await house.controller.createSandbox({
    name: 'idle',
    networks: [['over', {}]],
    portBindings: PORTS,
  });
  expect(warnings).toEqual([]);
  await sandbox.delete();
  expect(hasNetwork(house)).toBe(true);
  const maria = await house.sandbox('maria', [['over', {}]], { portBindings: PORTS });
  expect(await links(maria)).toEqual(['eth0', 'eth1', 'lo']);
  expect(await defaults(maria)).toEqual([`eth1 ${pool(house)}`]);
  expect(await comes(maria, WIRE.outside)).toBe(true);
  await publishes(house);
  const { record } = house.controller.network(GATEWAY);
  expect(record).toMatchObject({ driver: 'bridge', enableIPv4: true, enableIPv6: false, internal: false });
  expect(record.options).toEqual({ [ICC]: 'false', 'com.docker.network.bridge.enable_ip_masquerade': 'true' });
  // No name, no line: nobody is to find the sandbox there.
  const gateway = gatewayOf(house, 'maria');
  expect(gateway?.dnsNames).toEqual([]);
  const hosts = readFileSync(house.controller.files(house.controller.sandbox('maria').id).hosts, 'utf8');
  expect(hosts).toContain(house.address('maria', 'over'));
  expect(hosts).not.toContain(gateway?.v4?.replace(/\/.*/, ''));
  await house.controller.deleteSandbox('maria', true);
  expect(house.controller.endpoints()).toEqual([]);
  await house.controller.deleteNetwork(GATEWAY);
  expect(hasNetwork(house)).toBe(false);
});

test('an internal overlay network, the host, and sandboxes with a gateway get none', async () => {
  const house = await houseWithOverlay({ internal: true });
  const inner = await house.sandbox('inner', [['over', {}]], { portBindings: PORTS });
  expect(await defaults(inner)).toEqual([]);
  await house.network('open', { driver: 'overlay' });
  await house.network('net');
  const both = await house.sandbox('both', [
    ['open', {}],
    ['net', {}],
  ]);
  expect(await links(both)).toEqual(['eth0', 'eth1', 'lo']);
  await house.controller.connect('net', 'inner', {});
  expect(hasNetwork(house)).toBe(false);
  // Then it is the only one that could lead outside, and is not asked to.
  await house.controller.disconnect('net', 'inner', false);
  expect(hasNetwork(house)).toBe(false);
  await house.controller.connect('open', 'inner', {});
  expect(await comes(inner, WIRE.outside)).toBe(true);
  await publishes(house, 'inner');
});

test('a bridge network takes its place with ports and route, a disconnect brings it back, and never is there no route', async () => {
  const house = await houseWithOverlay();
  await house.network('net');
  const maria = await house.sandbox('maria', [['over', {}]], { portBindings: PORTS });
  const before = await defaults(maria);
  const watch = maria.exec(
    'sh',
    ['-c', `n=0; while [ $n -lt 20000 ]; do n=$((n+1)); ip route get ${WIRE.outside} >/dev/null 2>&1 || echo lost; done`],
    { reject: false },
  );
  let lost = '';
  watch.stdout?.on('data', (text: Buffer) => (lost += text.toString()));
  await house.controller.connect('net', 'maria', {});
  expect(gatewayOf(house, 'maria')).toBeUndefined();
  expect(await links(maria)).toEqual(['eth0', 'eth2', 'lo']);
  expect(await defaults(maria)).toEqual([`eth2 ${house.controller.network('net').record.pools[0]?.gateway}`]);
  await publishes(house);
  await house.controller.disconnect('net', 'maria', false);
  expect(await links(maria)).toEqual(['eth0', 'eth1', 'lo']);
  expect(await defaults(maria)).toEqual(before);
  expect(await comes(maria, WIRE.outside)).toBe(true);
  await publishes(house);
  watch.kill('SIGTERM');
  await watch;
  expect(lost).toBe('');
  // Whatever priority the network is connected with.
  await house.controller.connect('net', 'maria', { gwPriority: -5 });
  expect(gatewayOf(house, 'maria')).toBeUndefined();
  await publishes(house);
  // Without the overlay network nothing has to come.
  await house.controller.disconnect('over', 'maria', false);
  await house.controller.disconnect('net', 'maria', false);
  expect(await links(maria)).toEqual(['lo']);
});

test('with the last overlay network it goes, and with the endpoint that somebody made by hand too', async () => {
  const house = await houseWithOverlay();
  await house.network('more', { driver: 'overlay' });
  const maria = await house.sandbox('maria', [
    ['over', {}],
    ['more', {}],
  ]);
  await house.controller.disconnect('more', 'maria', false);
  expect(await comes(maria, WIRE.outside)).toBe(true);
  await house.controller.disconnect('over', 'maria', false);
  expect(await links(maria)).toEqual(['lo']);
  await house.controller.createEndpoint('over', 'place');
  await house.controller.joinEndpoint('place', 'maria');
  expect(await comes(maria, WIRE.outside)).toBe(true);
  await house.controller.leaveEndpoint('place');
  expect(await links(maria)).toEqual(['lo']);
  await house.controller.joinEndpoint('place', 'maria');
  await house.controller.deleteEndpoint('place', true);
  expect(await links(maria)).toEqual(['lo']);
  expect(house.controller.endpoints()).toEqual([]);
});

test('two sandboxes see each other over the overlay network, and not over the gateway bridge', async () => {
  const house = await houseWithOverlay();
  const maria = await house.sandbox('maria', [['over', {}]]);
  await house.sandbox('jonas', [['over', {}]]);
  expect(await ask(maria, house.address('jonas', 'over'), 80)).toMatch(/^jonas /);
  const there = gatewayOf(house, 'jonas')?.v4?.replace(/\/.*/, '') ?? '';
  expect(there).not.toBe('');
  expect(await probe(maria, there, 80)).not.toContain('jonas');
  expect(await comes(maria, there, false)).toBe(true);
  expect(await ask(house.host, there, 80)).toMatch(/^jonas /);
});

test('the network is the user’s when he has made it: subnet, IPv6, or one that leads nowhere', async () => {
  const house = await houseWithOverlay();
  await house.network(GATEWAY, { enableIPv6: true, ipam: { config: [{ subnet: '10.99.0.0/24' }, { subnet: 'fd99::/64' }] } });
  const maria = await house.sandbox('maria', [['over', {}]], { portBindings: PORTS });
  expect(gatewayOf(house, 'maria')).toMatchObject({ v4: '10.99.0.2/24', v6: 'fd99::2/64' });
  for (const address of [WIRE.outside, WIRE.outside6]) expect(await comes(maria, address)).toBe(true);
  for (const address of [WIRE.host, WIRE.host6]) expect(await ask(house.outside, address, 8080)).toMatch(/^maria /);
  await expect(house.controller.deleteNetwork(GATEWAY)).rejects.toMatchObject({ code: 'network_in_use' });
  expect(await house.controller.pruneNetworks(() => true)).toEqual([]);
  await house.controller.deleteSandbox('maria', true);
  expect((await house.controller.pruneNetworks(() => true)).sort()).toEqual([GATEWAY, 'over'].sort());
  await house.network('over', { driver: 'overlay' });
  await house.network(GATEWAY, { internal: true });
  const { warnings } = await house.controller.createSandbox({ name: 'jonas', networks: [['over', {}]], portBindings: PORTS });
  expect(warnings.join()).toContain('Published ports are discarded');
  expect(await links(house.inside('jonas'))).toEqual(['eth0', 'lo']);
});

test('somebody who connects a sandbox to it by hand has that endpoint, and never two', async () => {
  const house = await houseWithOverlay();
  const maria = await house.sandbox('maria', [['over', {}]]);
  await expect(house.controller.connect(GATEWAY, 'maria', {})).rejects.toMatchObject({ code: 'already_joined' });
  await expect(house.controller.disconnect(GATEWAY, 'maria', false)).rejects.toMatchObject({ code: 'not_connected' });
  expect(await comes(maria, WIRE.outside)).toBe(true);
  const jonas = await house.sandbox('jonas', [
    ['over', {}],
    [GATEWAY, {}],
  ]);
  expect(gatewayOf(house, 'jonas')).toBeUndefined();
  expect(await links(jonas)).toEqual(['eth0', 'eth1', 'lo']);
  const by = await defaults(jonas);
  await house.controller.disconnect(GATEWAY, 'jonas', false);
  expect(gatewayOf(house, 'jonas')).toBeDefined();
  expect(await defaults(jonas)).toEqual(by);
  expect(await comes(jonas, WIRE.outside)).toBe(true);
  // One that is stuck can be removed by force: another one comes.
  const old = gatewayOf(house, 'jonas');
  await house.controller.deleteEndpoint(old?.id ?? '', true);
  expect(gatewayOf(house, 'jonas')?.id).not.toBe(old?.id);
  expect(await comes(jonas, WIRE.outside)).toBe(true);
});

test('where it has no room nothing changes, unless that is forced, and it comes when there is room', async () => {
  const house = await houseWithOverlay();
  await house.network('net');
  // The gateway's own address, and one more.
  await house.network(GATEWAY, { ipam: { config: [{ subnet: '10.99.0.0/30' }] } });
  await house.sandbox('first', [['over', {}]]);
  await expect(house.sandbox('second', [['over', {}]])).rejects.toMatchObject({ code: 'no_free_address' });
  const maria = await house.sandbox('maria', [['net', {}]]);
  await expect(house.controller.connect('over', 'maria', {})).resolves.toBeDefined();
  const before = await house.world();
  await expect(house.controller.disconnect('net', 'maria', false)).rejects.toMatchObject({ code: 'no_free_address' });
  expect(await house.world()).toEqual(before);
  await house.controller.disconnect('net', 'maria', true);
  expect(await links(maria)).toEqual(['eth1', 'lo']);
  await house.controller.disconnect('over', 'first', false);
  await house.controller.mend();
  expect(await comes(maria, WIRE.outside)).toBe(true);
});

test('a start, and a look at what others took, put it back as it was', async () => {
  const house = await houseWithOverlay();
  const maria = await house.sandbox('maria', [['over', {}]], { portBindings: PORTS });
  const before = await house.world();
  await house.start();
  expect(await house.world()).toEqual(before);
  await publishes(house);
  const bridge = `br-${house.controller.network(GATEWAY).id.slice(0, 12)}`;
  await house.host.exec('ip', ['link', 'del', bridge]);
  await house.controller.mend();
  await publishes(house);
  await house.host.exec('sh', ['-ec', `ip link del ${bridge}; iptables -F; iptables -t nat -F`]);
  await maria.exec('ip', ['route', 'del', 'default']);
  await house.start();
  await eventually(async () => ((await comes(maria, WIRE.outside)) ? true : undefined), 'the outside answers');
  await publishes(house);
  expect(await defaults(maria)).toEqual([`eth1 ${pool(house)}`]);
});

test('many sandboxes at once share one, also while somebody removes it', async () => {
  const house = await houseWithOverlay();
  const names = Array.from({ length: 12 }, (_, i) => `box${i}`);
  await Promise.all(
    names.map(async (name, i) => {
      await house.controller.createSandbox({ name, networks: [['over', {}]] });
      // Refused while it is in use; whoever comes after a removal makes another one.
      if (i % 3 === 0) await house.controller.deleteNetwork(GATEWAY).catch(() => {});
      await house.controller.deleteSandbox(name, false);
      await house.controller.createSandbox({ name, networks: [['over', {}]] });
    }),
  );
  expect(house.controller.networks().filter((net) => net.name === GATEWAY)).toHaveLength(1);
  for (const name of names) expect(gatewayOf(house, name)).toBeDefined();
  await Promise.all(names.map((name) => house.controller.deleteSandbox(name, false)));
  expect(house.controller.endpoints()).toEqual([]);
});
