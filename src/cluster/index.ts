/** The cluster room's door: who is in the cluster, who of them is alive, its records as they change, and numbers that no two of them share. */

export { Cluster } from './cluster.ts';
export { follow, type Followed } from './follow.ts';
export { KEYS, LEAST_KEY_AGE_MS, decodeRing, ensureRing, rotateRing, type KeyRing } from './keys.ts';
export { createNumbers, givingBackLater } from './numbers.ts';
