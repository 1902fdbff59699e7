/** Links that an engine moves into its sandboxes, and gives back when it is done with them. */

import type { EndpointId } from '../base/index.ts';

/** Name of an endpoint's link on the host: derived, so that it can be found without a record. */
export const bareLinkName = (id: EndpointId): string => `peer${id.slice(0, 11)}`;
