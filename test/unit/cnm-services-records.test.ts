/** What of the cluster's records of services is believed: others wrote them, be it by hand. */

import { expect, test } from 'vitest';
import { type Address, type EndpointId, type Json, type NetworkId, type ServiceId, codeOf } from '../../src/base/index.ts';
import type { ServiceRecord } from '../../src/cnm/records.ts';
import { decodeService, encodeService, serviceKey } from '../../src/cnm/services/records.ts';
import { decodeEndpoint, encodeEndpoint, endpointKey } from '../../src/cnm/shared/records.ts';

const service: ServiceRecord = {
  schema: 1,
  owner: 'patchbay',
  id: 'a'.repeat(64) as ServiceId,
  network: 'b'.repeat(64) as NetworkId,
  name: 'web',
  phase: 'ready',
  created: 5,
  mode: 'vip',
  aliases: ['www'],
  vips: [{ address: '10.1.0.9' as Address, pool: 'Shared/10.1.0.0/24' }],
  ports: [{ protocol: 'tcp', published: 8080, target: 80 }],
  health: { probe: { kind: 'http', port: 80, path: '/' }, intervalMs: 1000, timeoutMs: 1000, retries: 3, startPeriodMs: 0 },
  labels: { a: 'b' },
};
const key = serviceKey(service);
const told = encodeService(service) as Record<string, Json>;

const read = (at: string, value: Json): unknown => {
  try {
    return decodeService({ key: at, value, revision: 1 });
  } catch (error) {
    return codeOf(error);
  }
};

test('a service is read as it was written, and of its phase nothing is told', () => {
  expect(read(key, told)).toEqual(service);
  expect(told['phase']).toBeUndefined();
});

test.each<[string, Record<string, Json>]>([
  ['a newer version', { schema: 2 }],
  ['a name that no service can have', { name: 'a b' }],
  ['an address that is none', { vips: [{ address: '10.1.0', pool: 'x' }] }],
  ['a port beyond', { ports: [{ protocol: 'tcp', published: 70_000, target: 80 }] }],
  ['a check that would never rest', { health: { ...(told['health'] as Record<string, Json>), intervalMs: 0 } }],
  [
    'a path that ends the request',
    { health: { ...(told['health'] as Record<string, Json>), probe: { kind: 'http', port: 80, path: '/\r\n' } } },
  ],
])('%s is passed over', (_title, change) => {
  expect(read(key, { ...told, ...change })).toBe('store_corrupt');
});

test.each([key.slice(0, -1), `${key}/x`, 'service/x/y'])('the key %s is passed over', (at) => {
  expect(read(at, told)).toBe('store_corrupt');
});

test('an endpoint tells of what it is a member', () => {
  const at = endpointKey(service.network, 'node', 'c'.repeat(64) as EndpointId);
  const endpoint = { id: 'c'.repeat(64) as EndpointId, node: 'node', name: 'maria', dnsNames: ['maria'], isJoined: true };
  const services = [{ service: service.id, state: 'draining' as const, leavesBy: 7 }];
  const value = encodeEndpoint({ ...endpoint, services });
  expect(decodeEndpoint(service.network, { key: at, value, revision: 1 })).toEqual({ ...endpoint, services });
  const wrong = { ...(value as Record<string, Json>), services: [{ service: service.id, state: 'king' }] };
  expect(() => decodeEndpoint(service.network, { key: at, value: wrong, revision: 1 })).toThrow(
    /not one that this version writes/,
  );
});
