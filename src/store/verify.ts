/**
 * Looks for damage in LevelDB's logs before LevelDB opens them: it drops what it cannot read without a word, and writes the
 * rest anew. Format: 32 KiB blocks of records, each a masked CRC-32C, a length and a type (leveldb doc/log_format.md).
 */

import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

const BLOCK = 32_768;
const HEADER = 7;

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc >>> 0;
});

function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ (CRC_TABLE[(crc ^ byte) & 0xff] as number);
  return (crc ^ 0xffffffff) >>> 0;
}

/** LevelDB stores a checksum rotated and shifted. */
const masked = (crc: number): number => ((((crc >>> 15) | (crc << 17)) >>> 0) + 0xa282ead8) >>> 0;

/** Octets of the whole record at `at`, or 0 when there is none. */
function recordAt(log: Buffer, at: number): number {
  const room = Math.min(BLOCK - (at % BLOCK), log.length - at) - HEADER;
  if (room < 0) return 0;
  const length = log.readUInt16LE(at + 4);
  const type = log.readUInt8(at + 6);
  if (type < 1 || type > 4 || length > room) return 0;
  return masked(crc32c(log.subarray(at + 6, at + HEADER + length))) === log.readUInt32LE(at) ? HEADER + length : 0;
}

/**
 * Where a log is damaged in a way that no crash leaves behind: an unreadable record with readable ones after it. A crash
 * tears off the end only. Undefined: nothing is wrong.
 */
export function damageIn(log: Buffer): number | undefined {
  let at = 0;
  while (at < log.length) {
    const left = BLOCK - (at % BLOCK);
    const size = left < HEADER ? left : recordAt(log, at);
    if (size === 0) break;
    at += size;
  }
  for (let next = at + 1; next < log.length; next++) if (recordAt(log, next) > 0) return at;
  return undefined;
}

/** Whole batches of a log, as LevelDB would replay them. A batch may lie in several records. */
function* batchesOf(log: Buffer): Generator<Buffer> {
  let parts: Buffer[] = [];
  for (let at = 0; at < log.length;) {
    const left = BLOCK - (at % BLOCK);
    const size = left < HEADER ? left : recordAt(log, at);
    if (size === 0) return;
    if (left >= HEADER) {
      parts.push(log.subarray(at + HEADER, at + size));
      const type = log.readUInt8(at + 6);
      if (type === FULL || type === LAST) {
        yield Buffer.concat(parts);
        parts = [];
      }
    }
    at += size;
  }
}

const FULL = 1;
const LAST = 4;

/** Highest revision that `revisionIn` finds in a batch of these logs; undefined when there is none. */
function lastRevision(logs: readonly Buffer[], revisionIn: (batch: Buffer) => number | undefined): number | undefined {
  let last: number | undefined;
  for (const log of logs) for (const batch of batchesOf(log)) last = Math.max(last ?? 0, revisionIn(batch) ?? 0);
  return last;
}

/** What shows that a log ends too early. */
export interface Ending {
  /** Revision that was on disk. */
  readonly durable: number;
  revisionIn(batch: Buffer): number | undefined;
}

/** What is wrong with the files of a store, in words; undefined when LevelDB may open them. Changes nothing. */
export function problemOf(folder: string, { durable, revisionIn }: Ending): string | undefined {
  const files = readdirSync(folder);
  const isStore = files.some((name) => /^MANIFEST-\d+$|\.(ldb|log)$/.test(name));
  // LevelDB would begin anew and delete the rest.
  if (isStore && !files.includes('CURRENT')) return 'the file CURRENT is missing';
  const logs: Buffer[] = [];
  for (const name of files.filter((file) => /^MANIFEST-\d+$|\.log$/.test(file))) {
    const content = readFileSync(join(folder, name));
    const at = damageIn(content);
    if (at !== undefined) return `${name} is damaged at octet ${at}`;
    if (name.endsWith('.log')) logs.push(content);
  }
  const last = lastRevision(logs, revisionIn);
  return last === undefined || last >= durable ? undefined : lackOf(last, durable);
}

/** The words for a store that has lost its end. */
export const lackOf = (last: number, durable: number): string =>
  `it ends at revision ${last}, but revision ${durable} was on disk: records are lost`;
