/** The query of a request: each parameter once, and on our own routes none that they do not take. Pure. */

import { CnmError, parseTruth, quoted } from '../base/index.ts';

/**
 * Reads what stands behind the question mark. `taken` are the parameters of one of our own routes; without it any other is
 * ignored, as the reference does, whose newer clients send more than we know. Throws bad_request.
 */
export function parseQuery(text: string, taken: readonly string[] | undefined): Record<string, string> {
  const query: Record<string, string> = {};
  for (const [name, value] of new URLSearchParams(text)) {
    if (taken !== undefined && !taken.includes(name)) throw unknown(name, taken);
    // One reader would go by the first, another by the last.
    if (Object.hasOwn(query, name)) throw new CnmError('bad_request', `parameter ${quoted(name)} is given twice: give it once`);
    Object.defineProperty(query, name, { value, enumerable: true });
  }
  return query;
}

function unknown(name: string, taken: readonly string[]): CnmError {
  const remedy = taken.length > 0 ? `use ${taken.join(', ')}` : 'this path takes none';
  return new CnmError('bad_request', `unknown parameter ${quoted(name)}: ${remedy}`);
}

/** A truth value of a query, false when it is absent. Throws bad_request. */
export function parseQueryBool(name: string, text: string | undefined): boolean {
  if (text === undefined || text === '') return false;
  const truth = parseTruth(text);
  if (truth !== undefined) return truth;
  throw new CnmError('bad_request', `invalid value for ${name}: ${quoted(text)}; use true or false`);
}

/** A truth value as the engine reads it on its older routes: everything but a few words is true. */
export const isEngineTrue = (text: string | undefined): boolean =>
  !['', '0', 'no', 'false', 'none'].includes((text ?? '').trim().toLowerCase());
