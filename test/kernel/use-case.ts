/** One thing that the controller is asked to do where some call of it fails. */

import type { House } from './house-lab.ts';

export interface UseCase {
  readonly title: string;
  readonly prepare: (house: House) => Promise<unknown>;
  readonly act: (house: House) => Promise<unknown>;
  readonly revert: (house: House) => Promise<unknown>;
  /** Something stays after the revert, by design: resolver and held ports end with the sandbox. */
  readonly keeps?: boolean;
  /** More than one endpoint comes or goes: who is killed in between leaves it done or not begun, and the next look ends it. */
  readonly isEither?: boolean;
  /** A kill leaves host ports with the sandbox until it ends, by design; or a start does it by itself. */
  readonly isUndoOnly?: boolean;
  /** Takes away what stays by design, before one looks. */
  readonly tidy?: (house: House) => Promise<unknown>;
  /** It makes records and leases only: no call of it fails after its work. */
  readonly isOnPaper?: boolean;
}
