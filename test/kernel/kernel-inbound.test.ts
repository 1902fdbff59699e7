/** Connections to listeners of a namespace, as the kernel answers and as its text says. */

import { once } from 'node:events';
import { createServer, type Server, Socket } from 'node:net';
import { afterEach, expect, test, vi } from 'vitest';
import { parseAddress } from '../../src/base/index.ts';
import { askSockets, countInbound, readSockets } from '../../src/kernel/inbound.ts';
import { openTcpClient, openTcpListener } from '../../src/kernel/index.ts';
import { eventually } from './keeper-lab.ts';
import { hostAt, type TestHost, testHosts } from './support.ts';

const HERE = ['127.0.0.1', '::1'].map(parseAddress);
const PORT = 8080;
const open: Socket[] = [];
const servers: Server[] = [];

afterEach(() => {
  for (const socket of open.splice(0)) socket.destroy();
  for (const server of servers.splice(0)) server.close();
});

/** Answers the side that asked; the other one is `open` too. */
async function connection(at: TestHost, address: string): Promise<Socket> {
  const target = parseAddress(address);
  const socket = new Socket({ fd: at.host.run(() => openTcpClient(target.includes(':') ? 6 : 4)) });
  open.push(socket);
  socket.connect({ host: target, port: PORT });
  await once(socket, 'connect');
  return socket;
}

async function listening(at: TestHost): Promise<void> {
  const fd = at.host.run(() => openTcpListener({ address: parseAddress('::'), port: PORT, v6Only: false }));
  // A side that has heard the end of the other one keeps its own: both states are counted.
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    open.push(socket);
    socket.on('error', () => {});
    socket.resume();
  });
  servers.push(server);
  server.listen({ fd });
  await once(server, 'listening');
}

test('connections are counted in both families, by the kernel and by text alike, and no longer when they are over', async () => {
  const place = hostAt(await testHosts(1), 0);
  await place.exec('ip', ['link', 'set', 'lo', 'up']);
  expect(await countInbound(place.host, HERE)).toBe(0);
  await listening(place);
  const plain = await connection(place, '127.0.0.1');
  const half = await connection(place, '127.0.0.1');
  await connection(place, '::1');
  half.end();
  const counted = (): Promise<number> => countInbound(place.host, HERE);
  await eventually(async () => ((await counted()) === 3 ? true : undefined), 'all three are counted');
  expect(await countInbound(place.host, HERE.slice(1))).toBe(1);
  expect(await countInbound(place.host, [parseAddress('127.0.0.2')])).toBe(0);
  const lines = (rows: readonly object[] | undefined): string[] => (rows ?? []).map((row) => JSON.stringify(row)).toSorted();
  // The end of the half one is on its way through both sides' states.
  await vi.waitFor(async () => {
    const asked = lines(await askSockets(place.host));
    expect(asked).toEqual(lines(readSockets(place.host)));
    expect(asked.length).toBeGreaterThan(6);
  });
  plain.resetAndDestroy();
  await eventually(async () => ((await counted()) === 2 ? true : undefined), 'one is over');
});

test('a long table is answered whole', async () => {
  const place = hostAt(await testHosts(1), 0);
  await place.exec('ip', ['link', 'set', 'lo', 'up']);
  await listening(place);
  await Promise.all(Array.from({ length: 400 }, () => connection(place, '127.0.0.1')));
  await eventually(async () => ((await countInbound(place.host, HERE)) === 400 ? true : undefined), 'all are counted');
});
