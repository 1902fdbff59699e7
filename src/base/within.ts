/**
 * What the work resolves to, or undefined when that takes longer than `waitMs` milliseconds: it then goes on by itself, and what it
 * throws is passed over. Throws what the work throws in time. Leaves no timer behind.
 */
export async function within<T>(waitMs: number, work: Promise<T>): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<undefined>((resolve) => (timer = setTimeout(() => resolve(undefined), waitMs)));
  try {
    return await Promise.race([work, limit]);
  } finally {
    clearTimeout(timer);
  }
}
