/** Labelled undo in reverse order. Return = keep, throw = undo. */

import { CnmError, codeOf, messageOf } from './errors.ts';

export interface Undo {
  /** Registers the inverse of the effect on the line before. */
  add(label: string, step: () => Promise<unknown> | unknown): void;
}

interface Step {
  readonly label: string;
  readonly run: () => Promise<unknown> | unknown;
}

/** Time limit of one undo step, milliseconds. */
const UNDO_STEP_LIMIT_MS = 15_000;

async function withLimit(step: Step): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`undo step took over ${UNDO_STEP_LIMIT_MS} ms`)), UNDO_STEP_LIMIT_MS);
    timer.unref();
  });
  try {
    await Promise.race([Promise.resolve().then(step.run), limit]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Runs `work`. When it throws, every registered step runs last-first, each one even if an earlier one failed; the
 * first error is thrown, with the failures of undo steps on its `undoFailures`.
 */
export async function undoable<T>(work: (undo: Undo) => Promise<T>): Promise<T> {
  const steps: Step[] = [];
  try {
    return await work({ add: (label, run) => void steps.push({ label, run }) });
  } catch (error) {
    const failures: { label: string; error: unknown }[] = [];
    for (const step of steps.reverse()) {
      try {
        await withLimit(step);
      } catch (failure) {
        failures.push({ label: step.label, error: failure });
      }
    }
    if (failures.length > 0 && error instanceof Error) {
      Object.assign(error, { undoFailures: failures });
    }
    throw error;
  }
}

/** Runs every step even when one fails, then throws one error that names all failures. For deletes, which never undo. */
export async function attemptAll(
  steps: readonly (readonly [label: string, run: () => Promise<unknown> | unknown])[],
): Promise<void> {
  const failures: { label: string; error: unknown }[] = [];
  for (const [label, run] of steps) {
    try {
      await run();
    } catch (error) {
      failures.push({ label, error });
    }
  }
  const [first, ...rest] = failures;
  if (first === undefined) return;
  if (rest.length === 0) throw first.error;
  throw new CnmError(codeOf(first.error) ?? 'internal', failures.map((f) => `${f.label}: ${messageOf(f.error)}`).join('; '), {
    cause: new AggregateError(failures.map((f) => f.error)),
  });
}
