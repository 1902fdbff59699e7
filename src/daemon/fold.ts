/** Bodies as the reference reads them: field names match whatever their case, and null is no value (spec 02 V9). */

import { CnmError } from '../base/index.ts';

/** What is looked at of a schema: its kind, and what it is made of. */
interface Schema {
  readonly def: {
    readonly type: string;
    readonly shape?: Readonly<Record<string, Schema>>;
    readonly innerType?: Schema;
    readonly element?: Schema;
    readonly valueType?: Schema;
  };
}

/** Gives the fields of `value`, at every depth, the schema's own spelling, and leaves out those that are null; refuses what is not an object. */
export function foldCase(schema: object, value: unknown): unknown {
  // No body: every field is absent.
  if (value === undefined) return {};
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new CnmError('bad_json', 'invalid JSON: the body must be one object');
  }
  return folded(schema as Schema, value);
}

function folded({ def }: Schema, value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (def.innerType !== undefined) return folded(def.innerType, value);
  const { shape, element, valueType } = def;
  if (Array.isArray(value)) return element === undefined ? value : value.map((each) => folded(element, each));
  if (valueType !== undefined) return mapped(value, (key, field) => [[key, folded(valueType, field)]]);
  if (shape === undefined) return value;
  const known = new Map(Object.keys(shape).map((key) => [key.toLowerCase(), key]));
  return mapped(value, (key, field) => {
    const name = known.get(key.toLowerCase());
    if (name === undefined) return [[key, field]];
    const inner = shape[name];
    return field === null || inner === undefined ? [] : [[name, folded(inner, field)]];
  });
}

const mapped = (value: object, each: (key: string, field: unknown) => [string, unknown][]): object =>
  Object.fromEntries(
    Object.entries(value).flatMap(([key, field]) => {
      // It would be lost on the way, and nobody told.
      if (key === '__proto__') throw new CnmError('bad_request', 'the field __proto__ is not taken: give it another name');
      return each(key, field);
    }),
  );
