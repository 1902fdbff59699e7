/** Records of hosts in the cluster. A host's record stays until somebody removes it; its sign of life goes with its lease. */

import { z } from 'zod';
import { type Address, CnmError, type Json, parseAddress, quoted } from '../base/index.ts';
import type { Entry, Key } from '../store/index.ts';

export interface NodeRecord {
  /** Of the state directory: the same over restarts. */
  readonly id: string;
  readonly name: string;
  /** Where other hosts reach it; absent: it has not said. */
  readonly address?: Address;
  readonly version: string;
  /** Milliseconds since 1970. */
  readonly joined: number;
  /** Public key of its WireGuard link, base64. */
  readonly wireguard?: string;
}

/** One life of a daemon. */
export interface Sign {
  readonly incarnation: string;
}

/** A host's record and its sign of life are followed together, so that neither is seen without the other. */
export const NODES = 'node/';
const SIGN = '/alive';
export const nodeKey = (id: string): Key => NODES + id;
export const signKey = (id: string): Key => nodeKey(id) + SIGN;

/** What a key under NODES is about. */
export function partsOfKey(key: Key): { readonly id: string; readonly isSign: boolean } {
  const isSign = key.endsWith(SIGN);
  return { id: key.slice(NODES.length, isSign ? -SIGN.length : undefined), isSign };
}

/** The last time that a calendar of JavaScript has (ECMA-262 §21.4.1.1), milliseconds since 1970. */
const LATEST_MS = 8.64e15;
const nodeSchema = z.object({
  schema: z.literal(1),
  // It is shown on terminals.
  name: z.string().regex(/^[\w.-]{1,64}$/),
  address: z.string().optional(),
  version: z.string(),
  joined: z.number().int().min(0).max(LATEST_MS),
  wireguard: z
    .string()
    .regex(/^[A-Za-z0-9+/]{43}=$/)
    .optional(),
});
const signSchema = z.object({ incarnation: z.string() });

export const encodeNode = ({ id: _id, ...rest }: NodeRecord): Json => ({ schema: 1, ...rest });

/** Throws store_corrupt. */
export function decodeNode({ key, value }: Entry): NodeRecord {
  const { schema: _schema, address, wireguard, ...rest } = parsed(nodeSchema, key, value);
  const told = {
    ...(address !== undefined && { address: parseAddress(address) }),
    ...(wireguard !== undefined && { wireguard }),
  };
  return { id: key.slice(NODES.length), ...rest, ...told };
}

/** Throws store_corrupt. */
export const decodeSign = ({ key, value }: Entry): Sign => parsed(signSchema, key, value);

function parsed<T>(schema: z.ZodType<T>, key: Key, value: Json): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw new CnmError('store_corrupt', `the cluster's record ${quoted(key)} is not one that this version writes`);
}
