/** Leases whose answer is lost: whether they were made is not known, and what was made is given back. */

import { type ErrorCode, type Undo, codeOf } from '../../base/index.ts';

/** By which an IPAM driver says that nothing is leased. */
const REFUSALS: ReadonlySet<string | undefined> = new Set<ErrorCode>([
  'address_in_use',
  'address_out_of_range',
  'bad_ip_range',
  'bad_subnet',
  'no_free_address',
  'pool_overlap',
  'pools_exhausted',
  'unknown_address_space',
]);

/** Asks for a lease. Where the answer is no refusal, and no lease either, the undo has `giveBack`. */
export async function askFor<T>(undo: Undo, ask: () => Promise<T>, giveBack: () => Promise<unknown> | undefined): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    if (!REFUSALS.has(codeOf(error))) undo.add('release what was not answered', giveBack);
    throw error;
  }
}
