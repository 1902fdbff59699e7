/** Options of networks on a parent: parsed once to a typed value. Pure. */

import {
  type DriverNetwork,
  type DriverOptions,
  type EndpointRequest,
  type IfaceAddresses,
  labels,
} from '../../src/driver/index.ts';
import type { Link } from '../../src/kernel/index.ts';
import { type Advertise, advertiseOptions, badOption, checkIfacePrefix, truthOption } from './options.ts';
import { type ParentName, type SublinkKind, parseParent } from './parent-name.ts';
import type { SublinkMode } from './sublink.ts';

/** The mode that a driver reads from its own options. */
export interface ParentedMode extends SublinkMode {
  /** The network takes no other one of its driver on its parent. */
  readonly isAlone: boolean;
  /** Packets are routed: no ARP, no broadcasts, and the default route leads onto the link itself. */
  readonly isLayer3: boolean;
  /** The host's link would be kept from the endpoints' ones. */
  readonly keepsApart: boolean;
}

/** What a driver is, besides what both have in common. */
export interface ParentedKind {
  readonly name: SublinkKind;
  /** Interfaces have MACs of their own. */
  readonly ownMac: boolean;
  /** Throws bad_option. */
  parseMode(options: DriverOptions): ParentedMode;
  /** MAC of a new endpoint. `parent` is given for mode passthru, unless it is away. */
  chooseMac(asked: EndpointRequest, mode: ParentedMode, parent: Link | undefined): IfaceAddresses['mac'];
}

export interface ParentedOptions {
  readonly parent: ParentName;
  readonly mode: ParentedMode;
  /** Nothing leads out: asked for, or there is no parent. */
  readonly isClosed: boolean;
  readonly hostAccess: boolean;
  readonly advertise: Advertise;
}

/** That the kernel keeps the host and these sandboxes apart, which users find out late else (spec 11 U7). */
export function warningOf({ isClosed, hostAccess, mode }: ParentedOptions): string {
  if (isClosed || hostAccess) return '';
  const way = mode.keepsApart
    ? 'no mode like this one has a way round it'
    : `-o ${labels.hostAccess}=true gives the host a place beside them`;
  return `this host and the sandboxes of the network do not reach each other by the parent: ${way}`;
}

/** Parses the options of a network. Unknown keys are ignored. Throws bad_option. */
export function parseParented(kind: ParentedKind, net: DriverNetwork): ParentedOptions {
  const parent = parseParent(kind.name, net);
  const mode = kind.parseMode(net.options);
  const hostAccess = truthOption(net.options, labels.hostAccess, false);
  if (hostAccess && mode.keepsApart)
    throw badOption(labels.hostAccess, 'true', 'this mode keeps links on one parent apart; use mode bridge or vepa');
  checkIfacePrefix(net.options);
  return { parent, mode, isClosed: net.internal || parent.isDummy, hostAccess, advertise: advertiseOptions(net.options) };
}

/** The same for a network that is new: what was taken for nothing once, and asks for something, is refused. Throws bad_option. */
export function checkNew(kind: ParentedKind, net: DriverNetwork): void {
  parseParented(kind, net);
  if (net.options[labels.hostAccess] === '') throw badOption(labels.hostAccess, '', 'use true or false');
}
