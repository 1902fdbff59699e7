/** IpamDriver.*: our IPAM, as an engine sees it (spec 03 §7). */

import type { z } from 'zod';
import { type Prefix, familyOf, parseAddress, parsePrefix } from '../base/index.ts';
import type { Guests } from '../cnm/index.ts';
import { wire } from '../driver/index.ts';
import { REQUEST_ADDRESS_TYPE } from '../ipam/index.ts';
import { asked } from './body.ts';
import type { Method } from './network-face.ts';

/** What the engine says of whom an address is for. */
const OWNER_KEYS = [wire.keys.endpointName, REQUEST_ADDRESS_TYPE];

/** Of networks of several hosts: pools and spaces are the cluster's, all else is as for others. */
export function homeIpamFace(guests: Guests): Readonly<Record<string, Method>> {
  return {
    ...ipamFace(guests),
    async 'IpamDriver.GetDefaultAddressSpaces'() {
      // An engine asks before anybody makes a network; who is in no cluster is told so then.
      return { LocalDefaultAddressSpace: HOME_SPACE, GlobalDefaultAddressSpace: HOME_SPACE };
    },
    async 'IpamDriver.RequestPool'(body) {
      const given = asked(wire.requests.requestPool, body, 'RequestPool');
      const { pool, prefix } = await guests.requestHomePool({ ...poolWish(given), options: given.Options ?? {} });
      return { PoolID: pool, Pool: prefix, Data: {} };
    },
  };
}

/** What an engine calls the address space of the cluster. */
const HOME_SPACE = 'Shared';

const prefixOf = (text: string | null | undefined): Prefix | undefined => (text ? parsePrefix(text) : undefined);

function poolWish(given: z.output<typeof wire.requests.requestPool>) {
  const [subnet, range] = [prefixOf(given.Pool), prefixOf(given.SubPool)];
  const family = given.V6 === true || (subnet !== undefined && familyOf(subnet) === 6) ? 6 : 4;
  return { family, ...(subnet && { subnet }), ...(range && { range }) } as const;
}

/** By the method's whole name. */
export function ipamFace(guests: Guests): Readonly<Record<string, Method>> {
  const { requests } = wire;
  const methods: Record<string, Method> = {
    // Leases are kept here over restarts of both sides: nothing has to be asked for again.
    GetCapabilities: async () => ({ RequiresMACAddress: false, RequiresRequestReplay: false }),

    async GetDefaultAddressSpaces() {
      const { local, global } = await guests.addressSpaces();
      return { LocalDefaultAddressSpace: local, GlobalDefaultAddressSpace: global };
    },

    async RequestPool(body) {
      const given = asked(requests.requestPool, body, 'RequestPool');
      const wish = { space: given.AddressSpace, ...poolWish(given), options: given.Options ?? {} };
      const { pool, prefix } = await guests.requestPool(wish);
      return { PoolID: pool, Pool: prefix, Data: {} };
    },

    async ReleasePool(body) {
      await guests.releasePool(asked(requests.pool, body, 'ReleasePool').PoolID);
      return {};
    },

    async RequestAddress(body) {
      const { PoolID, Address: text, Options } = asked(requests.requestAddress, body, 'RequestAddress');
      const options = Options ?? {};
      const address = await guests.requestAddress(PoolID, {
        ...(text && { address: parseAddress(text) }),
        owner: OWNER_KEYS.map((key) => options[key]).find(Boolean) ?? '',
        options,
      });
      return { Address: address, Data: {} };
    },

    async ReleaseAddress(body) {
      const given = asked(requests.releaseAddress, body, 'ReleaseAddress');
      await guests.releaseAddress(given.PoolID, parseAddress(given.Address));
      return {};
    },
  };
  return Object.fromEntries(Object.entries(methods).map(([name, serve]) => [`IpamDriver.${name}`, serve]));
}
