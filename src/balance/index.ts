export type * from './contract.ts';
export { createBalancer } from './client.ts';
