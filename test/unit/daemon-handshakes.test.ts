import { expect, test } from 'vitest';
import { originOf } from '../../src/daemon/handshakes.ts';

test.each([
  ['192.0.2.1', '192.0.2.1', true],
  ['192.0.2.1', '192.0.2.2', false],
  ['::ffff:192.0.2.1', '192.0.2.1', true],
  ['::ffff:192.0.2.1', '::ffff:192.0.2.2', false],
  ['2001:db8::1', '2001:db8:0:0:8000::1', true],
  ['2001:db8::1', '2001:db8:0:1::1', false],
  ['fe80::1%eth0', 'fe80::2%eth1', true],
])('%s and %s are of one owner: %s', (one, other, isSame) => {
  expect(originOf(one) === originOf(other)).toBe(isSame);
});
