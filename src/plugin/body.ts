/** The body of an engine's call. */

import type { z } from 'zod';
import { CnmError, decodedJson, parsedJson } from '../base/index.ts';
import { wire } from '../driver/index.ts';

const FIELDS =
  'NetworkID EndpointID SandboxKey Options IPv4Data IPv6Data Interface Address AddressIPv6 MacAddress AddressSpace Pool SubPool ' +
  'Gateway AuxAddresses V6 PoolID DiscoveryType DiscoveryData';

/** The protocol's own spelling by lower case; keys of maps are anybody's. */
const SPELLINGS = new Map(FIELDS.split(' ').map((name) => [name.toLowerCase(), name]));

/** Maps whose keys are left as they are. */
const MAPS = new Set(['Options', 'AuxAddresses', 'DiscoveryData']);

/**
 * One JSON value, undefined for no body. Names of fields are taken in any case, as by the decoder of every plugin that is
 * written in Go; of two that differ in nothing else, the last one counts. Throws bad_json.
 */
export function readBody(body: unknown, method: string): unknown {
  if (!Buffer.isBuffer(body) || body.length === 0) return undefined;
  try {
    return folded(parsedJson(decodedJson(body)));
  } catch (error) {
    if (error instanceof CnmError) throw new CnmError(error.code, `${method}: ${error.message}`);
    throw error;
  }
}

/** The depth is bounded by the parser. */
function folded(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(folded);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, field]): [string, unknown] => {
      const name = SPELLINGS.get(key.toLowerCase()) ?? key;
      return [name, MAPS.has(name) ? field : folded(field)];
    }),
  );
}

/** What a method is asked, checked. Engines that call again after a lost answer send no body. Throws bad_json, bad_request. */
export function asked<T>(schema: z.ZodType<T>, body: unknown, method: string): T {
  if (body === undefined) throw new CnmError('bad_json', `${method}: there is no body; nothing was changed: ask again with one`);
  return wire.readRequest(schema, body, method);
}
