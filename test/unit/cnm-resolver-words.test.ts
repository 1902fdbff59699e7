import { describe, expect, test } from 'vitest';
import { codeOf, messageOf } from '../../src/base/index.ts';
import { checkResolverOptions, parseNameserver } from '../../src/cnm/resolver-words.ts';

function refusal(action: () => unknown): [code: string | undefined, message: string] {
  try {
    action();
  } catch (error) {
    return [codeOf(error), messageOf(error)];
  }
  return [undefined, 'accepted'];
}

describe('what a resolver is told', () => {
  test.each(['127.0.0.11', '0.0.0.0', '::', '224.0.0.1', 'ff02::1', '255.255.255.255', '1.1.1.1:53'])(
    'nameserver %s is refused',
    (text) => {
      expect(refusal(() => parseNameserver(text))).toEqual(['bad_address', expect.stringContaining(text.slice(0, 3))]);
    },
  );

  test.each(['127.0.0.1', '192.0.2.53', 'fe80::1', '2001:db8::1'])('nameserver %s is taken', (text) => {
    expect(parseNameserver(text)).toBe(text);
  });

  test('options that are numbers need one; others are the resolver’s business', () => {
    for (const word of ['ndots', 'ndots:', 'ndots:-1', 'ndots:many', 'timeout:1.5', 'attempts:1:2'])
      expect(
        refusal(() => checkResolverOptions([word])),
        word,
      ).toEqual(['bad_option', expect.stringContaining('whole number')]);
    expect(checkResolverOptions(['ndots:0', 'timeout:3', 'rotate', 'edns0'])).toHaveLength(4);
  });
});
