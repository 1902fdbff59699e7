/** What a sandbox's resolver is told to do: search domains, options. Pure. */

import { CnmError, quoted } from '../base/index.ts';

/** Options of resolv.conf that are nothing without a number (resolv.conf(5)). */
const NUMBERED = ['ndots', 'timeout', 'attempts'];

/** Words that end up in a line of resolv.conf. Throws bad_option. */
export function checkResolverWords(words: readonly string[], what: 'search domain' | 'resolver option'): readonly string[] {
  const wrong = words.find((word) => !/^[a-zA-Z0-9_.:-]{1,253}$/.test(word));
  if (wrong !== undefined)
    throw new CnmError('bad_option', `invalid ${what} ${quoted(wrong)}: use 1 to 253 of the characters [a-zA-Z0-9_.:-]`);
  return words;
}

/** Also what is behind the colon, where a number is wanted. Throws bad_option. */
export function checkResolverOptions(words: readonly string[]): readonly string[] {
  for (const word of checkResolverWords(words, 'resolver option')) {
    const [name = '', ...value] = word.split(':');
    if (NUMBERED.includes(name) && !/^\d{1,5}$/.test(value.join(':')))
      throw new CnmError(
        'bad_option',
        `invalid resolver option ${quoted(word)}: use ${name} with a whole number, such as ${name}:1`,
      );
  }
  return words;
}
