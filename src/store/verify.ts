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

/** What is wrong with the files of a store, in words; undefined when LevelDB may open them. Changes nothing. */
export function problemOf(folder: string): string | undefined {
  const files = readdirSync(folder);
  const isStore = files.some((name) => /^MANIFEST-\d+$|\.(ldb|log)$/.test(name));
  // LevelDB would begin anew and delete the rest.
  if (isStore && !files.includes('CURRENT')) return 'the file CURRENT is missing';
  for (const name of files.filter((file) => /^MANIFEST-\d+$|\.log$/.test(file))) {
    const at = damageIn(readFileSync(join(folder, name)));
    if (at !== undefined) return `${name} is damaged at octet ${at}`;
  }
  return undefined;
}
