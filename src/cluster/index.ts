/** The cluster room's door: who is in the cluster, and who of them is alive. */

export { Cluster } from './cluster.ts';
