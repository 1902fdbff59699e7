/** While the daemon runs others take things away: links, rules, namespaces. The next look puts them back. */

import { mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { removeNetnsPin } from '../../src/kernel/index.ts';
import { House, WIRE } from './house-lab.ts';
import { ask } from './firewall-lab.ts';

const PORTS = { '80/tcp': [{ HostIp: '', HostPort: '8080' }] };

/** Two sandboxes on one network of both families, the first with a published port, and what it all looks like. */
async function busy() {
  const house = await House.open();
  const id = await house.network('net', { enableIPv6: true, options: { 'com.docker.network.driver.mtu': '1400' } });
  await house.sandbox('web', [['net', {}]], { portBindings: PORTS });
  const client = await house.sandbox('client', [['net', {}]]);
  const bridge = `br-${id.slice(0, 12)}`;
  const works = async (): Promise<void> => {
    const inside = house.address('web', 'net');
    expect(await ask(client, inside, 80)).toMatch(/^web /);
    expect(await ask(client, house.address('web', 'net', 6), 80)).toMatch(/^web /);
    expect(await ask(house.outside, WIRE.host, 8080)).toMatch(/^web /);
    expect(await ask(house.outside, WIRE.host6, 8080)).toMatch(/^web /);
    expect(await ask(house.host, '127.0.0.1', 8080)).toMatch(/^web /);
  };
  await works();
  const ports = (await house.host.exec('sh', ['-c', `ls /sys/class/net/ 2>/dev/null; ip -o link show master ${bridge}`])).stdout
    .split('\n')
    .flatMap((line) => /\d+: (veth[0-9a-f]+)/.exec(line)?.[1] ?? []);
  expect(ports).toHaveLength(2);
  const links = async (): Promise<string[]> => {
    const { stdout } = await house.host.exec('sh', ['-c', `ip -o link show ${bridge}; ip -o -d link show master ${bridge}`]);
    const lines = stdout
      .split('\n')
      .map((line) => /^\d+: ([^:@]+).* mtu (\d+) .*link\/ether (\S+)(?:.* (hairpin \S+))?/.exec(line)?.slice(1) ?? []);
    // A pair that is made again has another MAC on the host's side, which nobody sees.
    return lines.map(([name, mtu, mac, hairpin]) => `${name} ${mtu} ${name === bridge ? mac : hairpin}`).sort();
  };
  return { house, id, bridge, ports, works, client, links };
}

/** A script that puts `rule` in the place of the first rule of our own chains that has `text`. */
const replaced = (tool: string, text: string, rule: string): string =>
  `chain=$(${tool} -S | grep -e '^-A P' | grep -e '${text}' | head -n 1 | cut -d' ' -f2)
   number=$(${tool} -S "$chain" | grep -e '^-A' | grep -n -e '${text}' | head -n 1 | cut -d: -f1)
   ${tool} -R "$chain" "$number" ${rule}`;

/** Without the policy of FORWARD, which is closed where forwarding had to be switched on. */
const withoutPolicy = (rules: unknown): unknown =>
  JSON.parse(JSON.stringify(rules).replaceAll(':FORWARD DROP ', ':FORWARD ACCEPT '));

/** Without how somebody's bridge was before it took the part of ours. */
const withoutAdoption = (records: unknown): unknown =>
  JSON.parse(JSON.stringify(records, (key, value: unknown) => (key === 'adoption' ? undefined : value)));

type Busy = Awaited<ReturnType<typeof busy>>;

describe('what somebody took away is back after the next look', () => {
  test.each<[string, (at: Busy) => string]>([
    [
      'all rules of IPv4 and IPv6',
      () => 'for t in iptables ip6tables; do for c in filter nat raw; do $t -t $c -F; $t -t $c -X; done; done',
    ],
    [
      'our jump from FORWARD',
      () => "iptables -S FORWARD | grep PATCHBAY- | sed 's/^-A/-D/' | while read l; do iptables $l; done",
    ],
    [
      'one rule of the published port',
      () => 'iptables -t nat -S | grep DNAT.*to-dest | sed s/^-A/-D/ | while read l; do iptables -t nat $l; done',
    ],
    [
      'a rule of the published port, and another one stands in its place',
      () => replaced('iptables -t nat', 'DNAT --to-dest', '-p tcp -m tcp --dport 9 -j ACCEPT'),
    ],
    ['what closes the network, and a rule that opens it stands there', () => replaced('ip6tables', '-j DROP', '-j ACCEPT')],
    [
      'the order of what closes the network and what opens it',
      ({ bridge }) =>
        `for t in iptables ip6tables; do chain=$($t -S | sed -n 's/^-N \\(PBN-.*-${bridge}\\)$/\\1/p'); $t -D $chain -j DROP; $t -I $chain -j DROP; done`,
    ],
    ['that the host forwards IPv4', () => 'sysctl -qw net.ipv4.ip_forward=0'],
    ['that the host forwards IPv6', () => 'sysctl -qw net.ipv6.conf.all.forwarding=0'],
    ["that the host's 127.0.0.1 leads there", ({ bridge }) => `sysctl -qw net.ipv4.conf.${bridge}.route_localnet=0`],
    ['the bridge', ({ bridge }) => `ip link del ${bridge}`],
    [
      'the bridge, and another one stands in its place',
      ({ bridge }) => `ip link del ${bridge}; ip link add ${bridge} type bridge`,
    ],
    ["the bridge's being up", ({ bridge }) => `ip link set ${bridge} down`],
    ["the bridge's MTU", ({ bridge }) => `ip link set ${bridge} mtu 1300`],
    ["a port's MTU", ({ ports }) => `ip link set ${ports[0]} mtu 1300`],
    ["the bridge's MAC", ({ bridge }) => `ip link set ${bridge} address 02:00:00:00:00:77`],
    ["the bridge's addresses", ({ bridge }) => `ip addr flush dev ${bridge}`],
    ["the bridge's name", ({ bridge }) => `ip link set ${bridge} down; ip link set ${bridge} name other0; ip link set other0 up`],
    [
      "the bridge's name, and another one has it",
      ({ bridge }) => `ip link set ${bridge} down; ip link set ${bridge} name other0; ip link set other0 up
        ip link add ${bridge} type bridge`,
    ],
    ["a port's name", ({ ports }) => `ip link set ${ports[0]} down; ip link set ${ports[0]} name other0; ip link set other0 up`],
    ['a port', ({ ports }) => `ip link del ${ports[0]}`],
    ['a port, which is in another namespace now', ({ ports, house }) => `ip link set ${ports[0]} netns ${house.outside.path}`],
    ["a port's way back to itself", ({ ports }) => `bridge link set dev ${ports[0]} hairpin off`],
    ["a port's place on the bridge", ({ ports }) => `ip link set ${ports[1]} nomaster`],
    [
      'both ports and all rules',
      ({ ports }) => `ip link del ${ports[0]}; ip link set ${ports[1]} down; iptables -F; iptables -t nat -F`,
    ],
  ])('%s', async (_what, command) => {
    const at = await busy();
    const before = await at.house.world();
    const linksBefore = await at.links();
    await at.house.controller.mend();
    await at.house.host.exec('sh', ['-ec', command(at)]);
    await at.house.controller.mend();
    await at.works();
    expect(await at.links()).toEqual(linksBefore);
    const { rules, records, keeper } = await at.house.world();
    expect(withoutPolicy(rules)).toEqual(withoutPolicy(before.rules));
    expect(keeper).toEqual(before.keeper);
    const isStrangers = command(at).includes('type bridge');
    expect(isStrangers ? withoutAdoption(records) : records).toEqual(before.records);
    expect(at.house.controller.network('net').record.degraded).toBeUndefined();
  });

  test('the link-local address of a bridge, from which the host looks for IPv6 neighbours', async () => {
    const { house, bridge, works } = await busy();
    const linkLocal = async (): Promise<string> =>
      (await house.host.exec('ip', ['-6', 'addr', 'show', 'dev', bridge, 'scope', 'link'])).stdout;
    expect(await linkLocal()).toContain('fe80::');
    await house.host.exec('ip', ['-6', 'addr', 'flush', 'dev', bridge, 'scope', 'link']);
    await house.controller.mend();
    expect(await linkLocal()).toContain('fe80::');
    await works();
  });

  test('a namespace that lost its pin is pinned again by the process of the sandbox; one without is removed', async () => {
    const { house, works } = await busy();
    const { exec } = house.inside('web');
    const child = exec('sleep', ['600'], { reject: false });
    const pid = await pidIn(house, 'web', 'sleep');
    await house.controller.setProcess('web', pid);
    const keyOf = (name: string): string => house.controller.sandbox(name).record.key;
    for (const name of ['web', 'client']) {
      removeNetnsPin(keyOf(name));
    }
    const client = house.controller.sandbox('client').id;
    await house.controller.mend();
    expect(house.controller.sandboxes().map((s) => s.name)).toEqual(['web']);
    expect(readdirSync(join(house.runDir, 'sandboxes'))).not.toContain(client.slice(0, 12));
    expect(await ask(house.outside, WIRE.host, 8080)).toMatch(/^web /);
    await house.sandbox('client', [['net', {}]]);
    // With another thing in its place, which is kept.
    removeNetnsPin(keyOf('web'));
    mkdirSync(keyOf('web'));
    await house.controller.mend();
    expect(house.controller.sandboxes().map((s) => s.name)).toContain('web');
    expect(readdirSync(join(house.runDir, 'netns'))).toContain(`${basename(keyOf('web'))}.aside`);
    void works;
    process.kill(pid, 'SIGKILL');
    await child;
  });
});

test.each<[what: string, put: (path: string) => void]>([
  ['a file', (path) => writeFileSync(path, 'x')],
  ['a folder', (path) => mkdirSync(join(path, 'more'), { recursive: true })],
  ['a link', (path) => symlinkSync('/proc/self/ns/net', path)],
])('%s in the place of a pin: the sandbox is removed, and its name is free', async (_what, put) => {
  const { house } = await busy();
  const { key } = house.controller.sandbox('client').record;
  removeNetnsPin(key);
  put(key);
  await house.controller.mend();
  expect(house.controller.sandboxes().map(({ name }) => name)).toEqual(['web']);
  expect(readdirSync(join(house.runDir, 'netns'))).toContain(basename(key));
  await house.sandbox('client', [['net', {}]]);
});

test('what was renamed goes with its endpoint and its network all the same', async () => {
  const { house, bridge, ports, client } = await busy();
  const rename = (was: string, name: string): string =>
    `ip link set ${was} down; ip link set ${was} name ${name}; ip link set ${name} up`;
  await house.host.exec('sh', ['-ec', [...ports, bridge].map((port, i) => rename(port, `other${i}`)).join('\n')]);
  await house.controller.disconnect('net', 'client', false);
  await house.controller.disconnect('net', 'web', false);
  expect((await client.exec('ip', ['-br', 'link'])).stdout).not.toContain('eth0');
  await house.controller.deleteNetwork('net');
  expect((await house.host.exec('ip', ['-br', 'link'])).stdout).not.toMatch(/^other\d[^\n]* UP/m);
});

test('ports that keep sandboxes apart do so again when somebody has opened them', async () => {
  const house = await House.open();
  const id = await house.network('apart', { options: { 'com.docker.network.bridge.enable_icc': 'false' } });
  for (const name of ['one', 'two']) await house.sandbox(name, [['apart', {}]]);
  const { stdout } = await house.host.exec('ip', ['-br', 'link', 'show', 'master', `br-${id.slice(0, 12)}`]);
  const ports = stdout.match(/^veth[0-9a-f]+/gm) ?? [];
  expect(ports).toHaveLength(2);
  const isolated = async (): Promise<unknown[]> =>
    (await house.host.exec('bridge', ['-d', 'link'])).stdout.match(/isolated (?:on|off)/g) ?? [];
  for (const again of [() => house.controller.mend(), () => house.start()]) {
    for (const port of ports) await house.host.exec('bridge', ['link', 'set', 'dev', port, 'isolated', 'off']);
    expect(await isolated()).toEqual(['isolated off', 'isolated off']);
    await again();
    expect(await isolated()).toEqual(['isolated on', 'isolated on']);
  }
});

test('an interface whose other side is in another namespace goes with its endpoint, and is no second one beside the next', async () => {
  const { house, ports, works, client } = await busy();
  const links = async (): Promise<string> => (await client.exec('ip', ['-br', 'link'])).stdout.replaceAll(/@.*/g, '');
  const before = await links();
  for (const port of ports) await house.host.exec('ip', ['link', 'set', port, 'netns', house.outside.path]);
  await house.controller.disconnect('net', 'client', false);
  expect(await links()).not.toContain('eth0');
  await house.controller.connect('net', 'client', {});
  expect(await links()).toBe(before);
  await house.controller.mend();
  await works();
  expect((await house.outside.exec('ip', ['-br', 'link'])).stdout).not.toContain('veth');
});

test('a bridge of somebody that was put in the place of ours is as he made it when the network is gone', async () => {
  const { house, bridge, works } = await busy();
  await house.host.exec('sh', ['-ec', `ip link del ${bridge}; ip link add ${bridge} address 02:00:00:00:00:99 type bridge`]);
  await house.host.exec('sh', ['-ec', `ip addr add 203.0.113.9/24 dev ${bridge}; ip link set ${bridge} up`]);
  const look = async (): Promise<string> => {
    const script = `ip link show ${bridge} | grep -o -e 'mtu [0-9]*' -e 'ether [0-9a-f:]*'; ip -br addr show ${bridge} scope global
      sysctl net.ipv4.conf.${bridge}.route_localnet net.ipv6.conf.${bridge}.accept_ra net.ipv6.conf.${bridge}.disable_ipv6`;
    return (await house.host.exec('sh', ['-ec', script])).stdout.replace(/ UP | DOWN /, ' ');
  };
  const before = await look();
  await house.controller.mend();
  await works();
  await house.start();
  await works();
  for (const name of ['web', 'client']) await house.controller.deleteSandbox(name, true);
  await house.controller.deleteNetwork('net');
  expect(await look()).toBe(before);
});

test("a bridge keeps the network's MTU when its last port leaves, so that no look takes that for somebody's doing", async () => {
  const { house, links } = await busy();
  const [bridge] = await links();
  for (const name of ['web', 'client']) await house.controller.disconnect('net', name, false);
  expect(await links()).toEqual([bridge]);
});

test('a look that finds all as it was changes nothing', async () => {
  const { house } = await busy();
  const before = await house.world();
  for (let i = 0; i < 14; i++) await house.controller.mend();
  expect(await house.world()).toEqual(before);
});

test('a network that cannot be mended is degraded, said so, removable, and well again when the reason is gone', async () => {
  const { house, bridge, works } = await busy();
  await house.network('other');
  const foreign = `ip link del ${bridge}; ip link add ${bridge} type veth peer name foreign1`;
  await house.host.exec('sh', ['-ec', foreign]);
  await house.controller.mend();
  expect(house.controller.network('net').record.degraded).toContain(`existing interface ${bridge} is not a bridge`);
  expect(house.controller.network('other').record.degraded).toBeUndefined();
  await house.host.exec('ip', ['link', 'del', bridge]);
  for (let round = 0; round < 6; round++) await house.controller.mend();
  expect(house.controller.network('net').record.degraded).toBeUndefined();
  await works();
  await house.host.exec('sh', ['-ec', foreign]);
  await house.controller.mend();
  for (const name of ['web', 'client']) await house.controller.deleteSandbox(name, true);
  await house.controller.deleteNetwork('net');
  expect((await house.host.exec('ip', ['link', 'show', bridge])).stdout).toContain('foreign1');
});

test('a connect while a link that is no bridge has its name says what is in the way, until that is gone', async () => {
  const { house, bridge, works } = await busy();
  await house.network('other');
  await house.sandbox('late', [['other', {}]]);
  await house.host.exec('sh', ['-ec', `ip link del ${bridge}; ip link add ${bridge} type veth peer name foreign1`]);
  const inTheWay = {
    code: 'name_taken',
    message: expect.stringMatching(`link ${bridge} of kind veth is in the place.*rename or remove`),
  };
  // Before and after a look has found it.
  await expect(house.controller.connect('net', 'late', {})).rejects.toMatchObject(inTheWay);
  await expect(house.controller.connect('net', 'late', {})).rejects.toMatchObject(inTheWay);
  await house.controller.mend();
  await expect(house.controller.connect('net', 'late', {})).rejects.toMatchObject(inTheWay);
  await house.host.exec('ip', ['link', 'del', bridge]);
  for (let round = 0; round < 6; round++) await house.controller.mend();
  await house.controller.connect('net', 'late', {});
  await works();
});

test('looks and changes at the same time disturb nobody', async () => {
  const { house, bridge, works } = await busy();
  await house.network('second');
  const before = await house.world();
  const looks = (async () => {
    for (let i = 0; i < 20; i++) {
      if (i % 5 === 0) await house.host.exec('ip', ['link', 'set', bridge, 'down']);
      await house.controller.mend();
    }
  })();
  for (let i = 0; i < 20; i++) {
    await house.controller.connect('second', 'client', {});
    await house.controller.disconnect('second', 'client', false);
    await house.controller.createSandbox({ name: 'passing', networks: [['net', {}]] });
    await house.controller.deleteSandbox('passing', false);
  }
  await looks;
  await house.controller.mend();
  await works();
  expect((await house.world()).kernel['host']?.['links']).toEqual(before.kernel['host']?.['links']);
});

async function pidIn(house: House, sandbox: string, command: string): Promise<number> {
  const { key } = house.controller.sandbox(sandbox).record;
  const deadline = performance.now() + 10_000;
  for (;;) {
    const { stdout } = await house.host.exec('sh', [
      '-c',
      `for p in /proc/[0-9]*; do [ "$(stat -Lc %i $p/ns/net 2>/dev/null)" = "$(stat -Lc %i ${key})" ] && echo "$(basename $p) $(cat $p/comm)"; done; true`,
    ]);
    const found = stdout.split('\n').find((line) => line.endsWith(` ${command}`));
    if (found !== undefined) return Number.parseInt(found, 10);
    if (performance.now() > deadline) throw new Error(`no ${command} in ${sandbox}`);
  }
}
