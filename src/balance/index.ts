/** The balance room's door. */

export type { BalancedService, Balancer, PublishedService } from './contract.ts';
