import { describe, expect, test } from 'vitest';
import { codeOf, messageOf } from '../../src/base/index.ts';
import { checkResolverOptions } from '../../src/cnm/resolver-words.ts';

function refusal(action: () => unknown): [code: string | undefined, message: string] {
  try {
    action();
  } catch (error) {
    return [codeOf(error), messageOf(error)];
  }
  return [undefined, 'accepted'];
}

describe('what a resolver is told', () => {
  test('options that are numbers need one; others are the resolver’s business', () => {
    for (const word of ['ndots', 'ndots:', 'ndots:-1', 'ndots:many', 'timeout:1.5', 'attempts:1:2'])
      expect(
        refusal(() => checkResolverOptions([word])),
        word,
      ).toEqual(['bad_option', expect.stringContaining('whole number')]);
    expect(checkResolverOptions(['ndots:0', 'timeout:3', 'rotate', 'edns0'])).toHaveLength(4);
  });
});
