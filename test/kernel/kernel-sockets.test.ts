import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, Socket } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { parseAddress } from '../../src/base/index.ts';
import {
  decodeSocketAddress,
  EpollSet,
  isBroadcast,
  libc,
  localPort,
  openTcpClient,
  openTcpHold,
  openTcpListener,
  openUdpSocket,
  PacketRow,
  wake,
} from '../../src/kernel/index.ts';
import { hostAt, testHosts, type TestHost } from './support.ts';

const loopback = parseAddress('127.0.0.1');
const descriptors: number[] = [];
const keep = (fd: number): number => {
  descriptors.push(fd);
  return fd;
};

afterEach(() => {
  for (const fd of descriptors.splice(0)) libc.close(fd);
});

const oneHost = async (): Promise<TestHost> => hostAt(await testHosts(1), 0);

describe('a UDP socket made inside', () => {
  test('serves its namespace from the event loop outside', async () => {
    const { host } = await oneHost();
    const fd = host.run(() => openUdpSocket({ address: loopback, port: 0 }));
    const port = localPort(fd);
    const server = createSocket('udp4');
    server.bind({ fd });
    server.on('message', (message, from) => server.send(`re:${message.toString()}`, from.port, from.address));
    const client = createSocket('udp4');
    client.bind({ fd: host.run(() => openUdpSocket({ address: loopback, port: 0 })) });
    client.send('ping', port, loopback);
    const [answer] = (await once(client, 'message')) as [Buffer];
    expect(answer.toString()).toBe('re:ping');
    server.close();
    client.close();
  });

  test('refuses a taken port with its errno and the address', async () => {
    const { host } = await oneHost();
    keep(host.run(() => openUdpSocket({ address: loopback, port: 53 })));
    expect(() => host.run(() => openUdpSocket({ address: loopback, port: 53 }))).toThrow('bind udp 127.0.0.1:53: EADDRINUSE');
  });

  test('that drops all queues nothing, and its IPv6 twin holds the same port beside it', async () => {
    const { host } = await oneHost();
    const [hold, twin, sender] = host.run(() => [
      openUdpSocket({ address: parseAddress('0.0.0.0'), port: 9999, dropAll: true }),
      openUdpSocket({ address: parseAddress('::'), port: 9999 }),
      openUdpSocket({ address: parseAddress('::1'), port: 0 }),
    ]) as [number, number, number];
    for (const fd of [hold, twin, sender]) keep(fd);
    const v4Sender = keep(host.run(() => openUdpSocket({ address: loopback, port: 0 })));
    libc.sendTo(v4Sender, Buffer.from('lost'), libc.socketName(hold).fill(127, 4, 5).fill(1, 7, 8));
    libc.sendTo(sender, Buffer.from('kept'), libc.socketName(twin).fill(1, 23, 24));
    const into = Buffer.alloc(16);
    expect(libc.receive(hold, into)).toBe(-1);
    expect(libc.receive(twin, into)).toBe(4);
  });
});

describe('a TCP port held without listening', () => {
  test('refuses connections and others who would bind or listen, even with address reuse', async () => {
    const { host, exec } = await oneHost();
    const any = parseAddress('0.0.0.0');
    const port = localPort(keep(host.run(() => openTcpHold({ address: any, port: 0 }))));
    expect(() => host.run(() => openTcpHold({ address: any, port }))).toThrow('EADDRINUSE');
    expect(() => host.run(() => openTcpListener({ address: any, port }))).toThrow('EADDRINUSE');
    const answer = await exec('bash', ['-c', `exec 3<>/dev/tcp/127.0.0.1/${port}`], { reject: false });
    expect(answer.stderr).toContain('refused');
  });

  test('can be taken while the connections of an earlier server linger', async () => {
    const { host } = await oneHost();
    const fd = host.run(() => openTcpListener({ address: loopback, port: 0 }));
    const port = localPort(fd);
    const server = createServer((socket) => socket.end());
    server.listen({ fd });
    await once(server, 'listening');
    const client = new Socket({ fd: host.run(() => openTcpClient(4)) }).connect(port, loopback);
    client.resume();
    await once(client, 'end');
    client.destroy();
    await new Promise((done) => server.close(done));
    keep(host.run(() => openTcpHold({ address: loopback, port })));
  });
});

test('a TCP listener made inside is adopted by net', async () => {
  const { host } = await oneHost();
  const fd = host.run(() => openTcpListener({ address: parseAddress('::1'), port: 0 }));
  const server = createServer((socket) => socket.end('hello'));
  server.listen({ fd });
  await once(server, 'listening');
  const client = new Socket({ fd: host.run(() => openTcpClient(6)) }).connect(localPort(fd), '::1');
  const [data] = (await once(client, 'data')) as [Buffer];
  expect(data.toString()).toBe('hello');
  client.destroy();
  server.close();
});

describe('rows of packets', () => {
  test('come in and are answered in place, many a call, with their sources', async () => {
    const { host } = await oneHost();
    const server = keep(host.run(() => openUdpSocket({ address: loopback, port: 0 })));
    const clients = Array.from({ length: 20 }, () => keep(host.run(() => openUdpSocket({ address: loopback, port: 0 }))));
    const target = libc.socketName(server);
    clients.forEach((fd, i) => libc.sendTo(fd, Buffer.from(`question ${i}`), target));
    const row = new PacketRow(32, 64);
    expect(row.receive(server)).toBe(20);
    for (let i = 0; i < 20; i++) {
      expect(row.packet(i).toString('latin1', 0, row.length(i))).toBe(`question ${i}`);
      expect(decodeSocketAddress(row.source(i))).toEqual({ address: loopback, port: localPort(clients[i] ?? -1) });
      // Every second one is answered.
      if (i % 2 === 0) row.answer(i, row.packet(i).write(`answer ${i}`, 'latin1'));
    }
    expect(row.sendAnswers(server)).toBe(10);
    const into = Buffer.alloc(64);
    clients.forEach((fd, i) => {
      const length = libc.receive(fd, into);
      expect(length < 0 ? '' : into.toString('latin1', 0, length)).toBe(i % 2 === 0 ? `answer ${i}` : '');
    });
    expect(row.receive(server)).toBe(0);
  });

  test('longer than their slot are cut and say so', async () => {
    const { host } = await oneHost();
    const server = keep(host.run(() => openUdpSocket({ address: loopback, port: 0 })));
    libc.sendTo(server, Buffer.alloc(100, 'x'), libc.socketName(server));
    libc.sendTo(server, Buffer.alloc(10, 'y'), libc.socketName(server));
    const row = new PacketRow(4, 64);
    expect(row.receive(server)).toBe(2);
    expect([row.length(0), row.truncated(0), row.length(1), row.truncated(1)]).toEqual([64, true, 10, false]);
    expect(() => row.answer(0, 65)).toThrow(RangeError);
    expect(() => row.packet(4)).toThrow(RangeError);
  });
});

test('an epoll set tells which sockets are readable and wakes on demand', async () => {
  const { host } = await oneHost();
  const [a, b] = [0, 1].map(() => keep(host.run(() => openUdpSocket({ address: loopback, port: 0 })))) as [number, number];
  using set = new EpollSet();
  set.add(a);
  set.add(b);
  const ready: number[] = [];
  expect(set.wait(0, (fd) => ready.push(fd))).toBe(false);
  libc.sendTo(a, Buffer.from('x'), libc.socketName(b));
  expect(set.wait(1000, (fd) => ready.push(fd))).toBe(false);
  expect(ready).toEqual([b]);
  wake(set.wakeDescriptor);
  ready.length = 0;
  expect(set.wait(1000, (fd) => ready.push(fd))).toBe(true);
  expect(ready).toEqual([b]);
  set.remove(b);
  expect(set.wait(0, (fd) => ready.push(fd))).toBe(false);
});

test('the broadcast addresses of its networks are told from a host’s own, others’, and those that a route prohibits', async () => {
  const { host, exec } = await oneHost();
  await exec('sh', [
    '-ec',
    `ip link set lo up; ip link add v0 type veth peer name v1; ip link set v0 up; ip link set v1 up
     ip addr add 10.0.0.1/24 broadcast + dev v0; ip addr add 10.0.1.0/31 dev v0; ip route add default via 10.0.0.2
     ip route add prohibit 10.0.3.0/24`,
  ]);
  const addresses = ['10.0.0.255', '127.255.255.255', '10.0.0.1', '10.0.0.0', '10.0.1.1', '10.0.2.255', '10.0.3.255', '::1'];
  expect(host.run(() => addresses.filter((address) => isBroadcast(parseAddress(address))))).toEqual([
    '10.0.0.255',
    '127.255.255.255',
  ]);
});
