/** Addresses that are given as nameservers. Pure. */

import { type Address, isMulticast, isUnspecified, parseAddress, unmapped } from './address.ts';
import { CnmError } from './errors.ts';

/** Where the resolver of a sandbox seems to listen, port 53. */
export const RESOLVER_ADDRESS = '127.0.0.11' as Address;

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
