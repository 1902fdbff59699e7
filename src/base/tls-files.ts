/** The PEM files of TLS with certificates on both sides. Each is looked at by itself, so that an error names the file. */

import type { KeyObject, X509Certificate } from 'node:crypto';
import { readBounded } from './bounded-file.ts';
import { CnmError, messageOf } from './errors.ts';

/** Larger than any bundle of authorities, octets. */
const MAX_SIZE = 4 * 1024 * 1024;

/** Paths: the authority of the other side, our own certificate, its key. */
export interface TlsFiles {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** What is in them, as Node's TLS takes it. */
export type TlsContents = Readonly<Record<keyof TlsFiles, Buffer>>;

/** OpenSSL takes all three labels (PEM_read_bio_X509_AUX(3)). */
const CERTIFICATE = /-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----[^-]*-----END (?:TRUSTED |X509 )?CERTIFICATE-----/g;

/**
 * Throws bad_config for files that are missing, are none, or do not belong together. OpenSSL itself takes an authority without a
 * certificate, which nobody's is signed by then, and passes over what follows a broken one.
 */
export function readTlsFiles(files: TlsFiles): TlsContents {
  const ca = readFile('tlscacert', files.ca);
  certificatesOf('tlscacert', files.ca, ca);
  const cert = readFile('tlscert', files.cert);
  const [own] = certificatesOf('tlscert', files.cert, cert);
  const key = readFile('tlskey', files.key);
  if (own?.checkPrivateKey(privateKeyOf(files.key, key)) === false)
    throw bad('tlskey', files.key, `it is not the key of the certificate in ${files.cert}: use the two that were made together`);
  return { ca, cert, key };
}

const bad = (flag: string, path: string, why: string, cause?: unknown): CnmError =>
  new CnmError('bad_config', `--${flag} ${path}: ${why}`, cause === undefined ? {} : { cause });

function readFile(flag: string, path: string): Buffer {
  let found: ReturnType<typeof readBounded>;
  try {
    found = readBounded(path, MAX_SIZE);
  } catch (error) {
    throw bad(flag, path, messageOf(error), error);
  }
  if (found === 'too large') throw bad(flag, path, 'it is larger than 4 MiB: use a file in PEM form');
  if (typeof found === 'string') throw bad(flag, path, 'it is not a file: use one in PEM form');
  return found;
}

/** Loaded where it is needed: it adds some 10 ms to the start of every command, and few of them use TLS. */
const crypto = (): typeof import('node:crypto') => process.getBuiltinModule('node:crypto');

function certificatesOf(flag: string, path: string, pem: Buffer): X509Certificate[] {
  const blocks = pem.toString('latin1').match(CERTIFICATE) ?? [];
  if (blocks.length === 0) throw bad(flag, path, 'there is no certificate in it: use a file in PEM form');
  return blocks.map((block, i) => {
    try {
      return new (crypto().X509Certificate)(block);
    } catch (error) {
      throw bad(flag, path, `certificate ${i + 1} of ${blocks.length} in it cannot be read: ${messageOf(error)}`, error);
    }
  });
}

function privateKeyOf(path: string, pem: Buffer): KeyObject {
  try {
    return crypto().createPrivateKey(pem);
  } catch (error) {
    throw bad('tlskey', path, `there is no private key in it that opens without a passphrase: ${messageOf(error)}`, error);
  }
}
