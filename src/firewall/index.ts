export type * from './contract.ts';
export { openFirewall } from './select.ts';
