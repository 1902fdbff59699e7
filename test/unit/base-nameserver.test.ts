import { describe, expect, test } from 'vitest';
import { codeOf, messageOf, parseNameserver } from '../../src/base/index.ts';

const IN_IPV6 = ['::ffff:127.0.0.11', '::ffff:7f00:b', '::ffff:0.0.0.0', '::ffff:224.0.0.1', '::ffff:255.255.255.255'];

function refusal(text: string): [code: string | undefined, message: string] {
  try {
    return [undefined, `accepted as ${parseNameserver(text)}`];
  } catch (error) {
    return [codeOf(error), messageOf(error)];
  }
}

describe('a nameserver that is given', () => {
  test.each([...IN_IPV6, '127.0.0.11', '0.0.0.0', '::', '224.0.0.1', 'ff02::1', '255.255.255.255', '1.1.1.1:53'])(
    '%s is refused',
    (text) => {
      expect(refusal(text)).toEqual(['bad_address', expect.stringMatching(/nameserver|address/)]);
    },
  );

  test.each(['127.0.0.1', '192.0.2.53', 'fe80::1', '2001:db8::1'])('%s is taken', (text) => {
    expect(parseNameserver(text)).toBe(text);
  });

  test('an IPv4 address inside an IPv6 one is taken as what it is', () => {
    expect(parseNameserver('::ffff:192.0.2.53')).toBe('192.0.2.53');
  });
});
