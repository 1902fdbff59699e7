export { bareLinkName } from './bare.ts';
export type * from './contract.ts';
export { Registry, type DriverRegistry, type ForeignDrivers, type IpamRegistry } from './registry.ts';
export { parseEndpointSysctls } from './endpoint-sysctls.ts';
export { addressesInside, dress, isIPv6Off, restoreInside } from './inside.ts';
export { labels } from './labels.ts';
export * as wire from './wire.ts';
export * as asking from './asking.ts';
