/** The cluster room's door: who is in the cluster, and who of them is alive. */

export { Cluster, type ClusterParts } from './cluster.ts';
export type { NodeRecord } from './records.ts';
export type { ClusterNode } from './roster.ts';
