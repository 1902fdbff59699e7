/** What a sandbox's resolver is told to do: nameservers, search domains, options. Pure. */

import { type Address, CnmError, isMulticast, isUnspecified, parseAddress, quoted } from '../base/index.ts';
import { RESOLVER_ADDRESS } from '../dns/index.ts';

/** Options of resolv.conf that are nothing without a number (resolv.conf(5)). */
const NUMBERED = ['ndots', 'timeout', 'attempts'];

/** An address at which one server can answer; a resolver that asked at its own would ask itself. Throws bad_address. */
export function parseNameserver(text: string): Address {
  const address = parseAddress(text);
  if (address === RESOLVER_ADDRESS)
    throw new CnmError(
      'bad_address',
      `nameserver ${address} is the resolver of the sandbox itself: name the one that it shall ask`,
    );
  if (isUnspecified(address) || isMulticast(address) || address === '255.255.255.255')
    throw new CnmError('bad_address', `nameserver ${address} is not the address of one server: use one such as 192.0.2.53`);
  return address;
}

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
