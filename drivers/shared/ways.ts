/** Subnets of networks on a parent, and how their sandboxes lead out. Pure. */

import { type Address, CnmError, type Prefix, networkOf, prefixLength } from '../../src/base/index.ts';
import type { DriverEndpoint, DriverNetwork, DriverPool, JoinResult, WayOut } from '../../src/driver/index.ts';
import type { ParentedOptions } from './parented-options.ts';
import { checkSubnet } from './subnets.ts';

/** Throws bad_subnet. */
export function checkPools(net: DriverNetwork): void {
  for (const [family, pools, isWanted] of [
    [4, net.v4, net.enableIPv4],
    [6, net.v6, net.enableIPv6],
  ] as const) {
    if (isWanted && pools.length === 0) throw new CnmError('bad_subnet', `ipv${family} pool is empty`);
    for (const { prefix } of pools) checkSubnet(prefix);
  }
}

/** How a sandbox leaves by the endpoint. Throws address_out_of_range for an address of no subnet. */
export function waysOf(
  net: DriverNetwork,
  { iface }: DriverEndpoint,
  { isClosed, mode }: ParentedOptions,
): Pick<JoinResult, 'gateway' | 'gateway6' | 'wayOut'> {
  const gatewayOf = (family: 4 | 6, pools: readonly DriverPool[], prefix: Prefix | undefined): Address | WayOut['v4'] => {
    if (prefix === undefined) return undefined;
    const pool = pools.find((one) => one.prefix === networkOf(prefix) && prefixLength(one.prefix) === prefixLength(prefix));
    if (pool === undefined)
      throw new CnmError('address_out_of_range', `could not find a valid ipv${family} subnet for ${prefix}`);
    if (isClosed) return undefined;
    return mode.isLayer3 ? 'link' : (pool.gateway ?? 'none');
  };
  const v4 = gatewayOf(4, net.v4, iface.v4);
  const v6 = gatewayOf(6, net.v6, iface.v6);
  const isWay = (way: typeof v4): way is 'link' | 'none' => way === 'link' || way === 'none';
  const wayOut: WayOut = { ...(isWay(v4) && { v4 }), ...(isWay(v6) && { v6 }) };
  return {
    ...(v4 !== undefined && !isWay(v4) && { gateway: v4 }),
    ...(v6 !== undefined && !isWay(v6) && { gateway6: v6 }),
    ...(Object.keys(wayOut).length > 0 && { wayOut }),
  };
}
