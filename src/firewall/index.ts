export type * from './contract.ts';
export { openFirewall, type FirewallOptions } from './select.ts';
