/** How the sandboxes that lead published ports of services on are told from others. What brings and ends them is ingress.ts. */

import type { SandboxRecord } from '../records.ts';

/** Label of such a sandbox: id of the service. */
export const INGRESS_SERVICE = 'patchbay.ingress.service';
/** Label of such a sandbox: what it was made for, as text. */
export const INGRESS_WISH = 'patchbay.ingress.wish';

/** The service whose published ports the sandbox leads on; undefined for a sandbox of a user. */
export const ingressServiceOf = ({ labels }: Pick<SandboxRecord, 'labels'>): string | undefined => labels[INGRESS_SERVICE];
