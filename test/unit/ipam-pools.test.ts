import { expect, test } from 'vitest';
import { codeOf, messageOf } from '../../src/base/index.ts';
import { parseAddressPools } from '../../src/ipam/index.ts';

test('pools of the flag are parsed and host bits of the base masked', () => {
  expect(parseAddressPools(['base=10.10.3.4/16,size=24', ' size=64, base=2001:DB8::/56'])).toEqual([
    { base: '10.10.0.0/16', size: 24 },
    { base: '2001:db8::/56', size: 64 },
  ]);
  expect(parseAddressPools([])).toEqual([]);
});

test('every problem of every pool is named in one error', () => {
  const texts = [
    'base=10.0.0.0/16,size=8',
    'base=10.0.0.0/16',
    'size=x,base=10.0.0.0',
    'base=10.0.0.0/8,size=33,colour=red,size=24',
    'base=224.0.0.0/8,size=24',
    'base=127.0.0.0/8,size=24',
    'base=ff00::/8,size=64',
  ];
  const refuse = (): unknown => {
    try {
      return parseAddressPools(texts);
    } catch (error) {
      return error;
    }
  };
  const failure = refuse();
  expect(codeOf(failure)).toBe('bad_config');
  const message = messageOf(failure);
  for (const part of [
    'base 10.0.0.0/16 has a smaller prefix than the target size 8',
    'size is missing',
    'size "x" is not a length',
    'base "10.0.0.0" is not a prefix',
    'size 33 is longer than an IPv4 address (32)',
    'unknown key "colour"',
    'size is given twice',
    'base 224.0.0.0/8 has addresses of no network',
    'base 127.0.0.0/8 has addresses of no network',
    'base ff00::/8 has addresses of no network',
  ]) {
    expect(message).toContain(part);
  }
});
