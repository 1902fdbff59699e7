/** The one error that means exit code 125. */

/** The command line is wrong. */
export class UsageError extends Error {}
