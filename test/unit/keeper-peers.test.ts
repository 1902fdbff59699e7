import { expect, test } from 'vitest';
import type { Address, EndpointId, NetworkId } from '../../src/base/index.ts';
import { Peers } from '../../src/keeper/peers.ts';

const names = (...ids: readonly string[]) => ({
  network: 'n' as NetworkId,
  networkName: 'net',
  endpoints: ids.map((text) => {
    const [id = '', at = '10.0.0.1'] = text.split('@');
    return { id: id as EndpointId, names: [id], addresses: [at as Address] };
  }),
});
const shown = (changes: ReturnType<Peers['set']>): string[] =>
  changes.map(([id, record]) => (record === null ? `-${id}` : `${id}@${record.addresses.join()}`));

test('only what is new, is another or is gone is answered', () => {
  const peers = new Peers();
  expect(shown(peers.set('h1', names('a', 'b@10.0.0.2')))).toEqual(['a@10.0.0.1', 'b@10.0.0.2']);
  expect(shown(peers.set('h1', names('a', 'b@10.0.0.2')))).toEqual([]);
  expect(shown(peers.set('h1', names('b@10.0.0.3', 'c')))).toEqual(['-a', 'b@10.0.0.3', 'c@10.0.0.1']);
  expect(peers.has('b' as EndpointId)).toBe(true);
  expect(shown(peers.set('h1', null))).toEqual(['-b', '-c']);
  expect(shown(peers.set('h1', null))).toEqual([]);
  expect(peers.ids()).toEqual([]);
  expect(peers.has('b' as EndpointId)).toBe(false);
});

test('one that has moved is not withdrawn by the host that it left', () => {
  const peers = new Peers();
  peers.set('h1', names('a'));
  expect(shown(peers.set('h2', names('a@10.0.0.9')))).toEqual(['a@10.0.0.9']);
  expect(shown(peers.set('h1', names()))).toEqual([]);
  expect(shown(peers.set('h2', null))).toEqual(['-a']);
});
