/** The cluster's keys, on a store in memory. */

import { expect, test } from 'vitest';
import { codeOf } from '../../src/base/index.ts';
import { LEAST_KEY_AGE_MS, decodeRing, ensureRing, rotateRing } from '../../src/cluster/index.ts';
import { MemoryStore } from '../../src/store/index.ts';

const at = (ms: number) => () => ms;
const RING = 'secret/overlay';

test('they are made once, whoever asks, and each secret is its own', async () => {
  const store = new MemoryStore();
  const rings = await Promise.all(Array.from({ length: 8 }, () => ensureRing(store, at(1))));
  expect(new Set(rings.map(({ primary }) => primary)).size).toBe(1);
  const secrets = rings[0]?.keys.map(({ secret }) => secret.toString('hex')) ?? [];
  expect([secrets.length, new Set(secrets).size, secrets[0]?.length]).toEqual([2, 2, 64]);
});

test('keys that the cluster has lost are told again as they were, unless others have been made', async () => {
  const lost = await ensureRing(new MemoryStore(), at(1));
  const store = new MemoryStore();
  expect(await ensureRing(store, at(2), lost)).toEqual(lost);
  const other = await ensureRing(new MemoryStore(), at(3));
  expect(await ensureRing(store, at(4), other)).toEqual(lost);
});

test('a rotation uses the key that all hosts know, keeps the one before, and adds the next one', async () => {
  const store = new MemoryStore();
  const first = await ensureRing(store, at(0));
  const second = await rotateRing(store, at(LEAST_KEY_AGE_MS), LEAST_KEY_AGE_MS);
  expect(second.primary).toBe(first.keys[1]?.tag);
  expect(second.keys.slice(0, 2)).toEqual(first.keys);
  const third = await rotateRing(store, at(2 * LEAST_KEY_AGE_MS), LEAST_KEY_AGE_MS);
  expect(third.keys.slice(0, 2)).toEqual(second.keys.slice(1));
  expect(third.primary).toBe(second.keys[2]?.tag);
  expect(third.keys).toHaveLength(3);
});

test('one that is young stays, of many that rotate at once one does, and a clock from before keeps it for no longer', async () => {
  const store = new MemoryStore();
  const first = await ensureRing(store, at(1_000_000));
  expect((await rotateRing(store, at(1_000_001), LEAST_KEY_AGE_MS)).primary).toBe(first.primary);
  const next = await Promise.all(Array.from({ length: 8 }, () => rotateRing(store, at(2_000_000), LEAST_KEY_AGE_MS)));
  expect(new Set(next.map(({ primary }) => primary))).toEqual(new Set([first.keys[1]?.tag]));
  expect((await rotateRing(store, at(0), LEAST_KEY_AGE_MS)).primary).toBe(next[0]?.keys[2]?.tag);
});

test('without keys there is nothing to rotate, and a record that is not ours is refused', async () => {
  const store = new MemoryStore();
  const codeFrom = (work: Promise<unknown>): Promise<string | undefined> => work.then(() => undefined, codeOf);
  expect(await codeFrom(rotateRing(store, at(1), 0))).toBe('not_supported_here');
  const sound = {
    schema: 1,
    keys: [1, 2].map((tag) => ({ tag, secret: Buffer.alloc(32).toString('base64') })),
    primary: 1,
    since: 1,
  };
  expect(decodeRing({ key: RING, value: sound, revision: 1 }).primary).toBe(1);
  for (const broken of [
    { ...sound, primary: 3 },
    { ...sound, keys: [{ tag: 1, secret: 'AAAA' }, sound.keys[1]] },
    { ...sound, keys: [sound.keys[0]] },
    { ...sound, schema: 2 },
    null,
  ]) {
    await store.commit({ put: [{ key: RING, value: broken as never }] });
    expect(await codeFrom(ensureRing(store, at(1))), JSON.stringify(broken)).toBe('store_corrupt');
  }
});
