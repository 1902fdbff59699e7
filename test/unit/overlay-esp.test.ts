/** What encrypted networks ask of ESP. */

import { describe, expect, test } from 'vitest';
import { type Secured, espChanges, espMtu, espWish, isOwnPriority, priorityOf, spiOf } from '../../drivers/overlay/esp.ts';
import type { Address } from '../../src/base/index.ts';
import type { EspChange } from '../../src/kernel/index.ts';

const [OWN, PEER, OTHER, SIX] = ['192.0.2.1', '192.0.2.2', '192.0.2.3', 'fd00::2'] as unknown as [
  Address,
  Address,
  Address,
  Address,
];
const OWNER = 0x1234_5678;
const key = (tag: number) => ({ tag, secret: Buffer.alloc(32, tag) });
const secured = (change: Partial<Secured> = {}): Secured => ({
  own: OWN,
  ports: new Set([4790]),
  hosts: [OWN, PEER, PEER, SIX],
  keys: { keys: [key(1), key(2), key(3)], primary: 2 },
  owner: OWNER,
  ...change,
});
const NOTHING = { states: [], policies: [] };
const opsOf = (changes: readonly EspChange[]): string[] => [...new Set(changes.map(({ op }) => op))];

describe('the wish', () => {
  test('has a state in for each key and one out, for each host of the own family, with a key for each direction', () => {
    const { states } = espWish(secured());
    expect(states.filter(({ dst }) => dst === OWN).map(({ src, spi }) => [src, spi])).toEqual(
      [1, 2, 3].map((tag) => [PEER, spiOf(PEER, OWN, tag)]),
    );
    expect(states.filter(({ src }) => src === OWN).map(({ dst, spi }) => [dst, spi])).toEqual([[PEER, spiOf(OWN, PEER, 2)]]);
    expect(new Set(states.map(({ secret }) => secret.toString('hex'))).size).toBe(4);
    // The other side makes the same of it.
    const there = espWish(secured({ own: PEER }));
    const sent = states.find(({ src }) => src === OWN);
    const taken = there.states.find(({ spi, src }) => src === OWN && spi === sent?.spi);
    expect(taken?.secret.equals(sent?.secret ?? Buffer.alloc(0))).toBe(true);
  });

  test('shuts each port both ways, and opens it to hosts only through the state of the key in use', () => {
    const { policies } = espWish(secured({ ports: new Set([4790, 5000]) }));
    const shut = policies.filter(({ priority }) => priority === priorityOf('shut', OWNER));
    expect(shut.map(({ direction, port, src, dst, through }) => [direction, port, src ?? dst, through?.spi])).toEqual(
      [4790, 5000].flatMap((port) => [
        ['out', port, undefined, undefined],
        ['in', port, undefined, undefined],
      ]),
    );
    expect(shut.filter(({ direction }) => direction === 'out').every(({ through }) => through === undefined)).toBe(true);
    const open = policies.filter(({ priority }) => priority === priorityOf('open', OWNER));
    expect(open.map(({ port, dst, through }) => [port, dst, through?.spi])).toEqual([
      [4790, PEER, spiOf(OWN, PEER, 2)],
      [5000, PEER, spiOf(OWN, PEER, 2)],
    ]);
    expect(priorityOf('open', OWNER)).toBeLessThan(priorityOf('shut', OWNER));
  });

  test('without keys only shuts; without ports is empty', () => {
    const shut = espWish(secured({ keys: undefined }));
    expect(shut.states).toEqual([]);
    expect(shut.policies.map(({ direction }) => direction)).toEqual(['out', 'in']);
    expect(espWish(secured({ ports: new Set() }))).toEqual(NOTHING);
  });
});

describe('changes', () => {
  test('make states before what uses them, and nothing twice', () => {
    const wish = espWish(secured());
    expect(opsOf(espChanges(NOTHING, wish, true))).toEqual(['state.add', 'policy.put']);
    expect(espChanges({ states: wish.states, policies: wish.policies }, wish, true)).toEqual([]);
  });

  test('of a rotation: new states, then the switch, then the old ones go', () => {
    const before = espWish(secured());
    const after = espWish(secured({ keys: { keys: [key(2), key(3), key(4)], primary: 3 } }));
    const changes = espChanges(before, after, true);
    expect(changes.map(({ op }) => op)).toEqual(['state.add', 'state.add', 'policy.put', 'state.remove', 'state.remove']);
    // What is still on its way with the old key is taken.
    const gone = changes.flatMap((change) => (change.op === 'state.remove' ? change.state.spi : []));
    expect(gone.toSorted()).toEqual([spiOf(PEER, OWN, 1), spiOf(OWN, PEER, 2)].toSorted());
  });

  test('take nothing away while the keys are not known, and shut last', () => {
    const before = espWish(secured({ hosts: [PEER, OTHER] }));
    expect(espChanges(before, espWish(secured({ keys: undefined })), false)).toEqual([]);
    const leaving = espChanges(before, NOTHING, true);
    expect(opsOf(leaving)).toEqual(['policy.remove', 'state.remove']);
    const priorities = leaving.flatMap((change) => (change.op === 'policy.remove' ? change.policy.priority : []));
    expect(priorities).toEqual(priorities.toSorted((a, b) => a - b));
  });
});

test('priorities tell one daemon’s policies from another’s and from strangers’', () => {
  for (const kind of ['shut', 'open'] as const) {
    expect(isOwnPriority(priorityOf(kind, OWNER), OWNER)).toBe(true);
    expect(isOwnPriority(priorityOf(kind, OWNER), OWNER + 1)).toBe(false);
  }
  for (const foreign of [0, 1, 2500, OWNER]) expect(isOwnPriority(foreign, OWNER)).toBe(false);
});

test('names of states differ by direction, and none is reserved', () => {
  expect(spiOf(OWN, PEER, 1)).not.toBe(spiOf(PEER, OWN, 1));
  for (let tag = 0; tag < 5000; tag++) expect(spiOf(OWN, PEER, tag)).toBeGreaterThanOrEqual(256);
});

test.each([
  [1450, 1424],
  [1430, 1404],
  [8950, 8924],
  [1433, 1404],
])('of %i octets %i are left', (room, left) => expect(espMtu(room)).toBe(left));
