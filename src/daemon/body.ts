/** A request's body to one JSON value: its headers are checked first. */

import type { IncomingHttpHeaders } from 'node:http';
import { CnmError, decodedJson, parsedJson, quoted } from '../base/index.ts';

/** Undefined for no body. Throws bad_content_type, bad_json. */
export function parseBody(headers: IncomingHttpHeaders, body: unknown): unknown {
  if (!Buffer.isBuffer(body) || body.length === 0) return undefined;
  checkType(headers['content-type']);
  const encoding = headers['content-encoding'];
  if (encoding !== undefined && encoding.toLowerCase() !== 'identity') {
    throw new CnmError('bad_content_type', `unsupported Content-Encoding header (${encoding}): send the body without it`);
  }
  const text = decodedJson(body);
  return text.trim() === '' ? undefined : parsedJson(text);
}

function checkType(type: string | undefined): void {
  if (type === undefined)
    throw new CnmError('bad_content_type', "the header Content-Type is missing: a body must be sent as 'application/json'");
  const [name = '', ...parameters] = type.split(';').map((part) => part.trim().toLowerCase());
  if (name !== 'application/json') {
    throw new CnmError('bad_content_type', `unsupported Content-Type header (${type}): must be 'application/json'`);
  }
  const charset = parameters.find((part) => part.startsWith('charset='))?.slice('charset='.length);
  if (charset !== undefined && !['utf-8', 'utf8'].includes(charset.replaceAll('"', ''))) {
    throw new CnmError('bad_content_type', `unsupported charset ${quoted(charset)} in Content-Type: JSON is utf-8`);
  }
}
