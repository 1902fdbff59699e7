/** Pools of numbers on every store: two clients where the store takes them. */

import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll } from 'vitest';
import { parseEtcdAddress } from '../../src/base/index.ts';
import { MemoryStore, type Store, openEmbeddedStore, openEtcdStore } from '../../src/store/index.ts';
import { EtcdCluster } from './etcd.ts';
import { numbersContract } from './numbers.ts';

let cluster: EtcdCluster;
beforeAll(async () => {
  cluster = await EtcdCluster.start(1);
});
afterAll(() => cluster.close());

const opened: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of opened.splice(0).toReversed()) await close();
});

const kept = <S extends Store>(store: S): S => {
  opened.push(() => store.close());
  return store;
};

numbersContract('a store in memory', {
  open: async () => {
    const store = kept(new MemoryStore());
    return [store, store];
  },
});

numbersContract('the embedded store', {
  open: async () => {
    const folder = mkdtempSync(join(tmpdir(), 'pbt-numbers-'));
    opened.push(() => rmSync(folder, { recursive: true, force: true }));
    const store = kept(await openEmbeddedStore(folder));
    return [store, store];
  },
});

numbersContract('a cluster', {
  open: async () => {
    const address = parseEtcdAddress(cluster.address(`/n-${randomBytes(4).toString('hex')}`));
    return [kept(await openEtcdStore(address)), kept(await openEtcdStore(address))];
  },
});
