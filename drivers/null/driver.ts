/** The `none` network: a sandbox on it has only its loopback. */

import type { Driver } from '../../src/driver/index.ts';
import { driverOfNothing } from '../shared/nothing.ts';

export const createNullDriver = (): Driver => driverOfNothing('null', 'none');
