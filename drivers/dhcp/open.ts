/** The parts of the IPAM driver `dhcp`, put together. */

import { setMaxListeners } from 'node:events';
import type { Env } from '../../src/base/index.ts';
import type { IpamDriver } from '../../src/ipam/index.ts';
import type { Netns } from '../../src/kernel/index.ts';
import type { Store } from '../../src/store/index.ts';
import { clockOf } from './clock.ts';
import { DhcpIpam } from './ipam.ts';
import { Leases } from './leases.ts';
import { Renewals } from './renewals.ts';
import type { Patience } from './terms.ts';
import { ParentWires } from './wire.ts';

export interface DhcpHouse {
  readonly ipam: IpamDriver;
  /** Nobody is asked any more; leases stay. */
  close(): Promise<void>;
}

export interface DhcpOpening {
  readonly host: Netns;
  readonly env: Env;
  readonly store: Store;
  /** Default: as the RFC has it. */
  readonly patience?: Patience;
}

/** Asks nobody yet: leases are kept from when they are replayed. */
export async function openDhcp({ host, env, store, patience }: DhcpOpening): Promise<DhcpHouse> {
  const closing = new AbortController();
  // Each question that is open listens.
  setMaxListeners(0, closing.signal);
  const asking = {
    env,
    leases: await Leases.open(store),
    home: host.identity,
    closing: closing.signal,
    wires: new ParentWires(host),
    clock: clockOf(env),
  };
  const renewals = new Renewals(asking, patience);
  return {
    ipam: new DhcpIpam(asking, renewals),
    async close() {
      closing.abort();
      await renewals.idle();
    },
  };
}
