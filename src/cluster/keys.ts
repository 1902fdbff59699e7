/**
 * Secrets that all hosts of the cluster have, from which encrypted networks make their keys. One is in use for what is sent, all
 * serve for what comes: the next one is known everywhere before it is used, and the last one as long as packets may be on their way.
 */

import { randomBytes, randomInt } from 'node:crypto';
import { z } from 'zod';
import { CnmError, type Json, codeOf, quoted } from '../base/index.ts';
import type { Entry, Key, Store } from '../store/index.ts';

export interface ClusterKey {
  /** Tells the key from others; no secret. 32 bits. */
  readonly tag: number;
  /** 32 octets. */
  readonly secret: Buffer;
}

export interface KeyRing {
  /** The one before, the one in use, the next one: at first without the one before. */
  readonly keys: readonly ClusterKey[];
  /** Tag of the one in use. */
  readonly primary: number;
  /** When it came into use, milliseconds since 1970. */
  readonly since: number;
}

export const KEYS: Key = 'secret/';
const RING: Key = `${KEYS}overlay`;
const SECRET_SIZE = 32;
const MAX_TAG = 2 ** 32 - 1;
/** Least time between two rotations, milliseconds: each host must have heard of the next key before it is used. */
export const LEAST_KEY_AGE_MS = 10_000;
const MAX_TRIES = 16;

const ringSchema = z.object({
  schema: z.literal(1),
  keys: z
    .array(z.object({ tag: z.number().int().min(1).max(MAX_TAG), secret: z.base64() }))
    .min(2)
    .max(3),
  primary: z.number().int(),
  since: z.number().int().min(0),
});

/** Throws store_corrupt. */
export function decodeRing({ key, value }: Entry): KeyRing {
  const result = ringSchema.safeParse(value);
  const keys = result.data?.keys.map(({ tag, secret }) => ({ tag, secret: Buffer.from(secret, 'base64') })) ?? [];
  const isSound =
    keys.every(({ secret }) => secret.length === SECRET_SIZE) && keys.some(({ tag }) => tag === result.data?.primary);
  if (result.success && isSound) return { keys, primary: result.data.primary, since: result.data.since };
  throw new CnmError('store_corrupt', `the cluster's record ${quoted(key)} is not one that this version writes`);
}

const encodeRing = ({ keys, primary, since }: KeyRing): Json => ({
  schema: 1,
  keys: keys.map(({ tag, secret }) => ({ tag, secret: secret.toString('base64') })),
  primary,
  since,
});

const freshKey = (): ClusterKey => ({ tag: randomInt(1, 2 ** 32), secret: randomBytes(SECRET_SIZE) });

/** The cluster's keys, made where there are none yet, or told again as they were `lost`. Throws store_unreachable, store_corrupt. */
export async function ensureRing(store: Store, now: () => number, lost?: KeyRing): Promise<KeyRing> {
  const keys = [freshKey(), freshKey()];
  const [first] = keys;
  const fresh = lost ?? { keys, primary: first?.tag ?? 0, since: now() };
  return await changeRing(store, (ring) => ring ?? fresh);
}

/**
 * The next key comes into use. Throws too_busy when the last one did so just now, store_unreachable, store_corrupt. `leastAge`: the one
 * in use stays where it is younger, milliseconds.
 */
export async function rotateRing(store: Store, now: () => number, leastAge: number): Promise<KeyRing> {
  return await changeRing(store, (ring) => {
    if (ring === undefined)
      throw new CnmError('not_supported_here', 'the cluster has no keys yet: they come with the first encrypted network');
    // A clock that was ahead must not keep it for ever.
    if (Math.abs(now() - ring.since) < leastAge) return ring;
    const at = ring.keys.findIndex(({ tag }) => tag === ring.primary);
    const [used, next = freshKey()] = [ring.keys[at], ring.keys[at + 1]];
    return { keys: [...(used === undefined ? [] : [used]), next, freshKey()], primary: next.tag, since: now() };
  });
}

async function changeRing(store: Store, change: (ring: KeyRing | undefined) => KeyRing): Promise<KeyRing> {
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const entry = await store.get(RING);
    const before = entry && decodeRing(entry);
    const after = change(before);
    if (after === before) return after;
    try {
      await store.commit({ expect: [{ key: RING, revision: entry?.revision }], put: [{ key: RING, value: encodeRing(after) }] });
      return after;
    } catch (error) {
      if (codeOf(error) !== 'stale_revision') throw error;
    }
  }
  throw new CnmError('too_busy', `others were quicker ${MAX_TRIES} times to change the keys of the cluster`);
}
