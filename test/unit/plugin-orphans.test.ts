import { expect, test } from 'vitest';
import { silentLogger } from '../../src/base/index.ts';
import { Orphans, type OrphanParts } from '../../src/plugin/orphans.ts';

const HOUR_MS = 3_600_000;
const NOW = 1_764_000_000_000;

/** How many looks it takes until an endpoint is removed that its engine does not have, of eight. */
async function looksAt(created: number): Promise<number | undefined> {
  const removed: string[] = [];
  const net = { id: 'net', phase: 'ready', engine: 'e', created: 0 };
  const guests = {
    networks: () => [net],
    pools: () => [],
    addressSpaces: async () => ({ local: 'local' }),
    endpoints: () => (removed.length > 0 ? [] : [{ id: 'ep', network: 'net', created }]),
    forgetEndpoint: async (_net: string, id: string) => void removed.push(id),
  };
  const networks = { ids: new Set(['net']), subnets: new Set() };
  const engine = { socket: 'e', id: async () => 'e', networks: async () => networks, endpoints: async () => new Set() };
  const orphans = new Orphans({ guests, engines: [engine], log: silentLogger, now: () => NOW } as unknown as OrphanParts);
  for (let look = 1; look <= 8; look++) {
    await orphans.look();
    if (removed.length > 0) return look;
  }
  return undefined;
}

test('what an engine misses twice is an orphan, unless it is new', async () => {
  expect(await looksAt(NOW - HOUR_MS)).toBe(2);
  expect(await looksAt(NOW - 5000)).toBeUndefined();
});

test('what was made before the clock was set back is not new', async () => {
  expect(await looksAt(NOW + 5 * HOUR_MS)).toBe(2);
});
