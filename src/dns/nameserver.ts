/** Addresses that are given as nameservers. Pure. */

import { type Address, CnmError, isMulticast, isUnspecified, parseAddress, unmapped } from '../base/index.ts';
import { RESOLVER_ADDRESS } from './resolvconf.ts';

/**
 * An address at which one server can answer, an IPv4 address inside an IPv6 one as what it is; a resolver that asked at its own
 * would ask itself. Throws bad_address.
 */
export function parseNameserver(text: string): Address {
  const given = parseAddress(text);
  const address = unmapped(given) ?? given;
  if (address === RESOLVER_ADDRESS)
    throw new CnmError(
      'bad_address',
      `nameserver ${address} is the resolver of the sandbox itself: name the one that it shall ask`,
    );
  if (isUnspecified(address) || isMulticast(address) || address === '255.255.255.255')
    throw new CnmError('bad_address', `nameserver ${address} is not the address of one server: use one such as 192.0.2.53`);
  return address;
}
