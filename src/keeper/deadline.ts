/** Waiting for the keeper's word, and the end of it. */

import { CnmError } from '../base/index.ts';

/** No answer in time; whether the wish was performed is unknown. */
export class Silence extends CnmError {
  constructor(subject: string) {
    super('resolver_unavailable', `the keeper does not answer: ${subject}`);
  }
}

/** Throws resolver_unavailable when `work` has not settled by `deadline`. */
export async function withDeadline<T>(work: Promise<T>, deadline: number, subject: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_, reject) => {
    const left = Math.max(0, deadline - performance.now());
    // An answer may have come while this thread was busy: it is read before.
    timer = setTimeout(() => setImmediate(() => reject(new Silence(subject))), left);
  });
  try {
    return await Promise.race([work, limit]);
  } finally {
    clearTimeout(timer);
  }
}
