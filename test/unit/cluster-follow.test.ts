/** Following a part of the cluster's records, while the cluster does not let this host in for a time. */

import { expect, test } from 'vitest';
import { CnmError } from '../../src/base/index.ts';
import { type Followed, follow } from '../../src/cluster/index.ts';
import { type Change, type ClusterStore, MemoryStore } from '../../src/store/index.ts';

/** Refuses so many lists, and each watch and the list after it. */
class Refusing extends MemoryStore implements ClusterStore {
  readonly clusterId = 'one';
  left: number;

  constructor(left: number) {
    super();
    this.left = left;
  }

  override async list(prefix: string) {
    if (this.left-- > 0) throw new CnmError('store_refused', 'permission denied');
    return super.list(prefix);
  }

  watch(): AsyncIterable<Change> {
    this.left = 1;
    throw new CnmError('store_refused', 'permission denied');
  }

  lease(): never {
    throw new CnmError('internal', 'not asked for');
  }
}

test('a refusal is told once, and what was refused comes when it is over', async () => {
  const store = new Refusing(2);
  await store.commit({ put: [{ key: 'a/1', value: 1 }] });
  const end = new AbortController();
  const refusals: string[] = [];
  const seen: Followed[] = [];
  for await (const news of follow(store, 'a/', end.signal, ({ code }) => refusals.push(code))) {
    seen.push(news);
    if (seen.length === 2) end.abort();
  }
  expect(seen.map((news) => news.kind === 'all' && news.entries.map(({ key }) => key))).toEqual([['a/1'], ['a/1']]);
  expect(refusals).toEqual(['store_refused']);
});
