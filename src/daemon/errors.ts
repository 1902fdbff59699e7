/** Error kinds to HTTP statuses, and the form of an error's body. */

import { type ErrorAnswer, type ErrorKind, type Logger, errnoOf, isCnmError, messageOf, plain } from '../base/index.ts';

export const statusOf: Readonly<Record<ErrorKind, number>> = {
  invalid: 400,
  unauthorized: 401,
  forbidden: 403,
  not_found: 404,
  conflict: 409,
  not_modified: 304,
  not_implemented: 501,
  unavailable: 503,
  timeout: 500,
  cancelled: 500,
  data_loss: 500,
  internal: 500,
};

/** Status and body for any thrown value; what is not ours is logged and told in general words. */
export function errorAnswer(error: unknown, log: Logger): { readonly status: number; readonly body: ErrorAnswer } {
  if (isCnmError(error)) {
    if (error.code === 'internal') log.error({ err: error }, 'a request failed');
    if (error.undoFailures !== undefined) {
      log.error(
        { err: error, failures: error.undoFailures.map((f) => `${f.label}: ${messageOf(f.error)}`) },
        'an undo was not complete',
      );
    }
    return { status: statusOf[error.kind], body: { message: plain(error.message), code: error.code } };
  }
  if (['ENOSPC', 'EDQUOT'].includes(errnoOf(error) ?? '')) {
    log.error({ err: error }, 'a request failed');
    const message = `${messageOf(error)}: make room in the state directory and the run directory of the daemon, and try again`;
    return { status: statusOf.internal, body: { message: plain(message), code: 'syscall_failed' } };
  }
  const status = error instanceof Error && 'statusCode' in error && typeof error.statusCode === 'number' ? error.statusCode : 500;
  if (status >= 500) log.error({ err: error }, 'a request failed');
  return { status, body: { message: plain(messageOf(error)), code: status >= 500 ? 'internal' : 'bad_request' } };
}
