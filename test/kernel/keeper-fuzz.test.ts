/** Mutated messages against a living resolver, by UDP and TCP, from inside its sandbox. */

import { createSocket } from 'node:dgram';
import { readFileSync, readdirSync } from 'node:fs';
import { expect, test } from 'vitest';
import type { Address, EndpointId } from '../../src/base/index.ts';
import { openUdpSocket } from '../../src/kernel/index.ts';
import { generator, mutated, sample, seed } from '../fuzz/random.ts';
import {
  RESOLVER,
  always,
  askRaw,
  connectTcp,
  decode,
  eventually,
  keeperLab,
  names,
  query,
  serveUpstream,
} from './keeper-lab.ts';

const MESSAGES = 50_000;
/** Sent in one go; then the resolver must answer a sound question. */
const BATCH = 100;
/** What the first messages make grow is not counted. */
const WARM_UP = 25_000;
const MAX_GROWTH_KIB = 64 * 1024;

test('50,000 mutated messages neither end a living resolver nor make it grow, and sound questions are answered between them', async () => {
  const lab = await keeperLab();
  const link = await lab.open();
  const { upstream } = serveUpstream(lab.host.host, 'host', '127.0.0.9', always('203.0.113.9'));
  const box = await lab.sandbox(link, { upstreams: [upstream] });
  await link.names('e1' as EndpointId, names('c1').to('10.0.0.2'));
  const { pid } = link;
  if (pid === undefined) throw new Error('no keeper');
  const memory = (): number => Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
  const descriptors = (): number => readdirSync(`/proc/${pid}/fd`).length;
  const isAnswering = () =>
    eventually(
      async () => {
        const reply = await askRaw(box.inside.host, box.ports.udp, query('c1'), 2000);
        return reply === undefined ? undefined : decode(reply).answers[0]?.name === 'c1' || undefined;
      },
      'an answer between mutated messages',
      30_000,
    );

  const random = generator(seed);
  const socket = createSocket('udp4');
  socket.bind({ fd: box.inside.host.run(() => openUdpSocket({ address: '127.0.0.1' as Address, port: 0 })) });
  socket.on('message', () => {});
  await isAnswering();
  const descriptorsBefore = descriptors();
  let memoryBefore = 0;
  try {
    for (let sent = 0; sent < MESSAGES; sent += BATCH) {
      if (sent === WARM_UP) memoryBefore = memory();
      const batch = Array.from({ length: BATCH }, () => mutated(sample(random), random));
      const sends = batch.map((message) => new Promise((resolve) => socket.send(message, box.ports.udp, RESOLVER, resolve)));
      await Promise.all(sends);
      if (sent % 1000 === 0) {
        const tcp = await connectTcp(box.inside.host, box.ports.tcp);
        tcp.on('error', () => {});
        tcp.end(Buffer.concat(batch.slice(0, 20).map((message) => mutated(withLength(message), random))));
        tcp.resume();
      }
      await isAnswering();
    }
  } finally {
    socket.close();
  }
  expect(link.pid).toBe(pid);
  expect(memory() - memoryBefore).toBeLessThan(MAX_GROWTH_KIB);
  // Questions under way at upstreams hold one each until they are given up.
  await eventually(() => (descriptors() <= descriptorsBefore + 5 ? true : undefined), 'descriptors are given back', 60_000);
}, 240_000);

/** As TCP carries it (RFC 1035 §4.2.2). */
function withLength(message: Buffer): Buffer {
  const head = Buffer.alloc(2);
  head.writeUInt16BE(message.length & 0xffff);
  return Buffer.concat([head, message]);
}
