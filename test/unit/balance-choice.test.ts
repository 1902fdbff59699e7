/** Where is looked for what another balancer has left. */

import { expect, test } from 'vitest';
import { inPlaceOf } from '../../src/balance/choice.ts';
import type { Balancer } from '../../src/balance/contract.ts';
import { TableMemory } from '../../src/balance/index.ts';
import type { Netns } from '../../src/kernel/index.ts';

const at = (identity: string): Netns => ({ identity }) as Netns;

function noted(did: string[], name: string): Balancer {
  return {
    apply: async ({ identity }) => void did.push(`${name} in ${identity}`),
    clear: async ({ identity }) => void did.push(`no ${name} in ${identity}`),
    countFlows: async () => 0,
  };
}

test('it goes when the first wish comes, once for a memory, and again in another namespace', async () => {
  const did: string[] = [];
  const balancer = inPlaceOf(noted(did, 'old'), () => true, noted(did, 'new'));
  const memory = new TableMemory();
  for (const place of ['a', 'a', 'b']) await balancer.apply(at(place), [], memory);
  await balancer.clear(at('b'), memory);
  expect(did.splice(0)).toEqual(['no old in a', 'new in a', 'new in a', 'no old in b', 'new in b', 'no new in b']);
  await balancer.apply(at('b'), [], new TableMemory());
  await balancer.clear(at('b'));
  expect(did).toEqual(['no old in b', 'new in b', 'no old in b', 'no new in b']);
});

test('where it was never used nobody looks for it', async () => {
  const did: string[] = [];
  const balancer = inPlaceOf(noted(did, 'old'), () => false, noted(did, 'new'));
  await balancer.apply(at('a'), []);
  await balancer.clear(at('a'));
  expect(did).toEqual(['new in a', 'no new in a']);
});

test('what is not gone is looked for again', async () => {
  const did: string[] = [];
  let isRefused = true;
  const old = noted(did, 'old');
  const clear: Balancer['clear'] = async (client) => {
    if (isRefused) throw new Error('refused');
    await old.clear(client);
  };
  const balancer = inPlaceOf({ ...old, clear }, () => true, noted(did, 'new'));
  const memory = new TableMemory();
  await expect(balancer.apply(at('a'), [], memory)).rejects.toThrow('refused');
  isRefused = false;
  await balancer.apply(at('a'), [], memory);
  expect(did).toEqual(['no old in a', 'new in a']);
});
