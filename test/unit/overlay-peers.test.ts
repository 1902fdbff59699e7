/** Which entries a network's peers ask of the kernel, and how one set of entries becomes another. */

import { describe, expect, test } from 'vitest';
import { Holders, type Row, changeOf, keyOf, wantedRows } from '../../drivers/overlay/peers.ts';
import { derivedMac, routesOf, segmentFor, segmentsOf } from '../../drivers/overlay/segments.ts';
import type { Address, EndpointId, Mac, NetworkId, Prefix } from '../../src/base/index.ts';
import type { DriverNetwork, Peer } from '../../src/driver/index.ts';

const pool = (prefix: string, gateway: string) => ({ prefix: prefix as Prefix, gateway: gateway as Address, aux: {} });
const net: DriverNetwork = {
  id: 'a'.repeat(64) as NetworkId,
  name: 'net',
  internal: false,
  enableIPv4: true,
  enableIPv6: true,
  options: {},
  v4: [pool('10.1.0.0/24', '10.1.0.1'), pool('10.2.0.0/24', '10.2.0.1')],
  v6: [pool('fd01::/64', 'fd01::1'), pool('fd02::/64', 'fd02::1')],
  state: { vnis: [5, 6] },
};
const segments = segmentsOf(net);
const OWN = '192.0.2.1' as Address;

const peer = (id: string, v4: string | undefined, over: Partial<Peer> = {}): Peer => ({
  endpoint: id as EndpointId,
  mac: `02:00:00:00:00:0${id}` as Mac,
  ...(v4 !== undefined && { v4: v4 as Prefix }),
  vtep: '192.0.2.2' as Address,
  ...over,
});

const told = (peers: readonly Peer[], holders = new Holders(), vtep: Address | undefined = OWN): string[] =>
  [...wantedRows(segments, peers, [], vtep, holders).rows.values()].map(words).sort();

const words = (row: Row): string =>
  [keyOf(row), ...(row.kind === 'neighbour' ? [row.mac] : row.kind === 'remote' ? [row.vtep] : [])].join(' ');

describe('wanted rows', () => {
  test('are an address each, a MAC on the bridge and a MAC behind a host, on the wire of the subnet', () => {
    expect(told([peer('1', '10.2.0.9/24', { v6: 'fd02::9/64' as Prefix })])).toEqual([
      '1 neighbour 10.2.0.9 02:00:00:00:00:01',
      '1 neighbour fd02::9 02:00:00:00:00:01',
      '1 port 02:00:00:00:00:01',
      '1 remote 02:00:00:00:00:01 192.0.2.2',
    ]);
  });

  test('are none for peers of this host, of no subnet, of two wires, without address, or of another underlay', () => {
    const peers = [
      peer('1', '10.1.0.9/24', { vtep: OWN }),
      peer('2', '10.9.0.9/24'),
      peer('3', '10.1.0.9/24', { v6: 'fd02::9/64' as Prefix }),
      peer('4', undefined),
      peer('5', '10.1.0.9/24', { vtep: '2001:db8::1' as Address }),
    ];
    expect(told(peers)).toEqual([]);
    expect(wantedRows(segments, peers, [], OWN, new Holders()).ignored).toBe(5);
  });

  test('are none for who claims the address of a gateway, which is on the bridge of each host', () => {
    const peers = [peer('1', '10.2.0.1/24'), peer('2', '10.1.0.9/24', { v6: 'fd01::1/64' as Prefix })];
    expect(told(peers)).toEqual([]);
    expect(told([peer('1', '10.1.0.9/24'), ...peers])).toEqual(told([peer('1', '10.1.0.9/24')]));
  });

  test('without an address of our own there are none, and nobody is ignored for it', () => {
    expect(wantedRows(segments, [peer('1', '10.1.0.9/24')], [], undefined, new Holders())).toMatchObject({ ignored: 0 });
    expect([...wantedRows(segments, [peer('1', '10.1.0.9/24')], [], undefined, new Holders()).rows]).toEqual([]);
  });

  test('of two with one address, the first has it until it goes; its MAC is not entered before', () => {
    const holders = new Holders();
    const [one, two] = [peer('1', '10.1.0.9/24'), peer('2', '10.1.0.9/24')];
    const firstOnly = told([one]);
    expect(told([one, two], holders)).toEqual(firstOnly);
    expect(told([two, one], holders)).toEqual(firstOnly);
    expect(told([two], holders)).toEqual(told([two]));
    expect(told([one, two], holders)).toEqual(told([two]));
  });

  test('of two with one MAC, one host is behind it', () => {
    const mac = '02:00:00:00:00:0f' as Mac;
    const [one, two] = [peer('1', '10.1.0.2/24', { mac }), peer('2', '10.1.0.3/24', { mac, vtep: '192.0.2.3' as Address })];
    expect(told([one, two]).filter((row) => row.includes('remote'))).toEqual([`0 remote ${mac} 192.0.2.2`]);
  });
});

describe('a change', () => {
  const row = (mac: string, vtep: string): Row => ({ kind: 'remote', segment: 0, mac: mac as Mac, vtep: vtep as Address });
  const [right, wrong, other] = [row('m', '192.0.2.2'), row('m', '192.0.2.3'), row('m', '192.0.2.4')];
  const wanted = new Map([[keyOf(right), right]]);
  const all = () => true;

  test('puts what is missing, writes over what is wrong, and removes what is over', () => {
    expect(changeOf([], wanted, all)).toEqual({ put: [right], remove: [] });
    expect(changeOf([right], wanted, all)).toEqual({ put: [], remove: [] });
    expect(changeOf([wrong], wanted, all)).toEqual({ put: [right], remove: [] });
    expect(changeOf([wrong, other], wanted, all)).toEqual({ put: [right], remove: [other] });
    expect(changeOf([wrong, right, other], wanted, all)).toEqual({ put: [], remove: [wrong, other] });
    expect(changeOf([right], new Map(), all)).toEqual({ put: [], remove: [right] });
  });

  test('removes nothing where it may not', () => {
    expect(changeOf([wrong, right], wanted, () => false)).toEqual({ put: [], remove: [] });
    expect(changeOf([right], new Map(), () => false)).toEqual({ put: [], remove: [] });
    expect(changeOf([wrong], wanted, () => false)).toEqual({ put: [right], remove: [] });
  });
});

test('MACs follow addresses', () => {
  expect(derivedMac('10.1.2.255' as Address)).toBe('02:42:0a:01:02:ff');
  expect(derivedMac('fd01::12:3456:789a' as Address)).toBe('02:12:34:56:78:9a');
});

test('an endpoint is routed to the subnets of the other wires by the gateway of its own', () => {
  const iface = { v4: '10.2.0.9/24' as Prefix, v6: 'fd02::9/64' as Prefix };
  expect(routesOf(segments, segmentFor(segments, iface), iface)).toEqual([
    { destination: '10.1.0.0/24', nextHop: '10.2.0.1' },
    { destination: 'fd01::/64', nextHop: 'fd02::1' },
  ]);
});
