/** What tells records apart from what they were: a number each, and one for all of them together, which changes with each by an addition. */

import { hash } from 'node:crypto';
import type { Key, Revision } from './contract.ts';

/** Of one record as it lies in the folder. */
export const fingerprint = (key: Key, text: string): bigint =>
  hash('sha1', `${key.length} ${key}${text}`, 'buffer').readBigUInt64BE();

const FINGERPRINT_BITS = 64;

/** Of all records: tells that one is missing or changed. */
export function digestOf(fingerprints: ReadonlyMap<Key, bigint>, revision: Revision): string {
  let sum = BigInt(revision);
  for (const one of fingerprints.values()) sum += one;
  return digestText(sum);
}

/** A sum of fingerprints, hexadecimal. */
export const digestText = (sum: bigint): string => BigInt.asUintN(FINGERPRINT_BITS, sum).toString(16);
