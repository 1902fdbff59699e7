/** Where things are on this disk. A bundle of the lab is told by the environment, since it lies elsewhere. */

import { join } from 'node:path';

/** Folder of the built programs, with a slash at its end. */
export const DIST = process.env['PATCHBAY_DIST'] ?? new URL('../../dist/', import.meta.url).pathname;
/** Programs of the lab that run as they are. */
export const PROGRAMS = join(DIST, '../test/lab');
/** Scripts that set up machines of any kind, not only the lab's. */
export const SCRIPTS = join(DIST, '../vagrant/scripts');
/** Where the set-up unpacks it. */
export const ETCD = '/var/cache/patchbay-test/etcd/usr/bin/etcd';
/** Folder of the runs of this user, in memory as /run is. */
export const RUNS = `/dev/shm/patchbay-lab-${process.getuid?.() ?? 0}`;
