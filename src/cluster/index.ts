/** The cluster room's door: who is in the cluster, who of them is alive, and numbers that no two of them share. */

export { Cluster } from './cluster.ts';
export { createNumbers } from './numbers.ts';
