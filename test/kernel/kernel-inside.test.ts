import { describe, expect, test } from 'vitest';
import { once } from 'node:events';
import { createSocket, type Socket } from 'node:dgram';
import { createServer, type Server } from 'node:net';
import { parseAddress, parseMac, parsePrefix, type Address } from '../../src/base/index.ts';
import {
  announce,
  deleteFlows,
  installResolverRedirect,
  localPort,
  openTcpListener,
  openUdpSocket,
  readSysctl,
  removeResolverRedirect,
  writeSysctl,
  type ConntrackMatch,
  type Netns,
} from '../../src/kernel/index.ts';
import { hostAt, testHosts, type TestHost } from './support.ts';

/** Two hosts joined by one link, `left` and `right` at its ends, with addresses .1 and .2. */
async function pair(): Promise<[TestHost, TestHost]> {
  const hosts = await testHosts(2);
  const [a, b] = [hostAt(hosts, 0), hostAt(hosts, 1)];
  await a.host.rtnl().batch([
    {
      op: 'link.add',
      spec: {
        kind: 'veth',
        name: 'left',
        index: 10,
        mac: parseMac('02:00:00:00:00:01'),
        peer: { name: 'right', index: 20, mac: parseMac('02:00:00:00:00:02'), netns: b.host },
      },
    },
  ]);
  for (const [host, link, end] of [
    [a.host, 10, 1],
    [b.host, 20, 2],
  ] as const) {
    await host.rtnl().batch([
      { op: 'address.add', spec: { link, prefix: parsePrefix(`10.7.0.${end}/24`) } },
      { op: 'address.add', spec: { link, prefix: parsePrefix(`fd07::${end}/64`), noDad: true } },
      { op: 'link.set', at: { index: link }, change: { up: true } },
    ]);
  }
  return [a, b];
}

async function until<T>(what: string, look: () => Promise<T | undefined>): Promise<T> {
  for (let tries = 0; tries < 100; tries++) {
    const found = await look();
    if (found !== undefined) return found;
    await new Promise((done) => setTimeout(done, 20));
  }
  throw new Error(`${what} did not happen`);
}

describe('a kernel setting', () => {
  test("is the namespace's own, by dots, slashes or segments", async () => {
    const hosts = await testHosts(2);
    const [a, b] = [hostAt(hosts, 0).host, hostAt(hosts, 1).host];
    writeSysctl(a, 'net.ipv4.ip_forward', '1');
    writeSysctl(b, 'net/ipv4/ip_forward', '0');
    expect([readSysctl(a, ['net', 'ipv4', 'ip_forward']), readSysctl(b, 'net.ipv4.ip_forward')]).toEqual(['1', '0']);
  });

  test('of a link whose name holds a dot is reached by segments', async () => {
    const { host } = hostAt(await testHosts(1), 0);
    await host.rtnl().batch([{ op: 'link.add', spec: { kind: 'bridge', name: 'br.7' } }]);
    const key = ['net', 'ipv4', 'conf', 'br.7', 'route_localnet'];
    writeSysctl(host, key, '1');
    expect(readSysctl(host, key)).toBe('1');
  });

  test('that does not exist reads as undefined and is written only when optional', async () => {
    const { host } = hostAt(await testHosts(1), 0);
    expect(readSysctl(host, 'net.ipv4.no_such_thing')).toBeUndefined();
    writeSysctl(host, 'net.ipv4.no_such_thing', '1', { optional: true });
    expect(() => writeSysctl(host, 'net.ipv4.no_such_thing', '1')).toThrow(expect.objectContaining({ errno: 'ENOENT' }));
    expect(() => writeSysctl(host, 'net.ipv4.ip_forward', 'nonsense')).toThrow(expect.objectContaining({ errno: 'EINVAL' }));
  });

  test.each([[['net', '..', 'kernel']], ['net..ipv4'], [['net', 'a/b']], [[]]])('named %j is refused', async (key) => {
    const { host } = hostAt(await testHosts(1), 0);
    expect(() => readSysctl(host, key)).toThrow('invalid sysctl key');
  });
});

describe('an announcement', () => {
  test('moves an address that neighbours know to another MAC', async () => {
    const [a, b] = await pair();
    const moved = parseMac('02:00:00:00:00:99');
    await Promise.all([b.exec('ping', ['-c1', '-W5', '10.7.0.1']), b.exec('ping', ['-c1', '-W5', 'fd07::1'])]);
    for (const address of [parseAddress('10.7.0.1'), parseAddress('fd07::1')]) {
      const known = (): Promise<readonly { mac?: string }[]> => b.host.rtnl().neighbour.list({ link: 20, address });
      expect((await known())[0]?.mac).toBe('02:00:00:00:00:01');
      // Linux ignores a change within a second of the last one (locktime); this test does not wait for that.
      writeSysctl(b.host, ['net', 'ipv4', 'neigh', 'right', 'locktime'], '0');
      announce(a.host, { link: 10, mac: moved, address });
      await until(`${address} at ${moved}`, async () => ((await known())[0]?.mac === moved ? true : undefined));
    }
  });

  test('on a link that is down fails and says so', async () => {
    const [a] = await pair();
    await a.host.rtnl().batch([{ op: 'link.set', at: { index: 10 }, change: { up: false } }]);
    const announcement = { link: 10, mac: parseMac('02:00:00:00:00:01'), address: parseAddress('10.7.0.1') };
    expect(() => announce(a.host, announcement)).toThrow(expect.objectContaining({ errno: 'ENETDOWN' }));
  });
});

describe('tracked flows', () => {
  const external = parseAddress('192.0.2.1');

  /** `a` translates UDP to 192.0.2.1:5353 to 10.7.0.2:53 and has one such flow, and one to port 99. */
  async function translated(): Promise<TestHost> {
    const [a] = await pair();
    await a.exec('nft', ['-f', '-'], {
      input: `table ip t { chain o { type nat hook output priority -100; ip daddr 192.0.2.1 udp dport 5353 dnat to 10.7.0.2:53; }; }`,
    });
    await a.host.rtnl().batch([{ op: 'route.add', spec: { family: 4, gateway: parseAddress('10.7.0.2') } }]);
    for (const port of ['5353', '99']) await a.exec('bash', ['-c', `echo x > /dev/udp/192.0.2.1/${port}`]);
    await until('both flows', async () =>
      (await a.exec('conntrack', ['-L', '-p', 'udp'])).stdout.split('\n').length >= 2 ? true : undefined,
    );
    return a;
  }

  const flows = async (host: TestHost): Promise<string[]> => {
    const { stdout } = await host.exec('conntrack', ['-L', '-f', 'ipv4', '-p', 'udp']);
    return stdout
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => /dport=(\d+)/.exec(line)?.[1] ?? '');
  };

  test('are deleted by the address they were translated to, others stay', async () => {
    const a = await translated();
    expect((await flows(a)).sort()).toEqual(['5353', '99']);
    expect(await deleteFlows(a.host, [{ family: 4, address: parseAddress('10.7.0.2') }])).toBe(1);
    expect(await flows(a)).toEqual(['99']);
    expect(await deleteFlows(a.host, [{ family: 4, address: parseAddress('10.7.0.2') }])).toBe(0);
  });

  test.each<[string, Partial<ConntrackMatch>, string[]]>([
    ['original source', { address: parseAddress('10.7.0.1') }, []],
    ['original destination', { address: external }, []],
    ['port and protocol', { protocol: 'udp', originalDestinationPort: 99 }, ['5353']],
    ['port of another protocol', { protocol: 'tcp', originalDestinationPort: 99 }, ['5353', '99']],
    ['destination and port together', { originalDestination: external, originalDestinationPort: 5353, protocol: 'udp' }, ['99']],
    ['port of the host itself', { isToHost: true, originalDestinationPort: 99, protocol: 'udp' }, ['5353', '99']],
    ['another destination', { originalDestination: parseAddress('192.0.2.9'), originalDestinationPort: 5353 }, ['5353', '99']],
  ])('by %s', async (_, match, left) => {
    const a = await translated();
    await deleteFlows(a.host, [{ family: 4, ...match }]);
    expect((await flows(a)).sort()).toEqual(left);
  });

  test('of the other family stay, of IPv6 go by their own address, and all at once is refused', async () => {
    const [a] = await pair();
    await a.exec('nft', ['-f', '-'], {
      input: `table ip6 t { chain o { type nat hook output priority -100; udp dport 5353 dnat to [fd07::2]:53; }; }`,
    });
    await a.exec('bash', ['-c', 'echo x > /dev/udp/fd07::2/99']);
    expect(await deleteFlows(a.host, [{ family: 6, address: parseAddress('fd07::7') }])).toBe(0);
    expect(await deleteFlows(a.host, [{ family: 6, address: parseAddress('fd07::2') }])).toBe(1);
    await expect(deleteFlows(a.host, [{ family: 4 }])).rejects.toMatchObject({ code: 'internal' });
  });
});

describe("the resolver's redirect", () => {
  const resolver = parseAddress('127.0.0.11');

  /** A DNS server on two ports of 127.0.0.11 that answers everything with `address`. */
  async function serve(netns: Netns, address: Address): Promise<{ udp: number; tcp: number; close: () => void }> {
    const answer = (query: Buffer): Buffer => {
      const reply = Buffer.concat([
        query.subarray(0, query.indexOf(0, 12) + 5),
        Buffer.from('c00c00010001000000000004', 'hex'),
        Buffer.from(address.split('.').map(Number)),
      ]);
      reply.writeUInt16BE(0x8180, 2);
      reply.writeUInt16BE(1, 6);
      reply.writeUInt32BE(0, 8);
      return reply;
    };
    const fds = netns.run(() => ({
      udp: openUdpSocket({ address: resolver, port: 0 }),
      tcp: openTcpListener({ address: resolver, port: 0 }),
    }));
    const udp: Socket = createSocket('udp4').on('message', (query, from) => udp.send(answer(query), from.port, from.address));
    udp.bind({ fd: fds.udp });
    const tcp: Server = createServer((client) =>
      client.on('data', (data) => {
        const reply = answer(data.subarray(2));
        client.end(Buffer.concat([Buffer.from([reply.length >> 8, reply.length & 255]), reply]));
      }),
    ).listen({ fd: fds.tcp });
    await once(tcp, 'listening');
    return { udp: localPort(fds.udp), tcp: localPort(fds.tcp), close: () => (udp.close(), tcp.close()) };
  }

  const dig = async (host: TestHost, ...options: string[]): Promise<string> =>
    (await host.exec('dig', ['+short', '+tries=1', '+time=2', ...options, '@127.0.0.11', 'name.test'], { reject: false })).stdout;

  test('brings questions over UDP and TCP to the ports, is replaced as a whole, and goes', async () => {
    const host = hostAt(await testHosts(1), 0);
    const table = 'patchbay-0123abcd';
    const first = await serve(host.host, parseAddress('10.0.0.1'));
    const second = await serve(host.host, parseAddress('10.0.0.2'));
    try {
      installResolverRedirect(host.host, { table, ...first });
      expect([await dig(host), await dig(host, '+tcp')]).toEqual(['10.0.0.1', '10.0.0.1']);
      installResolverRedirect(host.host, { table, udp: second.udp, tcp: second.tcp });
      expect([await dig(host), await dig(host, '+tcp')]).toEqual(['10.0.0.2', '10.0.0.2']);
      const { stdout } = await host.exec('nft', ['list', 'ruleset']);
      expect(stdout.match(/^table/gm)).toHaveLength(1);
      expect(stdout).toContain('type filter hook output priority raw');
      expect(stdout).toContain(
        `ip daddr 127.0.0.11 udp dport 53 limit rate 300000/second burst 30000 packets udp dport set ${second.udp} accept`,
      );
      expect(stdout).toContain(`ip daddr 127.0.0.11 tcp dport 53 tcp dport set ${second.tcp}`);
      await removeResolverRedirect(host.host, table);
      await removeResolverRedirect(host.host, table);
      expect((await host.exec('nft', ['list', 'ruleset'])).stdout).toBe('');
      expect(await dig(host)).toContain('connection refused');
    } finally {
      first.close();
      second.close();
    }
  });

  test('survives an iptables flush in the sandbox', async () => {
    const host = hostAt(await testHosts(1), 0);
    const server = await serve(host.host, parseAddress('10.0.0.1'));
    try {
      installResolverRedirect(host.host, { table: 'patchbay-x', ...server });
      for (const table of ['nat', 'filter', 'raw']) await host.exec('iptables', ['-t', table, '-F']);
      expect(await dig(host)).toBe('10.0.0.1');
    } finally {
      server.close();
    }
  });

  test("passes a sandbox's own filters that know port 53 and established connections only", async () => {
    const host = hostAt(await testHosts(1), 0);
    const server = await serve(host.host, parseAddress('10.0.0.1'));
    try {
      installResolverRedirect(host.host, { table: 'patchbay-x', ...server });
      await host.exec('nft', ['-f', '-'], {
        input: `table ip own {
          chain o { type filter hook output priority 0; policy drop;
            ct state established,related accept
            ct state new udp dport 53 accept
            ct state new tcp dport 53 accept
          }
        }`,
      });
      expect([await dig(host), await dig(host, '+tcp')]).toEqual(['10.0.0.1', '10.0.0.1']);
    } finally {
      server.close();
    }
  });

  test("leaves what a sandbox's own rules take over port 53 to them", async () => {
    const host = hostAt(await testHosts(1), 0);
    const [server, other] = [await serve(host.host, parseAddress('10.0.0.1')), await serve(host.host, parseAddress('10.0.0.2'))];
    try {
      installResolverRedirect(host.host, { table: 'patchbay-x', udp: server.udp, tcp: server.tcp });
      const rule = (protocol: string, port: number): string =>
        `-p ${protocol} --dport 53 -j DNAT --to-destination 127.0.0.11:${port}`;
      for (const line of [rule('udp', other.udp), rule('tcp', other.tcp)])
        await host.exec('iptables', ['-t', 'nat', '-A', 'OUTPUT', ...line.split(' ')]);
      expect([await dig(host), await dig(host, '+tcp')]).toEqual(['10.0.0.2', '10.0.0.2']);
    } finally {
      server.close();
      other.close();
    }
  });

  test('tells the asker at once that nobody listens', async () => {
    const host = hostAt(await testHosts(1), 0);
    const server = await serve(host.host, parseAddress('10.0.0.1'));
    installResolverRedirect(host.host, { table: 'patchbay-x', ...server });
    server.close();
    expect([await dig(host), await dig(host, '+tcp')]).toEqual([
      expect.stringContaining('connection refused'),
      expect.stringContaining('connection refused'),
    ]);
  });

  test('drops questions above the rate', async () => {
    const host = hostAt(await testHosts(1), 0);
    let seen = 0;
    const fd = host.host.run(() => openUdpSocket({ address: resolver, port: 0 }));
    const server = createSocket('udp4').on('message', () => seen++);
    server.bind({ fd });
    try {
      installResolverRedirect(host.host, { table: 'patchbay-x', udp: localPort(fd), tcp: 1, ratePerSecond: 20 });
      await host.exec('bash', ['-c', 'for i in {1..200}; do echo x > /dev/udp/127.0.0.11/53; done 2>/dev/null; true']);
      await until('some question', async () => (seen > 0 ? true : undefined));
      expect(seen).toBeLessThan(100);
    } finally {
      server.close();
    }
  });

  test('refused for another reason names the table', async () => {
    const host = hostAt(await testHosts(1), 0);
    expect(() => installResolverRedirect(host.host, { table: 'x'.repeat(300), udp: 1, tcp: 1 })).toThrow('nft table xxx');
  });
});
