/** Desired state of the packet filter. Callers give an owner's whole wish; a backend computes and applies the change. */

import type { Address, IpFamily, Prefix } from '../base/index.ts';

export type GatewayMode = 'nat' | 'nat-unprotected' | 'routed' | 'isolated';

/** One family of a bridge network. */
export interface BridgeFamily {
  readonly subnet: Prefix;
  /** Address of the bridge itself, absent in isolated mode. It stays reachable from other networks. */
  readonly gateway?: Address;
  readonly mode: GatewayMode;
  readonly masquerade: boolean;
  /** SNAT to this address instead of masquerading. */
  readonly snatTo?: Address;
}

/** What one bridge network wants (spec 04 §6). Per network, never per endpoint: an attach without ports touches no rule. */
export interface BridgeIntent {
  readonly kind: 'bridge';
  /** Name of the bridge link. */
  readonly bridge: string;
  readonly internal: boolean;
  /** Endpoints of the network may reach each other. */
  readonly icc: boolean;
  readonly v4?: BridgeFamily;
  readonly v6?: BridgeFamily;
  /** Host links that may route straight to endpoint addresses. */
  readonly trustedInterfaces: readonly string[];
}

export interface PortRule {
  readonly protocol: 'tcp' | 'udp';
  /** Unspecified address (0.0.0.0, ::) = any. Same family as `address`. */
  readonly hostAddress: Address;
  /** 0 for routed mode: only the container port is opened. */
  readonly hostPort: number;
  /** Endpoint's address. */
  readonly address: Address;
  readonly port: number;
  readonly mode: GatewayMode;
}

/** Published ports of one endpoint. */
export interface PortsIntent {
  readonly kind: 'ports';
  readonly bridge: string;
  readonly rules: readonly PortRule[];
}

export type Intent = BridgeIntent | PortsIntent;

export interface FirewallChange {
  /** Network id or endpoint id. */
  readonly owner: string;
  /** null withdraws; an unknown owner is no error. */
  readonly intent: Intent | null;
}

/**
 * Works in the host namespace it was opened for. Calls are serialised inside. Applying the same twice is harmless.
 * iptables: one restore a family and direction, atomic per table only, hence filter closes before nat opens (the reverse
 * to withdraw), and a failure restores what was. Throws firewall_failed with the tool's words.
 */
export interface Firewall {
  readonly backend: 'iptables' | 'nftables' | 'none';
  apply(changes: readonly FirewallChange[]): Promise<void>;
  /** As apply, where rules may have been away: flows that began without what it adds are forgotten as by check. */
  mend(changes: readonly FirewallChange[]): Promise<void>;
  /** Start: makes the whole of ours in the kernel equal `all`, whatever was there, in one step. Forgets flows as check where rules were missing. */
  sync(all: readonly { readonly owner: string; readonly intent: Intent }[]): Promise<void>;
  /**
   * Sets the policy of forwarded traffic to DROP, before routing is switched on where there was none: the host would
   * otherwise become a router between all its links. Ours is accepted by rules. Never set back, as in the reference.
   */
  closeForward(family: IpFamily): Promise<void>;
  /**
   * Looks whether somebody has taken rules, chains or jumps of ours away, or put others in their place, and writes everything
   * again then; true when it had to. What was replaced before the first look at it is not noticed. Flows to published UDP ports
   * that began meanwhile and are not led to their endpoint are forgotten, since they would stay so; a failure of that is logged.
   */
  check(): Promise<boolean>;
  /** Writes everything again after someone flushed us, and forgets flows as check. */
  reload(): Promise<void>;
  /** Removes everything of this instance, and the shared user chain when it is empty and nobody else's jump needs it. */
  purge(): Promise<void>;
  /** Lets go of what runs for it; the rules stay, and the next call takes it up again. */
  close(): Promise<void>;
}
