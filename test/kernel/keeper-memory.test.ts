/** What a flood of questions takes of memory is given back when it is over. */

import { createSocket } from 'node:dgram';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { newEndpointId, type Address } from '../../src/base/index.ts';
import { libc, openUdpSocket } from '../../src/kernel/index.ts';
import { RESOLVER, afterTest, askRaw, decode, eventually, keeperLab, names, query } from './keeper-lab.ts';

/** Of each kind. */
const QUESTIONS = 40_000;
/** Sent between two turns of the event loop. */
const BURST = 32;
/** What a flood takes at least, and what may be left of it, KiB. */
const FLOOD_KIB = 16 * 1024;
const LEFT_KIB = 8 * 1024;
/** Far more than it takes, milliseconds. */
const PATIENCE_MS = 90_000;

const NAME = 'a-name-with-many-letters-for-many-spellings';
const spelt = (i: number): string =>
  Array.from(NAME, (letter, at) => (at < 31 && ((i >> (at % 16)) & 1) === 1 ? letter.toUpperCase() : letter)).join('');

test(
  'a flood of spellings and of questions that nobody answers leaves no memory taken, and names are answered meanwhile',
  { timeout: 180_000 },
  async () => {
    const lab = await keeperLab();
    const link = await lab.open();
    // It takes questions and says nothing.
    const silent = lab.host.host.run(() => openUdpSocket({ address: '127.0.0.1' as Address, port: 53 }));
    afterTest(() => libc.close(silent));
    const box = await lab.sandbox(link, { upstreams: [{ address: '127.0.0.1' as Address, at: 'host' }] });
    await link.names(newEndpointId(), names(NAME).to('10.0.0.2'));
    const own = (): number =>
      Number(/^Private_Dirty:\s+(\d+)/m.exec(readFileSync(`/proc/${link.pid}/smaps_rollup`, 'utf8'))?.[1]);
    const isAnswered = async (): Promise<boolean> => {
      const reply = await askRaw(box.inside.host, box.ports.udp, query(NAME), 5000);
      return reply !== undefined && decode(reply).answers.length === 1;
    };
    expect(await isAnswered()).toBe(true);
    const before = own();

    const socket = createSocket('udp4');
    socket.bind({ fd: box.inside.host.run(() => openUdpSocket({ address: '127.0.0.1' as Address, port: 0 })) });
    afterTest(() => void socket.close());
    for (let i = 0; i < QUESTIONS; i++) {
      socket.send(query(spelt(i)), box.ports.udp, RESOLVER);
      socket.send(query(`n${i}.example.com`), box.ports.udp, RESOLVER);
      if (i % BURST === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    const flooded = own();
    expect(flooded - before).toBeGreaterThan(FLOOD_KIB);
    await eventually(
      async () => {
        expect(await isAnswered()).toBe(true);
        // One that is asked much has other things to do.
        await sleep(50);
        return own() - before < LEFT_KIB ? true : undefined;
      },
      `less than ${LEFT_KIB} KiB of ${flooded - before} are left`,
      PATIENCE_MS,
    );
  },
);
