import { silentLogger } from '../../src/base/index.ts';
import { createDefaultIpam, createNullIpam, createSharedIpam } from '../../src/ipam/index.ts';
import { type ClusterStore, MemoryStore, type Store } from '../../src/store/index.ts';
import { ipamContract } from './ipam.ts';

ipamContract('default', {
  open: async () => createDefaultIpam({ hostId: 'contract' }),
  families: [4, 6],
  allocates: true,
  sharesSubnets: true,
});
ipamContract('null', { open: async () => createNullIpam(), families: [4, 6], allocates: false });
ipamContract('cluster, on a store in memory', {
  open: async () => {
    const store = new MemoryStore();
    return createSharedIpam({
      store: () => store as Store as ClusterStore,
      site: () => 'site',
      node: 'contract',
      log: silentLogger,
    });
  },
  families: [4, 6],
  allocates: true,
  sharesSubnets: true,
});
