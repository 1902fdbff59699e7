import { expect, test } from 'vitest';
import { parseSocketTable } from '../../src/kernel/inbound.ts';

const HEAD = '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n';

test('rows of the kernel are read, of both families', () => {
  const v4 = '   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0\n';
  const v6 = '   1: 000080FE00000000FF005450B6AD1DFE:0050 00000000000000000000000000000000:0000 01 00000000:00000000 00:0\n';
  const mapped = '   2: 0000000000000000FFFF00000200010A:0050 0000000000000000FFFF00000300010A:E000 01 00000000:00000000 00:0\n';
  expect(parseSocketTable(HEAD + v4 + v6 + mapped)).toEqual([
    { address: '127.0.0.1', port: 8080, state: 10 },
    { address: 'fe80::5054:ff:fe1d:adb6', port: 80, state: 1 },
    { address: '10.1.0.2', port: 80, state: 1 },
  ]);
});

test('what is no row is nothing', () => {
  expect(parseSocketTable(`${HEAD}\nnonsense\n   0: 0100007F 00\n`)).toEqual([]);
});
