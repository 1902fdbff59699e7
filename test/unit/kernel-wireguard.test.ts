/** Keys of WireGuard. */

import { createPrivateKey, createPublicKey, diffieHellman } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type WireguardKeys, wireguardKeys } from '../../src/kernel/index.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pbt-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

test('are made once, for their owner only', () => {
  const path = join(folder, 'key');
  const first = wireguardKeys(path);
  expect(wireguardKeys(path)).toEqual(first);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(first.publicKey).toMatch(/^[A-Za-z0-9+/]{43}=$/);
  expect(Buffer.from(readFileSync(path, 'latin1'), 'base64')).toEqual(first.privateKey);
});

test('the public key is that of the private one: two hosts come to one secret', () => {
  const [one, other] = ['one', 'other'].map((name) => wireguardKeys(join(folder, name)));
  if (one === undefined || other === undefined) throw new Error('no keys');
  const jwk = ({ privateKey, publicKey }: WireguardKeys) => ({
    kty: 'OKP',
    crv: 'X25519',
    d: privateKey.toString('base64url'),
    x: Buffer.from(publicKey, 'base64').toString('base64url'),
  });
  const shared = (mine: WireguardKeys, theirs: WireguardKeys): Buffer =>
    diffieHellman({
      privateKey: createPrivateKey({ key: jwk(mine), format: 'jwk' }),
      publicKey: createPublicKey({ key: { ...jwk(theirs), d: undefined }, format: 'jwk' } as never),
    });
  expect(shared(one, other)).toEqual(shared(other, one));
});

test('what is no key is refused, and left as it is', () => {
  const path = join(folder, 'key');
  writeFileSync(path, 'nothing');
  expect(() => wireguardKeys(path)).toThrow(expect.objectContaining({ code: 'store_corrupt' }));
  expect(readFileSync(path, 'latin1')).toBe('nothing');
});
