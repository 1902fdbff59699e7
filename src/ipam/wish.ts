/** What is asked of a pool, in one form. Pure. */

import {
  CnmError,
  familyOf,
  isUnspecified,
  networkOf,
  prefixAddress,
  prefixLength,
  prefixesOverlap,
  type Prefix,
} from '../base/index.ts';
import type { PoolRequest } from './contract.ts';

export interface Wish {
  /** Absent: any free one. */
  readonly subnet?: Prefix;
  readonly range?: Prefix;
  /** Wanted length when any subnet will do; absent: the pool's own. */
  readonly size?: number;
  readonly asked: string;
}

/** Masks and checks subnet and range. Throws bad_subnet, bad_ip_range. */
export function normalWish(request: PoolRequest): Wish {
  const given = request.subnet;
  if (given !== undefined && familyOf(given) !== request.family) {
    throw new CnmError('bad_subnet', `subnet ${given} is not IPv${request.family}`);
  }
  const isAny = given === undefined || isUnspecified(prefixAddress(given));
  const asked = [request.family, given ?? '', request.range ?? ''].join(' ');
  if (isAny) {
    if (request.range !== undefined) throw new CnmError('bad_ip_range', `range ${request.range} needs a subnet that contains it`);
    const length = given === undefined ? 0 : prefixLength(given);
    return { asked, ...(length === 0 ? {} : { size: length }) };
  }
  const subnet = networkOf(given);
  const range = request.range === undefined ? undefined : normalRange(subnet, request.range);
  return { subnet, asked, ...(range === undefined ? {} : { range }) };
}

/** The range without host bits; undefined when it covers the subnet. */
function normalRange(subnet: Prefix, range: Prefix): Prefix | undefined {
  if (!prefixesOverlap(subnet, range)) throw new CnmError('bad_ip_range', `range ${range} is not inside subnet ${subnet}`);
  return prefixLength(range) <= prefixLength(subnet) ? undefined : networkOf(range);
}
