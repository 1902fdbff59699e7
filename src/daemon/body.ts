/** A request's body to one JSON value: charset, nesting and syntax are checked before anything looks at what it says. */

import type { IncomingHttpHeaders } from 'node:http';
import { CnmError, messageOf, quoted } from '../base/index.ts';

/** Deepest nesting of brackets; what we serve needs five. */
const MAX_DEPTH = 100;

/** Undefined for no body. Throws bad_content_type, bad_json. */
export function parseBody(headers: IncomingHttpHeaders, body: unknown): unknown {
  if (!Buffer.isBuffer(body) || body.length === 0) return undefined;
  const text = decoded(body);
  if (text.trim() === '') return undefined;
  checkType(headers['content-type']);
  const encoding = headers['content-encoding'];
  if (encoding !== undefined && encoding.toLowerCase() !== 'identity') {
    throw new CnmError('bad_content_type', `unsupported Content-Encoding header (${encoding}): send the body without it`);
  }
  if (depthOf(text) > MAX_DEPTH) throw new CnmError('bad_json', `invalid JSON: nested deeper than ${MAX_DEPTH} levels`);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new CnmError('bad_json', `invalid JSON: ${messageOf(error)}`);
  }
}

function decoded(body: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(body);
  } catch {
    throw new CnmError('bad_json', 'invalid JSON: the body is not UTF-8');
  }
}

function checkType(type: string | undefined): void {
  if (type === undefined) return;
  const [name = '', ...parameters] = type.split(';').map((part) => part.trim().toLowerCase());
  if (name !== 'application/json') {
    throw new CnmError('bad_content_type', `unsupported Content-Type header (${type}): must be 'application/json'`);
  }
  const charset = parameters.find((part) => part.startsWith('charset='))?.slice('charset='.length);
  if (charset !== undefined && !['utf-8', 'utf8'].includes(charset.replaceAll('"', ''))) {
    throw new CnmError('bad_content_type', `unsupported charset ${quoted(charset)} in Content-Type: JSON is utf-8`);
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
