import { expect, test } from 'vitest';
import { framed, MessageReader } from '../../src/dns/stream.ts';

const messages = [Buffer.from('a'), Buffer.alloc(0), Buffer.alloc(700, 7), Buffer.from('end')];
const stream = Buffer.concat(messages.map(framed));

test.each([1, 2, 3, 100, 701, 10_000])('messages come whole from chunks of %i octets', (size) => {
  const reader = new MessageReader(1000);
  const got: Buffer[] = [];
  for (let at = 0; at < stream.length; at += size)
    got.push(...(reader.push(stream.subarray(at, at + size)) ?? []).map(Buffer.from));
  expect(got.map(String)).toEqual(messages.map(String));
});

test('a message longer than the limit makes the stream useless', () => {
  expect(new MessageReader(699).push(stream)).toBeUndefined();
});
