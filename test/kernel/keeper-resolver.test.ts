import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeEach, describe, expect, test } from 'vitest';
import { codeOf, newEndpointId, newSandboxId, type Address, type NetworkId } from '../../src/base/index.ts';
import { framed, MessageReader } from '../../src/dns/index.ts';
import type { KeeperLink } from '../../src/keeper/index.ts';
import {
  installResolverRedirect,
  libc,
  openTcpListener,
  openUdpSocket,
  removeNetnsPin,
  removeResolverRedirect,
} from '../../src/kernel/index.ts';
import {
  afterTest,
  always,
  askRaw,
  blackHole,
  bulky,
  connectTcp,
  decode,
  dig,
  eventually,
  keeperLab,
  names,
  NETWORK,
  query,
  rcode,
  serveUpstream,
  type Lab,
  type TestSandbox,
} from './keeper-lab.ts';

let lab: Lab;
let link: KeeperLink;
beforeEach(async () => {
  lab = await keeperLab();
  link = await lab.open();
});

const endpoint = newEndpointId();

describe('names in a sandbox', () => {
  test.each(['+notcp', '+tcp'])(
    'resolve with %s: A, AAAA, alias, name.network, PTR; a family that is missing is empty',
    async (protocol) => {
      const box = await lab.sandbox(link);
      await link.names(endpoint, names('c1', 'web', '0123456789ab').to('10.0.0.2'));
      await link.names(newEndpointId(), names('c2', 'web').to('10.0.0.3', 'fd00::3'));
      const cases: [string[], string[]][] = [
        [['c1'], ['10.0.0.2']],
        [['C1.'], ['10.0.0.2']],
        [['c1.mynet'], ['10.0.0.2']],
        [['0123456789ab'], ['10.0.0.2']],
        [['web'], ['10.0.0.2', '10.0.0.3']],
        [['-t', 'AAAA', 'c2'], ['fd00::3']],
        [['-t', 'AAAA', 'c1'], ['NOERROR']],
        [['-t', 'MX', 'c1'], ['NOERROR']],
        [['-x', '10.0.0.2'], ['c1.mynet.']],
        [['-x', 'fd00::3'], ['c2.mynet.']],
        [['c9'], ['SERVFAIL']],
      ];
      for (const [args, answer] of cases) expect([args, await dig(box, protocol, ...args)]).toEqual([args, answer]);
    },
  );

  test('resolve through the redirect from port 53, and a server on 0.0.0.0:53 still has room', async () => {
    const box = await lab.sandbox(link);
    await link.names(endpoint, names('c1').to('10.0.0.2'));
    installResolverRedirect(box.inside.host, { table: 'patchbay-test', ...box.ports });
    const through: TestSandbox = { ...box, ports: { udp: 53, tcp: 53 } };
    expect(await dig(through, 'c1')).toEqual(['10.0.0.2']);
    expect(await dig(through, '+tcp', 'c1')).toEqual(['10.0.0.2']);
    const any = { address: '0.0.0.0' as Address, port: 53 };
    const own = box.inside.host.run((): number[] => [openUdpSocket(any), openTcpListener(any)]);
    own.forEach(libc.close);
    expect(await dig(through, 'c1')).toEqual(['10.0.0.2']);
  });

  test('come before another resolver of the sandbox, which has all other questions, once each', async () => {
    const box = await lab.sandbox(link);
    await link.names(endpoint, names('c1').to('10.0.0.2'));
    // As an engine does it in its containers.
    const theirs = serveUpstream(box.inside.host, 'sandbox', '127.0.0.11', always('192.0.2.7'), 5300);
    for (const protocol of ['udp', 'tcp']) {
      const rule = ['-d', '127.0.0.11', '-p', protocol, '--dport', '53', '-j', 'DNAT', '--to-destination', '127.0.0.11:5300'];
      await box.inside.exec('iptables', ['-t', 'nat', '-A', 'OUTPUT', ...rule]);
    }
    const through: TestSandbox = { ...box, ports: { udp: 53, tcp: 53 } };
    expect(await dig(through, 'c1')).toEqual(['192.0.2.7']);
    const mark = 0x7062;
    const upstreams = [{ address: '127.0.0.11' as Address, at: 'sandbox', mark } as const];
    await link.sandbox(box.id, { ...box.wish, upstreams, ports: box.ports });
    installResolverRedirect(box.inside.host, { table: 'patchbay-test', ...box.ports, passMark: mark });
    const before = theirs.asked.length;
    for (const protocol of ['+notcp', '+tcp']) {
      expect(await dig(through, protocol, 'c1')).toEqual(['10.0.0.2']);
      expect(await dig(through, protocol, 'example.com')).toEqual(['192.0.2.7']);
    }
    expect(theirs.asked).toHaveLength(before + 2);
    await removeResolverRedirect(box.inside.host, 'patchbay-test');
    expect(await dig(through, 'c1')).toEqual(['192.0.2.7']);
  });

  test('are gone when their withdrawal is acknowledged, and new ones are there', async () => {
    const box = await lab.sandbox(link);
    for (let i = 2; i < 22; i++) {
      await link.names(endpoint, names('c1').to(`10.0.0.${i}`));
      const there = decode((await askRaw(box.inside.host, box.ports.udp, query('c1')))!);
      expect(there.answers[0]?.data).toBe(`10.0.0.${i}`);
      await link.names(endpoint, null);
      const gone = decode((await askRaw(box.inside.host, box.ports.udp, query('c1')))!);
      expect(gone).toMatchObject({ rcode: 'SERVFAIL', answers: [] });
    }
  });

  test('are seen only from networks of the sandbox, in its order, and the view follows the wish', async () => {
    const box = await lab.sandbox(link);
    const other = { id: 'b'.repeat(64) as NetworkId, name: 'other' };
    const mine = { id: NETWORK, name: 'mynet' };
    await link.names(newEndpointId(), names('web').to('10.0.0.2'));
    await link.names(newEndpointId(), {
      network: other.id,
      networkName: 'other',
      names: ['web', 'far'],
      addresses: ['10.1.0.2' as Address],
    });
    expect(await dig(box, 'far')).toEqual(['SERVFAIL']);
    expect(await dig(box, 'web')).toEqual(['10.0.0.2']);
    const seeing = (...networks: { id: NetworkId; name: string }[]) =>
      link.sandbox(box.id, { ...box.wish, view: { networks, forwardsFromHost: true } });
    await seeing(other, mine);
    expect(await dig(box, 'far.other')).toEqual(['10.1.0.2']);
    expect(await dig(box, 'web')).toEqual(['10.1.0.2']);
    expect(await dig(box, 'web.mynet')).toEqual(['10.0.0.2']);
    await seeing(mine);
    expect(await dig(box, 'far')).toEqual(['SERVFAIL']);
    expect(await dig(box, '-x', '10.1.0.2')).toEqual(['SERVFAIL']);
  });

  test('a large local answer is cut by UDP with TC and whole by TCP', async () => {
    const box = await lab.sandbox(link);
    await link.names(endpoint, names('many').to(...Array.from({ length: 120 }, (_, i) => `10.0.1.${i}`)));
    const cut = decode((await askRaw(box.inside.host, box.ports.udp, query('many')))!);
    expect(cut.flag_tc).toBe(true);
    expect(cut.answers).toHaveLength(30);
    expect(await dig(box, '+ignore', '+bufsize=4096', 'many')).toHaveLength(75);
    expect(await dig(box, '+tcp', 'many')).toHaveLength(120);
  });
});

describe('the sockets of a sandbox', () => {
  test('are closed before the end of the resolver is acknowledged', async () => {
    const box = await lab.sandbox(link);
    const open = await connectTcp(box.inside.host, box.ports.tcp);
    const closed = once(open, 'close');
    await link.sandbox(box.id, null);
    const listing = await box.inside.exec('ss', ['-Hluntp']);
    expect(listing.stdout).toBe('');
    await closed;
    box.inside.host.run(() => {
      libc.close(openUdpSocket({ address: '127.0.0.11' as Address, port: box.ports.udp }));
    });
  });

  test('open again on the same ports when asked for, and a taken port is an error that leaves nothing', async () => {
    const box = await lab.sandbox(link);
    await link.sandbox(box.id, null);
    expect(await link.sandbox(box.id, box.wish)).toEqual(box.ports);
    await link.sandbox(box.id, null);
    const fd = box.inside.host.run(() => openTcpListener({ address: '127.0.0.11' as Address, port: box.ports.tcp }));
    expect(await link.sandbox(box.id, box.wish).then(() => 'no error', codeOf)).toBe('resolver_unavailable');
    expect((await link.inventory()).sandboxes).toEqual([]);
    libc.close(fd);
    expect(await link.sandbox(box.id, box.wish)).toEqual(box.ports);
  });

  test('are not opened in a namespace that is not the one that was meant', async () => {
    const box = await lab.sandbox(link);
    const ask = (path: string, identity: string) =>
      link
        .sandbox(newSandboxId(), { ...box.wish, ports: { udp: 0, tcp: 0 }, netns: { path, identity } })
        .then(() => 'no error', codeOf);
    expect(await ask(box.inside.path, 'boot:other')).toBe('bad_netns');
    expect(await ask('/nowhere/at/all', 'boot:other')).toBe('bad_netns');
    expect((await link.inventory()).sandboxes).toEqual([box.id]);
  });

  test('do not keep the namespace: its pin can go, and the keeper lets go of it', async () => {
    const box = await lab.sandbox(link);
    removeNetnsPin(box.inside.path);
    await link.sandbox(box.id, null);
    expect((await link.inventory()).sandboxes).toEqual([]);
  });
});

describe('forwarding', () => {
  const onHost = (address: string, answer: Parameters<typeof serveUpstream>[3]) =>
    serveUpstream(lab.host.host, 'host', address, answer);

  test('known names never reach the upstream, unknown ones do, by the protocol of the question', async () => {
    const server = onHost('127.0.0.1', always('192.0.2.53'));
    const box = await lab.sandbox(link, { upstreams: [server.upstream] });
    await link.names(endpoint, names('c1').to('10.0.0.2'));
    for (const args of [['c1'], ['-t', 'AAAA', 'c1'], ['-t', 'MX', 'c1.mynet'], ['-x', '10.0.0.2']]) await dig(box, ...args);
    expect(server.asked).toEqual([]);
    expect(await dig(box, 'www.example.com')).toEqual(['192.0.2.53']);
    expect(await dig(box, '+tcp', 'printer')).toEqual(['192.0.2.53']);
    expect(await dig(box, '-t', 'TXT', 'c1')).toEqual(['NOERROR']);
    expect(server.asked).toEqual(['udp www.example.com A', 'tcp printer A', 'udp c1 TXT']);
  });

  test.each([
    ['REFUSED', 5],
    ['SERVFAIL', 2],
  ])('after %s the next upstream answers', async (_, code) => {
    const [bad, good] = [onHost('127.0.0.1', rcode(code)), onHost('127.0.0.2', always('192.0.2.53'))];
    const box = await lab.sandbox(link, { upstreams: [bad.upstream, good.upstream] });
    expect(await dig(box, 'example.com')).toEqual(['192.0.2.53']);
    expect(await dig(box, '+tcp', 'example.com')).toEqual(['192.0.2.53']);
    expect(bad.asked).toHaveLength(2);
  });

  test.each(['+notcp', '+tcp'])(
    'a version of EDNS that nobody knows is answered by us, of known names and unknown: %s',
    async (protocol) => {
      const { upstream, asked } = onHost('127.0.0.1', always('192.0.2.7'));
      const box = await lab.sandbox(link, { upstreams: [upstream] });
      await link.names(endpoint, names('c1').to('10.0.0.2'));
      for (const name of ['c1', 'example.com']) {
        expect(await dig(box, protocol, '+edns=1', '+noednsnegotiation', name)).toEqual(['BADVERS']);
      }
      expect(asked).toEqual([]);
      // As dig does by itself: it asks again with the version that it was told.
      expect(await dig(box, protocol, '+edns=1', 'example.com')).toEqual(['192.0.2.7']);
    },
  );

  test('NXDOMAIN is relayed', async () => {
    const [first, second] = [onHost('127.0.0.1', rcode(3)), onHost('127.0.0.2', always('192.0.2.53'))];
    const box = await lab.sandbox(link, { upstreams: [first.upstream, second.upstream] });
    expect(await dig(box, 'nope.example')).toEqual(['NXDOMAIN']);
    expect(second.asked).toEqual([]);
  });

  test('nobody listening there, by either protocol: the next upstream answers', async () => {
    const good = onHost('127.0.0.2', always('192.0.2.53'));
    const box = await lab.sandbox(link, { upstreams: [{ address: '127.0.0.1' as Address, at: 'host' }, good.upstream] });
    expect(await dig(box, 'example.com')).toEqual(['192.0.2.53']);
    expect(await dig(box, '+tcp', 'example.com')).toEqual(['192.0.2.53']);
  });

  test('a black hole costs its delay once, then the next upstream is asked first', async () => {
    const [hole, good] = [onHost('127.0.0.1', blackHole), onHost('127.0.0.2', always('192.0.2.53'))];
    const box = await lab.sandbox(link, { upstreams: [hole.upstream, good.upstream] });
    for (let i = 0; i < 20; i++) expect(await dig(box, `n${i}.example.com`)).toEqual(['192.0.2.53']);
    expect(good.asked).toHaveLength(20);
    expect(hole.asked.length).toBeLessThan(10);
  });

  test('answers of the upstream pass untouched and whole', async () => {
    const big = onHost('127.0.0.1', bulky);
    const box = await lab.sandbox(link, { upstreams: [big.upstream] });
    expect(await dig(box, '+tcp', '-t', 'TXT', 'big.example')).toHaveLength(15);
    expect(await dig(box, '+bufsize=4096', '+ignore', '-t', 'TXT', 'big.example')).toHaveLength(15);
    const cut = decode((await askRaw(box.inside.host, box.ports.udp, query('big.example', 'TXT')))!);
    expect(cut.flag_tc).toBe(true);
    installResolverRedirect(box.inside.host, { table: 'patchbay-test', ...box.ports });
    expect(await dig({ ...box, ports: { udp: 53, tcp: 53 } }, '-t', 'TXT', 'big.example')).toHaveLength(15);
  });

  test('servers of the sandbox are asked from the sandbox, those of the host from the host', async () => {
    const box = await lab.sandbox(link);
    const inHost = onHost('127.0.0.53', always('192.0.2.1'));
    const inside = serveUpstream(box.inside.host, 'sandbox', '127.0.0.53', always('192.0.2.2'));
    await link.sandbox(box.id, { ...box.wish, upstreams: [inHost.upstream] });
    expect(await dig(box, 'example.com')).toEqual(['192.0.2.1']);
    await link.sandbox(box.id, { ...box.wish, upstreams: [inside.upstream] });
    expect(await dig(box, 'example.com')).toEqual(['192.0.2.2']);
    expect(await dig(box, '+tcp', 'example.com')).toEqual(['192.0.2.2']);
  });

  test('without a way outside, host servers are not asked and those of the sandbox are', async () => {
    const box = await lab.sandbox(link);
    const inHost = onHost('127.0.0.53', always('192.0.2.1'));
    const inside = serveUpstream(box.inside.host, 'sandbox', '127.0.0.53', always('192.0.2.2'));
    const view = { ...box.wish.view, forwardsFromHost: false };
    await link.sandbox(box.id, { ...box.wish, view, upstreams: [inHost.upstream] });
    expect(await dig(box, 'example.com')).toEqual(['SERVFAIL']);
    await link.sandbox(box.id, { ...box.wish, view, upstreams: [inHost.upstream, inside.upstream] });
    expect(await dig(box, 'example.com')).toEqual(['192.0.2.2']);
    expect(inHost.asked).toEqual([]);
  });

  test('1,500 questions at a black hole leave local names answered and end', async () => {
    const hole = onHost('127.0.0.1', blackHole);
    const box = await lab.sandbox(link, { upstreams: [hole.upstream] });
    await link.names(endpoint, names('c1').to('10.0.0.2'));
    const file = join(lab.runDir, 'questions');
    writeFileSync(file, Array.from({ length: 1500 }, (_, i) => `n${i}.example A\n`).join(''));
    const load = box.inside.exec('dnsperf', [
      '-s',
      '127.0.0.11',
      '-p',
      String(box.ports.udp),
      '-d',
      file,
      '-n',
      '1',
      '-q',
      '1500',
      '-c',
      '10',
      '-t',
      '9',
    ]);
    await sleep(300);
    for (let i = 0; i < 5; i++) expect(await dig(box, 'c1')).toEqual(['10.0.0.2']);
    const { stdout } = await load;
    // UDP may lose some on a busy machine.
    expect(Number(/Queries completed:\s+(\d+)/.exec(stdout)?.[1])).toBeGreaterThan(1200);
    expect(stdout).toMatch(/Response codes:\s+(SERVFAIL|REFUSED)/);
  });
});

describe('odd clients', () => {
  test('malformed messages get an error or nothing, and the resolver goes on', async () => {
    const box = await lab.sandbox(link);
    await link.names(endpoint, names('c1').to('10.0.0.2'));
    const ask = async (bytes: Buffer) => {
      const reply = await askRaw(box.inside.host, box.ports.udp, bytes, 150);
      return reply === undefined ? 'nothing' : reply.readUInt8(3) & 15;
    };
    const good = query('c1');
    const response = Buffer.from(good);
    response[2] = 0x80;
    const notify = Buffer.from(good);
    notify[2] = 0x20;
    expect(await ask(Buffer.from('x'))).toBe('nothing');
    expect(await ask(response)).toBe('nothing');
    expect(await ask(notify)).toBe(4);
    expect(await ask(good.subarray(0, 15))).toBe(1);
    expect(await ask(Buffer.concat([good, Buffer.alloc(1300)]))).toBe(1);
    expect(await ask(Buffer.concat([good, Buffer.alloc(5000)]))).toBe(1);
    expect(await dig(box, 'c1')).toEqual(['10.0.0.2']);
  });

  test('a TCP client may send many questions at once, in pieces, and close its half', async () => {
    const box = await lab.sandbox(link);
    await link.names(endpoint, names('c1').to('10.0.0.2'));
    const socket = await connectTcp(box.inside.host, box.ports.tcp);
    const stream = Buffer.concat(Array.from({ length: 500 }, (_, i) => framed(query('c1', 'A', i))));
    const reader = new MessageReader(65_535);
    const ids = new Set<number>();
    socket.on('data', (chunk) => (reader.push(chunk) ?? []).forEach((reply) => ids.add(decode(reply).id)));
    for (let at = 0; at < stream.length; at += 1000) {
      socket.write(stream.subarray(at, at + 1000));
      await sleep(1);
    }
    socket.end();
    await once(socket, 'close');
    expect(ids.size).toBe(500);
  });

  test('a TCP client that announces too much is cut off, and so is one connection too many', async () => {
    const box = await lab.sandbox(link);
    const greedy = await connectTcp(box.inside.host, box.ports.tcp);
    const cut = once(greedy, 'close');
    greedy.write(Buffer.from([0xff, 0xff]));
    await cut;
    let closed = 0;
    for (let i = 0; i < 80; i++) (await connectTcp(box.inside.host, box.ports.tcp)).on('close', () => closed++);
    await eventually(() => (closed >= 16 ? true : undefined), 'connections beyond 64 are closed');
    expect(closed).toBe(16);
  });

  test('a flood from one sandbox leaves another one its answers', async () => {
    const [loud, quiet] = [await lab.sandbox(link), await lab.sandbox(link)];
    await link.names(endpoint, names('c1').to('10.0.0.2'));
    const file = join(lab.runDir, 'flood');
    writeFileSync(file, 'c1 A\n');
    const flood = loud.inside.exec('dnsperf', [
      '-s',
      '127.0.0.11',
      '-p',
      String(loud.ports.udp),
      '-d',
      file,
      '-l',
      '2',
      '-q',
      '1000',
      '-c',
      '4',
      '-t',
      '1',
    ]);
    let done = false;
    const end = flood.then(() => (done = true));
    let asked = 0;
    while (!done) {
      expect(decode((await askRaw(quiet.inside.host, quiet.ports.udp, query('c1'), 2000))!).answers).toHaveLength(1);
      asked++;
    }
    await end;
    expect(asked).toBeGreaterThan(20);
  });
});

test('a second keeper for the same directory does not disturb the first', async () => {
  const box = await lab.sandbox(link);
  await link.names(endpoint, names('c1').to('10.0.0.2'));
  const { pid } = link;
  const second = await lab.open();
  expect(second.pid).toBe(pid);
  expect(await dig(box, 'c1')).toEqual(['10.0.0.2']);
  afterTest(() => second.close());
});
