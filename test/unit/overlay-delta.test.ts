/** Changed peers told one by one come to the same entries as the whole wish. */

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { deltaOf, Uses } from '../../drivers/overlay/delta.ts';
import { Holders, type Row, keyOf, placeOf, wantedRows } from '../../drivers/overlay/peers.ts';
import type { Address, EndpointId, Mac, Prefix } from '../../src/base/index.ts';
import type { IfaceAddresses, Peer } from '../../src/driver/index.ts';

const VTEP = '192.0.2.1' as Address;
const segments = [{ bridge: 'br0', tunnel: 'vx0', vni: 1, v4: { prefix: '10.0.0.0/24' as Prefix, aux: {} } }];
const mac = (n: number): Mac => `02:00:00:00:00:0${n}` as Mac;
const local: IfaceAddresses = { mac: mac(9), v4: '10.0.0.9/24' as Prefix };

/** Few addresses and hosts, so that peers get into each other's way, and into that of the endpoint here. */
const peer = fc.record({
  endpoint: fc.constantFrom('a', 'b', 'c', 'd').map((id) => id as EndpointId),
  v4: fc.constantFrom(1, 2, 3, 9).map((n) => `10.0.0.${n}/24` as Prefix),
  mac: fc.constantFrom(1, 2, 3, 9).map(mac),
  vtep: fc.constantFrom('192.0.2.1', '192.0.2.2', '192.0.2.3', '2001:db8::1').map((text) => text as Address),
});
const update = fc.record({
  put: fc.uniqueArray(peer, { selector: ({ endpoint }) => endpoint, maxLength: 3 }),
  remove: fc.uniqueArray(
    fc.constantFrom('a', 'b', 'c', 'd').map((id) => id as EndpointId),
    { maxLength: 2 },
  ),
});
const texts = (rows: Iterable<Row>): string[] => [...rows].map((row) => JSON.stringify(row)).sort();

test('whatever changes in whatever order', () => {
  let plain = 0;
  fc.assert(
    fc.property(fc.array(update, { maxLength: 12 }), (updates) => {
      const peers = new Map<EndpointId, Peer>();
      const holders = new Holders();
      const whole = (): ReadonlyMap<string, Row> => wantedRows(segments, [...peers.values()], [local], VTEP, holders).rows;
      let present = new Map<string, Row>();
      let uses = new Uses();
      for (const one of updates) {
        const change = deltaOf({ segments, vtep: VTEP, locals: [local], peers, uses, present }, one);
        if (change === undefined) {
          present = new Map(whole());
          uses = new Uses();
          for (const known of peers.values()) {
            const placed = placeOf(segments, known, VTEP);
            if (placed !== undefined) uses.add(placed);
          }
        } else {
          plain++;
          for (const row of change.remove) present.delete(keyOf(row));
          for (const row of change.put) present.set(keyOf(row), row);
        }
        expect(texts(present.values())).toEqual(texts(whole().values()));
      }
    }),
    { numRuns: 2000 },
  );
  expect(plain).toBeGreaterThan(1000);
});
