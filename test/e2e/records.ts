/** What a daemon keeps, read while it does not run. */

import { join } from 'node:path';
import { openEmbeddedStore } from '../../src/store/index.ts';

/** Every record, by its key, without revisions: a start writes some records anew as they are. */
export async function storedRecords(stateDir: string): Promise<[key: string, value: unknown][]> {
  const store = await openEmbeddedStore(join(stateDir, 'store'));
  try {
    return (await store.list('')).entries.map(({ key, value }) => [key, value]);
  } finally {
    await store.close();
  }
}
