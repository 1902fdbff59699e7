/** IPVS's messages as octets (linux/ip_vs.h), for a machine of little-endian order. */

import { expect, test } from 'vitest';
import type { Address } from '../../src/base/index.ts';
import { type IpvsChange, ipvsBody, parseIpvsDestination, parseIpvsService } from '../../src/kernel/ipvs.ts';

const V4 = { family: 4, mark: 0x80010002 } as const;
const V6 = { family: 6, mark: 0x80010002 } as const;
/** Family and mark as attributes 1 and 5. */
const ID4 = '0600010002000000 0800050002000180';
const ID6 = '060001000a000000 0800050002000180';
const TO4 = '10.0.0.9' as Address;
const TO6 = 'fd00::9' as Address;
/** An address of 16 octets, no port, and the family. */
const DESTINATION4 = '14000100 0a000009000000000000000000000000 0600020000000000 06000b0002000000';
const DESTINATION6 = '14000100 fd000000000000000000000000000009 0600020000000000 06000b000a000000';
/** Masquerading, the weight, no thresholds. */
const share = (weight: string): string => `0800030000000000 08000400${weight}000000 0800050000000000 0800060000000000`;
/** Scheduler `rr`, no flags, no timeout. */
const SERVICE = '0700060072720000 0c00070000000000ffffffff 0800080000000000';

test.each<[string, IpvsChange, string]>([
  ['a service of IPv4', { op: 'service.add', service: V4 }, `01010000 38000180 ${ID4} ${SERVICE} 08000900ffffffff`],
  ['a service of IPv6', { op: 'service.add', service: V6 }, `01010000 38000180 ${ID6} ${SERVICE} 0800090080000000`],
  ['its removal', { op: 'service.remove', service: V4 }, `03010000 14000180 ${ID4}`],
  [
    'a destination',
    { op: 'destination.add', service: V4, to: TO4, weight: 1 },
    `05010000 14000180 ${ID4} 48000280 ${DESTINATION4} ${share('01')}`,
  ],
  [
    'another weight',
    { op: 'destination.weigh', service: V6, to: TO6, weight: 0 },
    `06010000 14000180 ${ID6} 48000280 ${DESTINATION6} ${share('00')}`,
  ],
  ['its removal', { op: 'destination.remove', service: V4, to: TO4 }, `07010000 14000180 ${ID4} 28000280 ${DESTINATION4}`],
])('%s: %j', (_what, change, octets) => {
  expect(ipvsBody(change).toString('hex')).toBe(octets.replaceAll(' ', ''));
});

test('what is written is read', () => {
  const body = (change: IpvsChange): Buffer => ipvsBody(change);
  expect(parseIpvsService(body({ op: 'service.add', service: V4 }))).toEqual(V4);
  expect(parseIpvsService(body({ op: 'service.add', service: V6 }))).toEqual(V6);
  expect(parseIpvsDestination(body({ op: 'destination.add', service: V4, to: TO4, weight: 1 }), 4)).toEqual([TO4, 1]);
  expect(parseIpvsDestination(body({ op: 'destination.add', service: V6, to: TO6, weight: 0 }), 6)).toEqual([TO6, 0]);
});

test('services by address, and what is cut, are left out', () => {
  expect(parseIpvsService(Buffer.from('040100000c0001800600010002000000', 'hex'))).toBeUndefined();
  expect(parseIpvsDestination(Buffer.from('080100000c000280080001000a000009', 'hex'), 4)).toBeUndefined();
  expect(parseIpvsDestination(Buffer.alloc(4), 4)).toBeUndefined();
});
