export * from './errors.ts';
export * from './ids.ts';
export * from './address.ts';
export * from './undo.ts';
export * from './lock.ts';
export * from './env.ts';
export * from './json.ts';
export * from './parse.ts';
export type * from './api.ts';
