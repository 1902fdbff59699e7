/** The PEM files of TLS with certificates on both sides. Each is looked at by itself, so that an error names the file. */

import { X509Certificate, createPrivateKey } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';
import { CnmError, messageOf } from './errors.ts';

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

/** A pipe or a device would be waited for, or read without end. */
function readFile(flag: string, path: string): Buffer {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    throw bad(flag, path, messageOf(error), error);
  }
  try {
    if (!fstatSync(fd).isFile()) throw bad(flag, path, 'it is not a file: use one in PEM form');
    return readFileSync(fd);
  } finally {
    closeSync(fd);
  }
}

function certificatesOf(flag: string, path: string, pem: Buffer): X509Certificate[] {
  const blocks = pem.toString('latin1').match(CERTIFICATE) ?? [];
  if (blocks.length === 0) throw bad(flag, path, 'there is no certificate in it: use a file in PEM form');
  return blocks.map((block, i) => {
    try {
      return new X509Certificate(block);
    } catch (error) {
      throw bad(flag, path, `certificate ${i + 1} of ${blocks.length} in it cannot be read: ${messageOf(error)}`, error);
    }
  });
}

function privateKeyOf(path: string, pem: Buffer): ReturnType<typeof createPrivateKey> {
  try {
    return createPrivateKey(pem);
  } catch (error) {
    throw bad('tlskey', path, `there is no private key in it that opens without a passphrase: ${messageOf(error)}`, error);
  }
}
