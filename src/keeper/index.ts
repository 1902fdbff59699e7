/** The keeper room's door: what the keeper is told, and the daemon's link to it. The process itself is main.ts. */

export type * from './contract.ts';
export { openKeeper } from './client.ts';
export { keeperPaths } from './files.ts';
export { MAX_UPSTREAMS_LISTED } from './protocol.ts';
