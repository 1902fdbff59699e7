import { expect, test } from 'vitest';
import { Handing, handedOver } from '../../src/keeper/handed.ts';

const bytes = (length: number, first: number): Uint8Array => Uint8Array.from({ length }, (_, i) => (first + i) & 0xff);

test('questions of every length arrive as they were added, and in order', () => {
  const handing = new Handing();
  for (let round = 0; round < 2; round++) {
    expect(handing.isEmpty).toBe(true);
    const wanted = Array.from({ length: 300 }, (_, i) => ({
      fd: 1000 + i,
      source: bytes(i % 2 === 0 ? 16 : 28, i),
      message: bytes((i * 7) % 2048, 3 * i),
      ...(i % 3 === 0 ? {} : { asked: { socket: i % 3 === 1 ? -1 : i, id: 0xffff - i, agoMs: i } }),
    }));
    for (const { fd, source, message, asked } of wanted) handing.add(fd, source, message, asked);
    expect(handing.isEmpty).toBe(false);
    const taken = handing.take();
    expect([...handedOver(structuredClone(taken, { transfer: [taken] }))]).toEqual(wanted);
  }
  expect([...handedOver(handing.take())]).toEqual([]);
});

test('what was taken stays as it was when more is added', () => {
  const handing = new Handing();
  handing.add(1, bytes(16, 0), bytes(20, 0));
  const taken = handing.take();
  handing.add(2, bytes(16, 9), bytes(20, 9));
  expect([...handedOver(taken)].map(({ fd }) => fd)).toEqual([1]);
});
