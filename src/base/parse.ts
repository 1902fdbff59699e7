/** Turns zod's findings into one error that names every problem at once. */

import type { z } from 'zod';
import { CnmError, type ErrorCode } from './errors.ts';

/** Parses `value`; throws `code` (default bad_request) with every problem in one message. */
export function parseWith<T>(schema: z.ZodType<T>, value: unknown, what: string, code: ErrorCode = 'bad_request'): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const problems = result.error.issues.map((issue) => {
    const where = issue.path.map(String).join('.');
    return where === '' ? issue.message : `${where}: ${issue.message}`;
  });
  throw new CnmError(code, `invalid ${what}: ${problems.join('; ')}`);
}
