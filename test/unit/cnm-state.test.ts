import { describe, expect, test } from 'vitest';
import { type EndpointId, type NetworkId, type SandboxId, codeOf } from '../../src/base/index.ts';
import { type EndpointRecord, type NetworkRecord, type SandboxRecord, RECORD_SCHEMA } from '../../src/cnm/records.ts';
import { State } from '../../src/cnm/state.ts';
import { MemoryStore } from '../../src/store/index.ts';

const id = (start: string): string => start.padEnd(64, '0');
const net = (start: string, name: string, rest: Partial<NetworkRecord> = {}) =>
  ({ schema: RECORD_SCHEMA, id: id(start), name, phase: 'ready', created: 1, ...rest }) as NetworkRecord;
const box = (start: string, name: string, rest: Partial<SandboxRecord> = {}) =>
  ({ schema: RECORD_SCHEMA, id: id(start), name, phase: 'ready', created: 1, ...rest }) as SandboxRecord;
const ep = (start: string, network: string, rest: Partial<EndpointRecord> = {}) =>
  ({
    schema: RECORD_SCHEMA,
    id: id(start),
    name: start,
    network: id(network),
    phase: 'ready',
    created: 1,
    ...rest,
  }) as EndpointRecord;

const found = (work: () => { name: string }): string | undefined => {
  try {
    return work().name;
  } catch (error) {
    return codeOf(error);
  }
};

describe('look-ups', () => {
  test('full id before full name before unique prefix', async () => {
    const state = await State.open(new MemoryStore());
    await state.commit({ networks: [net('abc1', 'one'), net('abd2', 'two'), net('fff0', 'abc1'), net('eee0', id('abd2'))] });
    const cases: [string, string | undefined][] = [
      [id('abc1'), 'one'],
      ['abc1', 'abc1'],
      ['abd', 'two'],
      [id('abd2'), 'two'],
      ['ab', 'ambiguous_name'],
      ['one', 'one'],
      ['on', 'no_network'],
      ['', 'no_network'],
      ['zzz', 'no_network'],
    ];
    for (const [term, wanted] of cases)
      expect(
        found(() => state.network(term)),
        term,
      ).toBe(wanted);
  });

  test('an ambiguous prefix names what it could be', async () => {
    const state = await State.open(new MemoryStore());
    await state.commit({ sandboxes: [box('abc1', 'one'), box('abc2', 'two')] });
    expect(() => state.sandbox('abc')).toThrow(
      '2 matches found based on ID prefix: sandbox abc is ambiguous (abc100000000, abc200000000)',
    );
    expect(found(() => state.sandbox('nobody'))).toBe('no_sandbox');
  });

  test('two of one name are ambiguous by name', async () => {
    const state = await State.open(new MemoryStore());
    await state.commit({ networks: [net('a1', 'same'), net('a2', 'same')] });
    expect(() => state.network('same')).toThrow('2 matches found based on name: network same is ambiguous');
  });

  test('what is half-made or going away is not found, but known', async () => {
    const state = await State.open(new MemoryStore());
    await state.commit({ networks: [net('a1', 'new', { phase: 'creating' }), net('a2', 'old', { phase: 'deleting' })] });
    expect([found(() => state.network('new')), found(() => state.network('old')), found(() => state.network('a2'))]).toEqual(
      Array(3).fill('no_network'),
    );
    expect(state.allNetworks()).toHaveLength(2);
  });
});

test('endpoints are found by network and by sandbox as they come, join, leave and go', async () => {
  const state = await State.open(new MemoryStore());
  const [n, s] = [id('a') as NetworkId, id('5') as SandboxId];
  const look = (): number[] => [state.endpointsOfNetwork(n).length, state.endpointsOfSandbox(s).length];
  await state.commit({ endpoints: [ep('e1', 'a')] });
  expect(look()).toEqual([1, 0]);
  await state.commit({ endpoints: [ep('e1', 'a', { sandbox: s, phase: 'joined' })] });
  expect(look()).toEqual([1, 1]);
  await state.commit({ endpoints: [ep('e1', 'a')] });
  expect(look()).toEqual([1, 0]);
  // Of a connect: the sandbox's in every phase.
  await state.commit({ endpoints: [ep('e2', 'a', { boundTo: s, phase: 'creating' })] });
  expect(look()).toEqual([2, 1]);
  await state.commit({ endpoints: [ep('e2', 'a', { boundTo: s, sandbox: s, phase: 'joined' })] });
  expect(look()).toEqual([2, 1]);
  await state.commit({ remove: { endpoint: id('e2') as EndpointId } });
  expect(look()).toEqual([1, 0]);
});

test('a change that the store refuses is not seen', async () => {
  const store = new MemoryStore();
  const state = await State.open(store);
  store.commit = () => Promise.reject(new Error('full'));
  await expect(state.commit({ networks: [net('a', 'net')] })).rejects.toThrow('full');
  expect(state.allNetworks()).toEqual([]);
});

test('everything is read again, in the order of its making', async () => {
  const store = new MemoryStore();
  const first = await State.open(store);
  await first.commit({
    networks: [net('b', 'late', { created: 2 }), net('c', 'early', { created: 1 })],
    sandboxes: [box('5', 'box')],
    endpoints: [ep('e', 'b', { sandbox: id('5') as SandboxId })],
  });
  const second = await State.open(store);
  expect(second.networks().map((n) => n.name)).toEqual(['early', 'late']);
  expect(second.endpointsOfSandbox(id('5') as SandboxId)).toHaveLength(1);
});

test.each([
  [{ schema: RECORD_SCHEMA + 1 }, 'store_newer'],
  [{}, 'store_corrupt'],
  [null, 'store_corrupt'],
  ['text', 'store_corrupt'],
])('a record %j is refused as %s', async (value, code) => {
  const store = new MemoryStore();
  await store.commit({ put: [{ key: 'network/x', value }] });
  expect(await State.open(store).catch(codeOf)).toBe(code);
});

test('records made in one millisecond have an order, and a clock that was set back is believed', async () => {
  const state = await State.open(new MemoryStore());
  expect([5000, 5000, 5000, 5001, 6000, 6000, 1000].map((now) => state.stamp(now))).toEqual([
    5000, 5001, 5002, 5003, 6000, 6001, 1000,
  ]);
});

test('what is taken back is gone at once, also when the store takes no changes; the store gets it with the next change', async () => {
  const store = new MemoryStore();
  const state = await State.open(store);
  await state.commit({ networks: [net('a1', 'half', { phase: 'creating' })], endpoints: [ep('e1', 'a1')] });
  const commit = store.commit.bind(store);
  store.commit = () => Promise.reject(new Error('full'));
  await state.takeBack({ remove: { network: id('a1') as NetworkId } });
  await state.takeBack({ endpoints: [ep('e1', 'a1', { phase: 'joined' })] });
  await expect(state.commit({ networks: [net('a2', 'refused')] })).rejects.toThrow('full');
  expect(state.allNetworks()).toEqual([]);
  expect(state.allEndpoints().map(({ phase }) => phase)).toEqual(['joined']);
  store.commit = commit;
  // A later word about the same record is the last one.
  await state.commit({ endpoints: [ep('e1', 'a1', { phase: 'leaving' })] });
  await state.commit({ networks: [net('a3', 'next')] });
  const stored = await State.open(store);
  expect(stored.allNetworks().map(({ name }) => name)).toEqual(['next']);
  expect(stored.allEndpoints().map(({ phase }) => phase)).toEqual(['leaving']);
});
