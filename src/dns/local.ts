/** Answers from the name table: A, AAAA, PTR and the MX rule. Everything else, and every unknown name, is not ours. Pure. */

import { addressBytes, addressFromBytes, familyOf, tryAddress, type Address, type IpFamily } from '../base/index.ts';
import type { NameTable, NameView } from './names.ts';
import { CLASS_IN, NO_RECORDS, TYPE, encodeName, makeRecords, questionName, type AnswerRecords, type Question } from './wire.ts';

/** Lifetime told with local answers, seconds. */
export const LOCAL_TTL_SECONDS = 600;

/**
 * Records for the question, none for a known name without an address of the family, or undefined when the question is to
 * be forwarded. `start` is where the message begins in `bytes`.
 */
export function answerLocally(
  table: NameTable,
  view: NameView,
  bytes: Uint8Array,
  start: number,
  question: Readonly<Question>,
): AnswerRecords | undefined {
  if (question.class !== CLASS_IN) return undefined;
  const { type } = question;
  if (type !== TYPE.A && type !== TYPE.AAAA && type !== TYPE.PTR && type !== TYPE.MX) return undefined;
  const name = questionName(bytes, start, question);
  if (name === undefined) return undefined;
  if (type === TYPE.PTR) return pointer(table, view, name);
  const addresses = table.find(view, name);
  if (addresses === undefined) return undefined;
  // A known name is its own mail exchanger (RFC 5321 §5.1), which an empty answer says.
  return type === TYPE.MX ? NO_RECORDS : addressRecords(type, addresses);
}

function addressRecords(type: number, addresses: readonly Address[]): AnswerRecords {
  const family: IpFamily = type === TYPE.A ? 4 : 6;
  const fitting = addresses.filter((address) => familyOf(address) === family);
  return fitting.length === 0 ? NO_RECORDS : makeRecords(type, LOCAL_TTL_SECONDS, fitting.map(addressBytes));
}

function pointer(table: NameTable, view: NameView, name: string): AnswerRecords | undefined {
  const address = reversedAddress(name.toLowerCase());
  const target = address === undefined ? undefined : table.reverse(view, address);
  const encoded = target === undefined ? undefined : encodeName(target);
  return encoded === undefined ? undefined : makeRecords(TYPE.PTR, LOCAL_TTL_SECONDS, [encoded]);
}

/** The address that a lower-case name under in-addr.arpa or ip6.arpa stands for, or undefined. */
export function reversedAddress(name: string): Address | undefined {
  const labels = name.split('.');
  if (labels.length === 6 && name.endsWith('.in-addr.arpa')) return tryAddress(labels.slice(0, 4).reverse().join('.'));
  if (labels.length !== 34 || !name.endsWith('.ip6.arpa')) return undefined;
  const nibbles = labels.slice(0, 32).reverse();
  if (!nibbles.every((nibble) => /^[0-9a-f]$/.test(nibble))) return undefined;
  return addressFromBytes(
    Uint8Array.from({ length: 16 }, (_, i) => Number.parseInt(`${nibbles[2 * i]}${nibbles[2 * i + 1]}`, 16)),
  );
}
