export * from './contract.ts';
export { createDefaultIpam, GLOBAL_SPACE, LOCAL_SPACE } from './default.ts';
export { createNullIpam } from './null.ts';
export { createSharedIpam } from './shared.ts';
export { parseAddressPools, type AddressPool } from './pools.ts';
