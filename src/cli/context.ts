/** What every command is given. */

import type { Client } from './client.ts';

/** What commands get from outside; a test hands in its own. */
export interface CliContext {
  readonly client: () => Client;
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  /** Long boolean flags given as `--flag=false`, without the dashes. */
  readonly no: ReadonlySet<string>;
  /** The command's exit code when it is not 0. */
  exitCode: number;
}
