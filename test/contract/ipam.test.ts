import { createDefaultIpam, createNullIpam } from '../../src/ipam/index.ts';
import { ipamContract } from './ipam.ts';

ipamContract('default', {
  open: async () => createDefaultIpam({ hostId: 'contract' }),
  families: [4, 6],
  allocates: true,
  sharesSubnets: true,
});
ipamContract('null', { open: async () => createNullIpam(), families: [4, 6], allocates: false });
