/** What drivers with links are built on, apart from the packet filter, which not all of them need. */

import type { DriverParts } from '../../src/driver/index.ts';

export type LinkParts = Omit<DriverParts, 'firewall'>;
