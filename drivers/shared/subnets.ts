/** What no subnet of a network with links may be. Pure. */

import {
  CnmError,
  type Prefix,
  familyOf,
  isMulticast,
  prefixAddress,
  prefixLength,
  prefixesOverlap,
} from '../../src/base/index.ts';

const FE80 = 'fe80::/64' as Prefix;
const LOOPBACK = ['127.0.0.0/8', '::1/128'] as Prefix[];
/** Packets from there are dropped by the kernel (RFC 4291 §2.5.5.2: addresses of nodes that speak IPv4). */
const MAPPED = '::ffff:0:0/96' as Prefix;

/** Throws bad_subnet. */
export function checkSubnet(subnet: Prefix): void {
  const family = familyOf(subnet);
  if (prefixLength(subnet) === 0) throw new CnmError('bad_subnet', `ipv${family} pool is empty`);
  if (isMulticast(prefixAddress(subnet))) throw new CnmError('bad_subnet', `subnet ${subnet} is multicast`);
  if (LOOPBACK.some((loopback) => prefixesOverlap(subnet, loopback)))
    throw new CnmError('bad_subnet', `subnet ${subnet} overlaps loopback addresses`);
  if (prefixesOverlap(subnet, MAPPED))
    throw new CnmError('bad_subnet', `subnet ${subnet} overlaps ${MAPPED}, which is IPv4 written as IPv6: give it as IPv4`);
  if (family === 6 && prefixesOverlap(subnet, FE80) && subnet !== FE80) {
    throw new CnmError('bad_subnet', `subnet ${subnet} overlaps ${FE80}, which is link-local: only exactly that one is taken`);
  }
}
