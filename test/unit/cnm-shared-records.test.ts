/** What of the cluster's records is believed: others wrote them, be it by hand. */

import { describe, expect, test } from 'vitest';
import { type EndpointId, type Json, type NetworkId, codeOf } from '../../src/base/index.ts';
import type { NetworkRecord } from '../../src/cnm/records.ts';
import {
  decodeEndpoint,
  decodeNetwork,
  encodeEndpoint,
  encodeNetwork,
  endpointKey,
  networkKey,
} from '../../src/cnm/shared/records.ts';

const NETWORK = 'a'.repeat(64) as NetworkId;
const ENDPOINT = 'b'.repeat(64) as EndpointId;
const NODE = 'c'.repeat(32);
const KEY = endpointKey(NETWORK, NODE, ENDPOINT);
const told = {
  schema: 1,
  name: 'maria',
  dnsNames: ['maria'],
  mac: '02:42:0a:01:00:02',
  v4: '10.1.0.2/24',
  vtep: '192.0.2.7',
  isJoined: true,
};

const read = (key: string, value: Json): unknown => {
  try {
    return decodeEndpoint(NETWORK, { key, value, revision: 1 });
  } catch (error) {
    return codeOf(error);
  }
};

describe('endpoints', () => {
  test('are read as they were written', () => {
    const endpoint = decodeEndpoint(NETWORK, { key: KEY, value: told, revision: 1 });
    expect(endpoint).toMatchObject({ id: ENDPOINT, node: NODE, mac: told.mac });
    expect(encodeEndpoint(endpoint)).toEqual(told);
  });

  const bad: readonly (readonly [string, Record<string, Json>])[] = [
    ['a MAC that stands for everybody behind the tunnel', { mac: '00:00:00:00:00:00' }],
    ['a MAC of a group', { mac: '01:00:5e:00:00:01' }],
    ['a host that is a group', { vtep: '239.1.1.1' }],
    ['a host that is a group of IPv6', { vtep: 'ff02::1' }],
    ['a host that is nowhere', { vtep: '0.0.0.0' }],
    ['a name that a terminal acts on', { name: 'a\u001b[2J' }],
  ];
  test.each(bad)('with %s are refused', (_what, over) => {
    expect(read(KEY, { ...told, ...over })).toBe('store_corrupt');
  });

  test('under keys that no host writes are refused', () => {
    const keys = [
      endpointKey(NETWORK, 'a host', ENDPOINT),
      endpointKey(NETWORK, 'c'.repeat(64), ENDPOINT),
      endpointKey(NETWORK, NODE, 'short' as EndpointId),
      `${KEY}/more`,
      `endpoint/${NETWORK}/${NODE}`,
    ];
    expect(keys.map((key) => read(key, told))).toEqual(keys.map(() => 'store_corrupt'));
  });
});

test('a network is not called as one that each host has for itself', () => {
  const net = {
    schema: 1,
    name: 'blue',
    created: 1,
    driver: 'overlay',
    enableIPv4: true,
    enableIPv6: false,
    internal: false,
    attachable: false,
    ingress: false,
    ipam: { driver: 'cluster', options: {}, config: [] },
    pools: [],
    options: {},
    labels: {},
    driverState: null,
  } as unknown as NetworkRecord;
  const value = encodeNetwork(net) as Record<string, Json>;
  const named = (name: string): unknown => {
    try {
      return decodeNetwork({ key: networkKey(NETWORK), value: { ...value, name }, revision: 1 }).name;
    } catch (error) {
      return codeOf(error);
    }
  };
  expect(['blue', 'bridge', 'host', 'none', 'default', 'docker_gwbridge'].map(named)).toEqual([
    'blue',
    'store_corrupt',
    'store_corrupt',
    'store_corrupt',
    'store_corrupt',
    'store_corrupt',
  ]);
});
