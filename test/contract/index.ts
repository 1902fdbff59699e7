/** The contract suites, for whoever writes an implementation: each takes a name and a manifest, and declares vitest tests. */

export { driverContract, type DriverManifest, type DriverStage } from './driver.ts';
export { firewallContract, type FirewallManifest } from './firewall.ts';
export { ipamContract, type IpamManifest } from './ipam.ts';
export { keeperContract, type KeeperManifest } from './keeper.ts';
export { storeContract, type StoreManifest } from './store.ts';
