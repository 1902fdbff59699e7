/** The host network: a sandbox on it lives in the host's own namespace; there is nothing to make. */

import type { Driver } from '../../src/driver/index.ts';
import { driverOfNothing } from '../shared/nothing.ts';

export const createHostDriver = (): Driver => driverOfNothing('host', 'host');
