/** What the host and null drivers have in common: one network, no addresses, no links. */

import type { Driver } from '../../src/driver/index.ts';

export function driverOfNothing(name: string, sandbox: 'host' | 'none'): Driver {
  return {
    name,
    capabilities: { scope: 'local', connectivity: 'local', addressing: 'none', sandbox, singleton: true },
    createNetwork: async () => ({ state: null }),
    deleteNetwork: async () => {},
    createEndpoint: async () => ({ iface: {}, state: null }),
    deleteEndpoint: async () => {},
    join: async () => ({ routes: [], suppressDefaultGateway: false, publish: [], state: null }),
    leave: async () => ({}),
  };
}
