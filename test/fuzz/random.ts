/** Random but repeatable input: a seed, a generator, DNS messages and what becomes of octets when they are mutated. */

import packet from 'dns-packet';
import { randomInt } from 'node:crypto';

/** PBT_SEED repeats a run. */
export const seed = Number(process.env.PBT_SEED ?? randomInt(2 ** 31));
console.info(`seed ${seed}`);

/** A whole number below the given one. */
export type Random = (below: number) => number;

/** mulberry32: small, and the same everywhere. */
export function generator(start: number): Random {
  let state = start >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

const SIZES = [100, 512, 1232, 4096, 65_000];
const TYPES = ['A', 'AAAA', 'PTR', 'MX', 'TXT', 'SRV'];
const NAMES = [
  'c1',
  'C2.mynet',
  'web',
  'web.MyNet',
  '1.0.0.10.in-addr.arpa',
  'example.com',
  '.',
  `1.${'0.'.repeat(27)}0.0.d.f.ip6.arpa`,
];
const OPT = { type: 'OPT', name: '.', extendedRcode: 0, ednsVersion: 0, flags: 0 };

/** A sound DNS message, mostly a question. */
export function sample(random: Random): Buffer {
  const pick = <T>(list: readonly T[]): T => list[random(list.length)]!;
  const options = random(2) ? [] : [{ code: 10, data: Buffer.alloc(random(20), 5) }];
  return packet.encode({
    type: random(10) === 0 ? 'response' : 'query',
    id: random(65_536),
    flags: random(2) ? packet.RECURSION_DESIRED : 0,
    questions: Array.from({ length: random(12) === 0 ? random(3) : 1 }, () => ({ type: pick(TYPES), name: pick(NAMES) })),
    answers: random(10) === 0 ? [{ type: 'A', name: pick(NAMES), ttl: 1, data: '1.2.3.4' }] : [],
    additionals: random(2) ? [{ ...OPT, udpPayloadSize: pick(SIZES), options }] : [],
  });
}

/** Up to four changes: octets, bits, cuts, runs, compression pointers, repeats. */
export function mutated(bytes: Buffer, random: Random): Buffer {
  let copy = Buffer.from(bytes);
  for (let n = random(5); n > 0; n--) {
    const at = copy.length === 0 ? 0 : random(copy.length);
    switch (random(6)) {
      case 0:
        copy[at] = random(256);
        break;
      case 1:
        copy[at] = (copy[at] ?? 0) ^ (1 << random(8));
        break;
      case 2:
        copy = copy.subarray(0, at);
        break;
      case 3:
        copy = Buffer.concat([copy.subarray(0, at), Buffer.alloc(random(64), random(256)), copy.subarray(at)]);
        break;
      case 4:
        if (at + 1 < copy.length) copy.writeUInt16BE(0xc000 | random(64), at);
        break;
      default:
        copy = Buffer.concat([copy, copy.subarray(at)]);
    }
  }
  return copy;
}

/** Values that often are not thought of. */
const ODD: readonly unknown[] = [
  null,
  true,
  0,
  -1,
  1.5,
  1e30,
  '',
  ' ',
  '0',
  '-1',
  'a\nb',
  '\u0000',
  '\u202e',
  '../..',
  '/etc/passwd',
  '$(id)',
  '%s%n',
  'net',
  'host',
  '10.9.0.1',
  '0.0.0.0',
  '255.255.255.255',
  '::',
  'fe80::1%lo',
  '10.9.0.0/24',
  '10.0.0.0/33',
  'ff:ff:ff:ff:ff:ff',
  '65536',
  '1-65535',
  [],
  {},
  [[]],
  { a: { b: {} } },
  'é',
  '😀',
  'a'.repeat(300),
];

/** Up to three changes of a JSON value: odd values, fields gone, renamed or doubled, lists grown. */
export function mutatedValue(value: unknown, random: Random): unknown {
  let result: unknown = structuredClone(value);
  for (let n = random(4); n > 0; n--) result = changed(result, random, 0);
  return result;
}

/** Deepest place that is changed. */
const MAX_DEPTH = 6;

function changed(value: unknown, random: Random, depth: number): unknown {
  const odd = (): unknown => structuredClone(ODD[random(ODD.length)]);
  if (typeof value !== 'object' || value === null || depth >= MAX_DEPTH || random(8) === 0) {
    return typeof value === 'string' && random(2) === 0 ? mutatedOctets(Buffer.from(value), random).toString('latin1') : odd();
  }
  if (Array.isArray(value)) {
    if (value.length === 0 || random(4) === 0) return [...value, odd()];
    const at = random(value.length);
    return value.map((item: unknown, i) => (i === at ? changed(item, random, depth + 1) : item));
  }
  const entries = Object.entries(value);
  if (entries.length === 0) return { [String(odd())]: odd() };
  const at = random(entries.length);
  const [key, field] = entries[at] as [string, unknown];
  switch (random(8)) {
    case 0:
      return Object.fromEntries(entries.filter((_, i) => i !== at));
    case 1:
      return Object.fromEntries([...entries, [key.toLowerCase(), odd()]]);
    case 2:
      return Object.fromEntries(entries.map(([name, one], i) => [i === at ? String(odd()) : name, one]));
    default:
      return { ...value, [key]: changed(field, random, depth + 1) };
  }
}

/** Up to three changes of octets: others, cuts, runs, repeats. */
export function mutatedOctets(bytes: Buffer, random: Random): Buffer {
  let copy = Buffer.from(bytes);
  for (let n = 1 + random(3); n > 0; n--) {
    const at = copy.length === 0 ? 0 : random(copy.length);
    switch (random(4)) {
      case 0:
        copy[at] = random(256);
        break;
      case 1:
        copy = Buffer.concat([copy.subarray(0, at), copy.subarray(at + 1 + random(8))]);
        break;
      case 2:
        copy = Buffer.concat([copy.subarray(0, at), Buffer.alloc(random(64), random(256)), copy.subarray(at)]);
        break;
      default:
        copy = Buffer.concat([copy.subarray(0, at), copy.subarray(Math.max(0, at - random(32)), at), copy.subarray(at)]);
    }
  }
  return copy;
}
