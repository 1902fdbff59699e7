/** Virtual addresses: leased from the subnets of the service's network, one of each family, for the service itself. */

import { CnmError, type Undo, codeOf, prefixAddress } from '../../base/index.ts';
import type { Cnm } from '../context.ts';
import type { NetworkRecord, ServiceRecord } from '../records.ts';
import { askFor } from '../steps/doubt.ts';

type Vips = ServiceRecord['vips'];

/** Throws no_free_address, not_supported_here. */
export async function requestVips(cnm: Cnm, net: NetworkRecord, owner: ServiceRecord['id'], undo: Undo): Promise<Vips> {
  if (net.pools.length === 0 || net.ipam.needsMac === true)
    throw new CnmError('not_supported_here', `network ${net.name} has no address to spare for a service: use mode dnsrr`);
  const ipam = cnm.ipams.get(net.ipam.driver);
  const vips: { address: Vips[number]['address']; pool: string }[] = [];
  for (const family of [4, 6] as const) {
    const pools = net.pools.filter((pool) => pool.family === family);
    for (const [i, { pool }] of pools.entries()) {
      try {
        // Of no host: it stays when the one that asks for it now is gone.
        const leased = await askFor(
          undo,
          () => ipam.requestAddress(pool, { owner, isForPool: true, options: net.ipam.options }),
          () => ipam.releaseOwned?.(owner, pool),
        );
        const address = prefixAddress(leased);
        undo.add(`release virtual address ${address}`, () => ipam.releaseAddress(pool, address, owner));
        vips.push({ address, pool });
        break;
      } catch (error) {
        if (codeOf(error) !== 'no_free_address' || i === pools.length - 1) throw error;
      }
    }
  }
  return vips;
}

/** Gives them back; what is free already is fine. */
export async function releaseVips(cnm: Cnm, net: NetworkRecord, { id, vips }: ServiceRecord): Promise<void> {
  const ipam = cnm.ipams.find(net.ipam.driver);
  for (const { address, pool } of vips) await ipam?.releaseAddress(pool, address, id);
}

/** Leases again exactly what the record says. */
export async function replayVips(cnm: Cnm, net: NetworkRecord, { id, vips }: ServiceRecord): Promise<void> {
  const ipam = cnm.ipams.get(net.ipam.driver);
  for (const { address, pool } of vips)
    await ipam.requestAddress(pool, { owner: id, address, isForPool: true, isReplay: true, options: net.ipam.options });
}
