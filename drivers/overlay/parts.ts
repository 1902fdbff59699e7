/** What the overlay driver is built on. */

import type { Address } from '../../src/base/index.ts';
import type { DriverNetwork, NumberPool } from '../../src/driver/index.ts';
import type { LinkParts } from '../shared/parts.ts';

export interface OverlayParts extends LinkParts {
  /** Folder of the pins of networks' namespaces, shared with those of sandboxes. */
  readonly pinFolder: string;
  /** This host's own underlay address; undefined where no other host has the network: no tunnels are made then. */
  readonly vtep: (net: DriverNetwork) => Address | undefined;
  /** This host's key and port for networks that are encrypted by WireGuard; absent: it can be in none. */
  readonly wireguard?: { readonly privateKey: Buffer; readonly port: number };
  /** UDP port of the tunnels of networks that are made here. */
  readonly dataPathPort: number;
  /** VXLAN ids of networks of this host alone. */
  readonly numbers: NumberPool;
  /** VXLAN ids of networks that hosts share. Default: the same. */
  readonly sharedNumbers?: NumberPool;
}
