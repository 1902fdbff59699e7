/** What of a service's members is balanced. */

import { expect, test } from 'vitest';
import type { Address, Prefix } from '../../src/base/index.ts';
import { type Member, balancedOf } from '../../src/cnm/services/members.ts';
import type { ServiceRecord } from '../../src/cnm/records.ts';

const service = { id: 'a'.repeat(64), vips: [{ address: '10.0.0.9' as Address }] } as unknown as ServiceRecord;
const member = (state: Member['state'], host: number) =>
  ({ id: 'b'.repeat(64), name: `m${host}`, state, v4: `10.0.0.${host}/24` as Prefix }) as unknown as Member;

test('only who is well takes new connections; nobody who is a member loses those that it has', () => {
  const states = ['starting', 'healthy', 'unhealthy', 'draining'] as const;
  const { members, vips } = balancedOf(
    service,
    states.map((state, i) => member(state, i + 1)),
  );
  expect(vips).toEqual(['10.0.0.9']);
  expect(members.map(({ addresses, state }) => [addresses[0], state])).toEqual([
    ['10.0.0.1', 'draining'],
    ['10.0.0.2', 'serving'],
    ['10.0.0.3', 'draining'],
    ['10.0.0.4', 'draining'],
  ]);
});
