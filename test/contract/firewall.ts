/** What every Firewall owes its callers, shown with real packets. Needs root. */

import { describe, expect, onTestFinished, test } from 'vitest';
import { codeOf, type Address } from '../../src/base/index.ts';
import type { Firewall } from '../../src/firewall/index.ts';
import type { Mark, Netns } from '../../src/kernel/index.ts';
import {
  ask,
  askUdp,
  makeLab,
  markOf,
  network,
  probe,
  publish,
  publishRules,
  serve,
  withdraw,
  type Lab,
} from '../kernel/firewall-lab.ts';

export interface FirewallManifest {
  /** A firewall on `host` that has changed nothing yet. */
  readonly open: (host: Netns, mark: Mark) => Promise<Firewall>;
}

type Start = () => Promise<{ lab: Lab; firewall: Firewall }>;

/** Host address, endpoint address of `a`, `b` and `c`, client, per family. */
const FAMILIES = [
  {
    family: 4,
    host: '192.0.2.1',
    client: '192.0.2.2',
    a: '10.1.0.2',
    b: '10.2.0.2',
    c: '10.1.0.3',
    gateway: '10.1.0.1',
    other: '10.2.0.1',
  },
  {
    family: 6,
    host: '2001:db8::1',
    client: '2001:db8::2',
    a: 'fd01::2',
    b: 'fd02::2',
    c: 'fd01::3',
    gateway: 'fd01::1',
    other: 'fd02::1',
  },
] as const;

async function opened(manifest: FirewallManifest, lab: Lab, tag: string): Promise<Firewall> {
  const firewall = await manifest.open(lab.host.host, markOf(tag));
  onTestFinished(() => firewall.close());
  return firewall;
}

export function firewallContract(name: string, manifest: FirewallManifest): void {
  const start: Start = async () => {
    const lab = await makeLab();
    return { lab, firewall: await opened(manifest, lab, 'c0ffee00') };
  };
  describe(`firewall contract: ${name}`, () => {
    for (const at of FAMILIES) publishing(at, start);
    for (const at of FAMILIES) separation(at, start);
    for (const at of FAMILIES) modes(at, start);
    loopback(start);
    desiredState(start, manifest);
  });
}

type At = (typeof FAMILIES)[number];

function publishing({ family, host, client, a, c, gateway, other }: At, start: Start): void {
  test(`IPv${family}: a published port answers outside, on the host, and inside, and the outside keeps its address`, async () => {
    const { lab, firewall } = await start();
    await firewall.apply([network('a'), network('b'), publish('a', 8080)]);
    expect(await ask(lab.client, host, 8080)).toBe(`a ${client}`);
    expect(await ask(lab.host, host, 8080)).toBe(`a ${gateway}`);
    expect(await ask(lab.b, host, 8080)).toBe(`a ${gateway}`);
    expect(await ask(lab.b, other, 8080)).toBe(`a ${gateway}`);
    // Hairpin: an endpoint to itself and to its neighbour.
    expect(await ask(lab.a, host, 8080)).toBe(`a ${gateway}`);
    expect(await ask(lab.c, host, 8080)).toBe(`a ${gateway}`);
    expect(await ask(lab.c, gateway, 8080)).toBe(`a ${gateway}`);
  });

  test(`IPv${family}: the endpoint's own address stays closed outside, published port or not`, async () => {
    const { lab, firewall } = await start();
    serve(lab.a, 'a', 81);
    await firewall.apply([network('a'), publish('a', 8080)]);
    expect(await Promise.all([probe(lab.client, a, 80), probe(lab.client, a, 81), probe(lab.client, c, 80)])).toEqual([
      'nothing',
      'nothing',
      'nothing',
    ]);
    expect(await ask(lab.client, host, 80)).toBe(`host ${client}`);
  });

  test(`IPv${family}: withdrawn ports are closed and the others stay`, async () => {
    const { lab, firewall } = await start();
    await firewall.apply([network('a'), publish('a', 8080), publish('c', 8081)]);
    expect(await ask(lab.client, host, 8080)).toBe(`a ${client}`);
    await firewall.apply([withdraw(publish('a', 8080))]);
    expect(await ask(lab.client, host, 8080)).toBe('refused');
    expect(await ask(lab.client, host, 8081)).toBe(`c ${client}`);
    await firewall.apply([publish('c', 8080)]);
    expect([await ask(lab.client, host, 8080), await ask(lab.client, host, 8081)]).toEqual([`c ${client}`, 'refused']);
  });
}

function separation({ family, host, client, a, b, c, gateway }: At, start: Start): void {
  test(`IPv${family}: endpoints reach outside under the host's address, and their neighbours directly`, async () => {
    const { lab, firewall } = await start();
    await firewall.apply([network('a'), network('b')]);
    expect(await ask(lab.a, client, 80)).toBe(`client ${host}`);
    expect(await ask(lab.a, c, 80)).toBe(`c ${a}`);
    expect(await ask(lab.host, a, 80)).toBe(`a ${gateway}`);
    expect(await ask(lab.a, gateway, 80)).toBe(`host ${a}`);
  });

  test(`IPv${family}: networks do not reach each other's endpoints`, async () => {
    const { lab, firewall } = await start();
    await firewall.apply([network('a'), network('b'), publish('b', 8080)]);
    expect(await Promise.all([probe(lab.a, b, 80), probe(lab.b, a, 80)])).toEqual(['nothing', 'nothing']);
    expect(await ask(lab.b, gateway, 80)).toBe(`host ${b}`);
  });

  test(`IPv${family}: an internal network reaches only itself, and nobody else reaches it`, async () => {
    const { lab, firewall } = await start();
    await firewall.apply([network('a', { internal: true }), network('b'), publish('b', 8080)]);
    expect(await ask(lab.a, c, 80)).toBe(`c ${a}`);
    const tries = [
      probe(lab.a, client, 80),
      probe(lab.client, a, 80),
      probe(lab.b, a, 80),
      probe(lab.a, b, 80),
      probe(lab.a, host, 8080),
    ];
    expect(await Promise.all(tries)).toEqual(['nothing', 'nothing', 'nothing', 'nothing', 'nothing']);
  });

  test(`IPv${family}: endpoints kept apart reach each other's published ports only`, async () => {
    const { lab, firewall } = await start();
    const setting = family === 4 ? 'bridge-nf-call-iptables' : 'bridge-nf-call-ip6tables';
    await lab.host.exec('sh', ['-ec', `echo 1 > /proc/sys/net/bridge/${setting}`]);
    await firewall.apply([network('a', { icc: false }), publish('c', 8080)]);
    expect(await probe(lab.a, c, 80)).toBe('nothing');
    expect(await ask(lab.a, host, 8080)).toBe(`c ${gateway}`);
    expect(await ask(lab.a, client, 80)).toBe(`client ${host}`);
  });
}

function modes({ family, host, client, a, c, b }: At, start: Start): void {
  test(`IPv${family}: without masquerading the outside sees the endpoint's address, whose ports stay closed`, async () => {
    const { lab, firewall } = await start();
    await firewall.apply([network('a', { both: { masquerade: false } }), publish('a', 8080)]);
    expect(await ask(lab.a, client, 80)).toBe(`client ${a}`);
    expect(await ask(lab.client, host, 8080)).toBe(`a ${client}`);
    expect(await probe(lab.client, a, 80)).toBe('nothing');
  });

  test(`IPv${family}: a fixed source address is used instead of the route's`, async () => {
    const { lab, firewall } = await start();
    const fixed = family === 4 ? '192.0.2.9' : '2001:db8::9';
    await lab.host.exec('ip', [
      'addr',
      'add',
      `${fixed}/${family === 4 ? 24 : 64}`,
      'dev',
      'eth0',
      ...(family === 6 ? ['nodad'] : []),
    ]);
    await firewall.apply([network('a', { [`v${family}`]: { snatTo: fixed as Address } })]);
    expect(await ask(lab.a, client, 80)).toBe(`client ${fixed}`);
  });

  test(`IPv${family}: routed endpoints answer under their own address, on published ports and to ping`, async () => {
    const { lab, firewall } = await start();
    await firewall.apply([network('a', { both: { mode: 'routed' } }), network('b'), publish('a', 0, { mode: 'routed' })]);
    expect(await ask(lab.client, a, 80)).toBe(`a ${client}`);
    expect(await ask(lab.b, a, 80)).toMatch(/^a /);
    expect(await ask(lab.a, client, 80)).toBe(`client ${a}`);
    expect(await Promise.all([probe(lab.client, c, 80), probe(lab.b, c, 80)])).toEqual(['nothing', 'nothing']);
    await lab.client.exec('ping', ['-c1', '-W5', c]);
  });

  test(`IPv${family}: unprotected endpoints are open under their own address, and their host ports work`, async () => {
    const { lab, firewall } = await start();
    await firewall.apply([network('a', { both: { mode: 'nat-unprotected' } }), publish('a', 8080, { mode: 'nat-unprotected' })]);
    expect(await ask(lab.client, c, 80)).toBe(`c ${client}`);
    expect(await ask(lab.client, host, 8080)).toBe(`a ${client}`);
    expect(await ask(lab.a, client, 80)).toBe(`client ${host}`);
  });

  test(`IPv${family}: a trusted interface reaches published ports under the endpoint's own address`, async () => {
    const { lab, firewall } = await start();
    await firewall.apply([network('a', { trustedInterfaces: ['eth0'] }), network('b'), publish('a', 8080)]);
    expect(await ask(lab.client, a, 80)).toBe(`a ${client}`);
    expect(await Promise.all([probe(lab.client, c, 80), probe(lab.b, a, 80)])).toEqual(['nothing', 'nothing']);
    expect(b).not.toBe(a);
  });
}

function loopback(start: Start): void {
  test('a port published on one host address answers there only', async () => {
    const { lab, firewall } = await start();
    await lab.host.exec('ip', ['addr', 'add', '192.0.2.9/24', 'dev', 'eth0']);
    await firewall.apply([network('a'), publishRules('a', [{ hostAddress: '192.0.2.9' as Address }])]);
    expect(await ask(lab.client, '192.0.2.9', 8080)).toBe('a 192.0.2.2');
    expect(await ask(lab.client, '192.0.2.1', 8080)).toBe('refused');
  });

  test('a port published on the loopback address answers the host and nobody else', async () => {
    const { lab, firewall } = await start();
    await firewall.apply([network('a'), publishRules('a', [{ hostAddress: '127.0.0.1' as Address }])]);
    expect(await ask(lab.host, '127.0.0.1', 8080)).toBe('a 10.1.0.1');
    expect(await ask(lab.client, '192.0.2.1', 8080)).toBe('refused');
    // Somebody has made 127.0.0.0/8 routable on the outer link.
    await lab.host.exec('sysctl', ['-qw', 'net.ipv4.conf.eth0.route_localnet=1']);
    await hostileTo(lab, 'client', '192.0.2.1');
    expect(await ask(lab.client, '127.0.0.1', 80)).toMatch(/^host /);
    expect(await probe(lab.client, '127.0.0.1', 8080)).toBe('nothing');
  });

  test('a port published everywhere answers on 127.0.0.1 too', async () => {
    const { lab, firewall } = await start();
    await firewall.apply([network('a'), publish('a', 8080)]);
    expect(await ask(lab.host, '127.0.0.1', 8080)).toBe('a 10.1.0.1');
    expect(await ask(lab.host, '127.1.2.3', 8080)).toBe('a 10.1.0.1');
  });

  test('the IPv6 loopback address, which cannot lead to an endpoint, refuses at once', async () => {
    const { lab, firewall } = await start();
    await firewall.apply([network('a'), publish('a', 8080)]);
    expect(await ask(lab.host, '::1', 8080)).toBe('refused');
    expect(await ask(lab.host, 'fd01::1', 8080)).toBe('a fd01::1');
  });

  test('endpoints cannot reach what the host serves on its loopback', async () => {
    const { lab, firewall } = await start();
    await hostileTo(lab, 'a', '10.1.0.1');
    expect(await ask(lab.a, '127.0.0.1', 80)).toMatch(/^host /);
    await firewall.apply([network('a')]);
    expect(await probe(lab.a, '127.0.0.1', 80)).toBe('nothing');
  });

  test('UDP ports lead to the endpoint', async () => {
    const { lab, firewall } = await start();
    await firewall.apply([network('a'), publishRules('a', [{ protocol: 'udp', hostPort: 5353, port: 53 }])]);
    expect(await askUdp(lab.client, '192.0.2.1', 5353)).toBe('a 192.0.2.2');
    expect(await askUdp(lab.host, '127.0.0.1', 5353)).toBe('a 10.1.0.1');
  });
}

/** Makes `place` take 127.0.0.1 for its router's, as a hostile neighbour would. */
async function hostileTo(lab: Lab, place: 'a' | 'client', router: string): Promise<void> {
  const own = place === 'a' ? '10.1.0.2' : '192.0.2.2';
  await lab[place].exec('sh', [
    '-ec',
    `sysctl -qw net.ipv4.conf.eth0.route_localnet=1; ip addr del 127.0.0.1/8 dev lo; ip route add 127.0.0.1 via ${router} src ${own}`,
  ]);
}

function desiredState(start: Start, manifest: FirewallManifest): void {
  test('the same twice and an unknown owner are harmless; an owner named twice has its last wish', async () => {
    const { lab, firewall } = await start();
    const changes = [network('a'), publish('a', 8080)];
    await firewall.apply(changes);
    await firewall.apply(changes);
    await firewall.apply([withdraw({ owner: 'f'.repeat(64) })]);
    expect(await ask(lab.client, '192.0.2.1', 8080)).toBe('a 192.0.2.2');
    await firewall.apply([withdraw(publish('a', 0)), publish('a', 8081)]);
    expect([await ask(lab.client, '192.0.2.1', 8080), await ask(lab.client, '192.0.2.1', 8081)]).toEqual([
      'refused',
      'a 192.0.2.2',
    ]);
  });

  test('changes made at the same time are all there in the end', async () => {
    const { lab, firewall } = await start();
    await Promise.all([
      firewall.apply([network('a')]),
      firewall.apply([publish('a', 8080)]),
      firewall.apply([publish('c', 8081)]),
    ]);
    expect([await ask(lab.client, '192.0.2.1', 8080), await ask(lab.client, '192.0.2.1', 8081)]).toEqual([
      'a 192.0.2.2',
      'c 192.0.2.2',
    ]);
  });

  test('a start makes the rules exactly what is wished, whatever a predecessor left', async () => {
    const { lab, firewall } = await start();
    await firewall.apply([network('a'), network('b', { internal: true }), publish('a', 8080)]);
    const successor = await opened(manifest, lab, 'c0ffee00');
    await successor.sync([network('a'), network('b'), publish('c', 8081)]);
    expect([await ask(lab.client, '192.0.2.1', 8080), await ask(lab.client, '192.0.2.1', 8081)]).toEqual([
      'refused',
      'c 192.0.2.2',
    ]);
    expect(await ask(lab.b, '192.0.2.2', 80)).toBe('client 192.0.2.1');
  });

  test('a refused change throws firewall_failed and leaves everything as it was', async () => {
    const { lab, firewall } = await start();
    await firewall.apply([network('a'), publish('a', 8080)]);
    const bad = network('b', { v4: { snatTo: '2001:db8::1' as Address } });
    const failure = await firewall.apply([publish('c', 8081), withdraw(publish('a', 0)), bad]).catch((error: unknown) => error);
    expect(codeOf(failure)).toBe('firewall_failed');
    expect([await ask(lab.client, '192.0.2.1', 8080), await ask(lab.client, '192.0.2.1', 8081)]).toEqual([
      'a 192.0.2.2',
      'refused',
    ]);
    await firewall.apply([network('b'), publish('c', 8081)]);
    expect(await ask(lab.client, '192.0.2.1', 8081)).toBe('c 192.0.2.2');
  });

  test('a thousand ports come and go in one change each', async () => {
    const { lab, firewall } = await start();
    const many = publishRules(
      'a',
      Array.from({ length: 1000 }, (_, i) => ({ hostPort: 20000 + i, port: i === 777 ? 80 : 30000 + 2 * i })),
    );
    await firewall.apply([network('a'), many, publish('c', 8081)]);
    expect(await ask(lab.client, '192.0.2.1', 20777)).toBe('a 192.0.2.2');
    expect(await ask(lab.client, '192.0.2.1', 8081)).toBe('c 192.0.2.2');
    await firewall.apply([withdraw(many)]);
    expect([await ask(lab.client, '192.0.2.1', 20777), await ask(lab.client, '192.0.2.1', 8081)]).toEqual([
      'refused',
      'c 192.0.2.2',
    ]);
  });

  test('two instances work side by side, and one can go without the other', async () => {
    const { lab, firewall } = await start();
    const second = await opened(manifest, lab, 'c0ffee01');
    await Promise.all([firewall.sync([network('a'), publish('a', 8080)]), second.sync([network('b'), publish('b', 8081)])]);
    const answers = async (): Promise<string[]> => Promise.all([8080, 8081].map((port) => ask(lab.client, '192.0.2.1', port)));
    expect(await answers()).toEqual(['a 192.0.2.2', 'b 192.0.2.2']);
    expect(await Promise.all([probe(lab.a, '10.2.0.2', 80), probe(lab.b, '10.1.0.2', 80)])).toEqual(['nothing', 'nothing']);
    await firewall.purge();
    expect(await answers()).toEqual(['refused', 'b 192.0.2.2']);
  });

  test('after everything was removed the firewall can be used again', async () => {
    const { lab, firewall } = await start();
    await firewall.apply([network('a'), publish('a', 8080)]);
    await firewall.purge();
    await firewall.purge();
    expect(await ask(lab.client, '192.0.2.1', 8080)).toBe('refused');
    await firewall.apply([network('a'), publish('a', 8080)]);
    expect(await ask(lab.client, '192.0.2.1', 8080)).toBe('a 192.0.2.2');
  });
}
