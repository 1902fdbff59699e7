export type * from './contract.ts';
export { createBalancer } from './choice.ts';
export { createGate, isCarried } from './gate.ts';
export { TableMemory } from './memory.ts';
