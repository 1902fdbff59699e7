/** The IPAM driver `null`: hands nothing out, for networks without addresses. */

import { CnmError, type Address, type Prefix } from '../base/index.ts';
import type { AddressRequest, IpamDriver, Pool, PoolId, PoolRequest } from './contract.ts';

const SPACE = 'null';
const POOLS = { 4: '0.0.0.0/0' as Prefix, 6: '::/0' as Prefix };

export function createNullIpam(): IpamDriver {
  return {
    name: 'null',
    capabilities: { requiresMac: false, requiresReplay: false },
    addressSpaces: async () => ({ local: SPACE, global: SPACE }),
    requestPool: async (request: PoolRequest): Promise<Pool> => {
      if (request.space !== SPACE) {
        throw new CnmError('unknown_address_space', `cannot find address space ${JSON.stringify(request.space)}`);
      }
      const prefix = POOLS[request.family];
      if ((request.subnet ?? prefix) !== prefix)
        throw new CnmError('bad_subnet', `the null IPAM driver has no subnet ${request.subnet}`);
      if (request.range !== undefined) throw new CnmError('bad_ip_range', `the null IPAM driver has no range ${request.range}`);
      return { id: `${SPACE}/${prefix}`, prefix };
    },
    releasePool: async (): Promise<void> => {},
    requestAddress: async (pool: PoolId, request: AddressRequest): Promise<Prefix> => {
      if (request.address !== undefined) {
        throw new CnmError('address_out_of_range', `the null IPAM driver has no address ${request.address}`);
      }
      return pool === `${SPACE}/${POOLS[6]}` ? POOLS[6] : POOLS[4];
    },
    releaseAddress: async (_pool: PoolId, _address: Address): Promise<void> => {},
  };
}
