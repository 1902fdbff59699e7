import { expect, test } from 'vitest';
import { keepAliveMs } from '../../src/kernel/notify.ts';

const HERE = String(process.pid);

test.each<[usec: string | undefined, pid: string | undefined, ms: number | undefined]>([
  ['30000000', undefined, 15_000],
  ['30000000', HERE, 15_000],
  ['5000', HERE, 2],
  // A timer of less would be none at all, and one of more would not pause.
  ['1', HERE, 1],
  ['18446744073709551615', HERE, undefined],
  ['9223372036854775807', HERE, 0x7fffffff],
  ['30000000', '1', undefined],
  ['30000000', '', undefined],
  [undefined, HERE, undefined],
  ['', HERE, undefined],
  ['0', HERE, undefined],
  ['-1', HERE, undefined],
  ['1e9', HERE, undefined],
  ['0x1000', HERE, undefined],
  [' 30000000', HERE, undefined],
  ['NaN', HERE, undefined],
])('WATCHDOG_USEC=%s of process %s: a word every %s ms', (usec, pid, ms) => {
  const env = { ...(usec !== undefined && { WATCHDOG_USEC: usec }), ...(pid !== undefined && { WATCHDOG_PID: pid }) };
  expect(keepAliveMs(env)).toBe(ms);
});
