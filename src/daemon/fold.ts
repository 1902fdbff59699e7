/** Field names match whatever their case, as in the reference (spec 02 V9). */

import { CnmError } from '../base/index.ts';

interface ObjectSchema {
  readonly shape: Readonly<Record<string, unknown>>;
}

/** Renames the top-level fields of `value` to the schema's own spelling; refuses what is not an object. */
export function foldCase(schema: ObjectSchema, value: unknown): unknown {
  // No body: every field is absent.
  if (value === undefined) return {};
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new CnmError('bad_json', 'invalid JSON: the body must be one object');
  }
  const known = new Map(Object.keys(schema.shape).map((key) => [key.toLowerCase(), key]));
  return Object.fromEntries(Object.entries(value).map(([key, field]) => [known.get(key.toLowerCase()) ?? key, field]));
}
