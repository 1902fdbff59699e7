/** One thing that the controller is asked to do where some call of it fails. */

import type { House } from './house-lab.ts';

export interface UseCase {
  readonly title: string;
  readonly prepare: (house: House) => Promise<unknown>;
  readonly act: (house: House) => Promise<unknown>;
  readonly revert: (house: House) => Promise<unknown>;
  /** Something stays after the revert, by design: resolver and held ports end with the sandbox. */
  readonly keeps?: boolean;
  /** It makes records and leases only: no call of it fails after its work. */
  readonly isOnPaper?: boolean;
}
