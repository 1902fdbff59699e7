/** Octets from outside to one JSON value: charset, nesting and syntax are checked before anything looks at what it says. Pure. */

import { CnmError, messageOf } from './errors.ts';

/** Deepest nesting of brackets; what we serve needs five. */
const MAX_DEPTH = 100;

/** Throws bad_json. */
export function decodedJson(body: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(body);
  } catch {
    throw new CnmError('bad_json', 'invalid JSON: the body is not UTF-8');
  }
}

/** Throws bad_json. */
export function parsedJson(text: string): unknown {
  if (depthOf(text) > MAX_DEPTH) throw new CnmError('bad_json', `invalid JSON: nested deeper than ${MAX_DEPTH} levels`);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new CnmError('bad_json', `invalid JSON: ${messageOf(error)}`);
  }
}

/** Deepest nesting of brackets outside of strings. Unsound JSON gets some number; the parser refuses it afterwards. */
function depthOf(text: string): number {
  let depth = 0;
  let deepest = 0;
  let isInString = false;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (isInString) {
      if (code === BACKSLASH) i++;
      else if (code === QUOTE) isInString = false;
    } else if (code === QUOTE) isInString = true;
    else if (code === OPEN_LIST || code === OPEN_OBJECT) deepest = Math.max(deepest, ++depth);
    else if (code === CLOSE_LIST || code === CLOSE_OBJECT) depth--;
  }
  return deepest;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_LIST = 0x5b;
const CLOSE_LIST = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
