export type * from './contract.ts';
export { MemoryStore } from './memory.ts';
export { type EmbeddedStore, openEmbeddedStore } from './embedded.ts';
export { Collection, type Codec } from './collection.ts';
export { HistoryGone } from './etcd/history.ts';
export { Debts } from './debts.ts';
export { openEtcdStore } from './etcd/index.ts';
