export type * from './contract.ts';
export { openKeeper, type KeeperOptions } from './client.ts';
