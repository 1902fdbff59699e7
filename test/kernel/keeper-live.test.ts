/** What the keeper has acknowledged is in force: also for a loop that is busy answering somebody who asks without a pause. */

import { createSocket } from 'node:dgram';
import { expect, test } from 'vitest';
import { type Address, newEndpointId } from '../../src/base/index.ts';
import { openUdpSocket } from '../../src/kernel/index.ts';
import { RESOLVER, afterTest, decode, keeperLab, names, query } from './keeper-lab.ts';

const CHANGES = 400;
/** Questions on their way at once: more than the loop reads in one turn. */
const OPEN = 96;

const addressOf = (change: number): string => `10.1.${change >> 8}.${change & 255}`;

test('no question asked after a change was acknowledged is answered as before it', { timeout: 60_000 }, async () => {
  const lab = await keeperLab();
  const link = await lab.open();
  const box = await lab.sandbox(link);
  const endpoint = newEndpointId();
  let acknowledged = 0;
  await link.names(endpoint, names('web').to(addressOf(0)));

  const socket = createSocket('udp4');
  socket.bind({ fd: box.inside.host.run(() => openUdpSocket({ address: '127.0.0.1' as Address, port: 0 })) });
  afterTest(() => void socket.close());
  /** By the question's id: what was acknowledged when it was asked. */
  const atLeast = new Map<number, number>();
  const seen = new Set<number>();
  const late: string[] = [];
  let id = 0;
  const ask = (): void => {
    id = (id + 1) & 0xffff;
    atLeast.set(id, acknowledged);
    socket.send(query('web', 'A', id), box.ports.udp, RESOLVER);
  };
  socket.on('message', (message) => {
    const { id: of, answers } = decode(message);
    const [answer] = answers;
    const said = answer?.type === 'A' ? String(answer.data) : 'no address';
    const change = Number(said.split('.')[2]) * 256 + Number(said.split('.')[3]);
    seen.add(change);
    if (!(change >= (atLeast.get(of) ?? Infinity))) late.push(`${said}, not ${addressOf(atLeast.get(of) ?? -1)}`);
    ask();
  });
  for (let i = 0; i < OPEN; i++) ask();
  for (let change = 1; change <= CHANGES; change++) {
    await link.names(endpoint, names('web').to(addressOf(change)));
    acknowledged = change;
    // Asked in the same breath, behind all that are open.
    ask();
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(late).toEqual([]);
  expect(seen.size).toBeGreaterThan(CHANGES / 10);
  await link.names(endpoint, null);
  const gone = await new Promise<number | undefined>((resolve) => {
    socket.removeAllListeners('message');
    socket.on('message', (message) => {
      const reply = decode(message);
      if (reply.id === 0x1234) resolve(reply.answers?.length);
    });
    socket.send(query('web', 'A', 0x1234), box.ports.udp, RESOLVER);
  });
  expect(gone).toBe(0);
});
