/** The cluster store, loaded when it is wanted: its client takes memory that a single machine needs not give. */

import type { EtcdAddress } from '../../base/index.ts';
import type { ClusterStore } from '../contract.ts';

/** Throws store_unreachable when no member answers, store_refused when none lets us in, bad_request for files that cannot be read. */
export async function openEtcdStore(address: EtcdAddress): Promise<ClusterStore> {
  const store = await import('./store.ts');
  return store.openEtcdStore(address);
}
