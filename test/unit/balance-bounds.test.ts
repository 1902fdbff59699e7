/** What is reckoned for a table is no less than what is sent for it. */

import { expect, test } from 'vitest';
import { octetsOf, refuseTooMany } from '../../src/balance/bounds.ts';
import { baseOf, changes, type Group, type Scheme } from '../../src/balance/table.ts';
import type { Address } from '../../src/base/index.ts';
import { MAX_TRANSACTION_OCTETS, nft, TableWriter } from '../../src/kernel/index.ts';
import { frame } from '../../src/kernel/messages.ts';

const SCHEME: Scheme = { maps: { virtual6: { keyType: nft.TYPE.ipv6, keyLength: 16 } }, chains: {} };
const writer = new TableWriter(nft.FAMILY.inet, 'patchbay-0123abcd-services');
const sentFor = (groups: readonly Group[]): number =>
  frame(
    changes(writer, { rules: new Map(), elements: new Map() }, ['virtual6'], groups, groups, (group) => group),
    0,
    1,
  ).length;

const groupOf = (four: number, six: number, rest: Partial<Group> = {}): Group => {
  const targets = [
    ...Array.from({ length: four }, (_, i) => `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`),
    ...Array.from({ length: six }, (_, i) => `fd00::${i.toString(16)}`),
  ] as Address[];
  const keys = { virtual6: [Buffer.alloc(16, 1), Buffer.alloc(16, 2)] };
  // As long as names become.
  return { chain: `to-${'a'.repeat(32)}-udp-65535`, keys, targets, keeping: targets, ...rest };
};

test('of every kind of group', () => {
  const groups = [
    groupOf(0, 0),
    groupOf(1, 0),
    groupOf(1, 1),
    groupOf(20, 20, { port: 65_535 }),
    groupOf(20, 20, { mark: 0xffff_ffff }),
    groupOf(2340, 1638, { mark: 1 }),
    groupOf(2341, 1639),
    groupOf(7000, 5000, { port: 80 }),
  ];
  for (const group of groups) {
    expect(sentFor([group])).toBeLessThanOrEqual(octetsOf([group]));
  }
  expect(sentFor(groups)).toBeLessThanOrEqual(octetsOf(groups));
  expect(frame(baseOf(writer, SCHEME), 0, 1).length).toBeLessThan(4096);
});

test('up to the limit, and no further', () => {
  const many = Array<Address>(100_000).fill('10.0.0.1' as Address);
  const group = groupOf(0, 0, { targets: many });
  const most = Math.floor(MAX_TRANSACTION_OCTETS / octetsOf([group]));
  refuseTooMany(Array<Group>(most).fill(group));
  const over = Array<Group>(most + 1).fill(group);
  expect(() => refuseTooMany(over)).toThrow(
    expect.objectContaining({ code: 'too_many_members', message: expect.stringContaining(`${most + 1} services with`) }),
  );
});
