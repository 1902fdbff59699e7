/** Interface addresses, routes and policy rules as rtnetlink messages (linux/if_addr.h, rtnetlink.h, fib_rules.h). */

import * as rt from 'netlink/dist/rt/structs.js';
import {
  addressBytes,
  addressFromBigInt,
  addressFromBytes,
  BITS,
  familyOf,
  isLoopback,
  makePrefix,
  networkOf,
  prefixAddress,
  prefixBounds,
  prefixLength,
  type Address,
  type IpFamily,
  type Prefix,
} from '../base/index.ts';
import { Attributes, attribute } from './attributes.ts';
import type { AddressSpec, RouteSpec, RuleSpec } from './contract.ts';
import { formatted } from './link.ts';
import type { Message } from './messages.ts';
import { NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE } from './netlink.ts';

const { NEWADDR, DELADDR, GETADDR, NEWROUTE, DELROUTE, GETROUTE, NEWRULE, DELRULE, GETRULE } = rt.MessageType;

const AF_INET = 2;
const AF_INET6 = 10;
const SCOPE = { global: rt.RouteScope.UNIVERSE, link: rt.RouteScope.LINK, host: rt.RouteScope.HOST } as const;
const RT_TABLE_MAIN = 254;
const RTNH_F_ONLINK = 4;
const IFA_F_NODAD = 2;
const IFA = { address: 1, local: 2, flags: 8 } as const;
const RTA = { destination: 1, oif: 4, gateway: 5, priority: 6, multipath: 9, table: 15, via: 18 } as const;
const FRA = { destination: 1, source: 2, priority: 6, mark: 10, table: 15 } as const;
const IFADDR_SIZE = 8;
const RTMSG_SIZE = 12;
const NEXT_HOP_SIZE = 8;

export const familyNumber = (family: IpFamily): number => (family === 4 ? AF_INET : AF_INET6);

const octets = (address: Address): Buffer => Buffer.from(addressBytes(address));

/** The address in an attribute of 4 or 16 octets. */
export function addressIn(raw: Buffer | undefined): Address | undefined {
  return raw !== undefined && (raw.length === 4 || raw.length === 16) ? addressFromBytes(raw) : undefined;
}

// Addresses

function addressBody({ link, prefix, noDad }: AddressSpec): Buffer {
  const address = prefixAddress(prefix);
  const family = familyOf(prefix);
  const length = prefixLength(prefix);
  const broadcast = family === 4 && length < 31 ? octets(addressFromBigInt(prefixBounds(prefix).last, 4)) : undefined;
  return formatted(
    rt.formatAddress({
      family: familyNumber(family),
      prefixlen: length,
      scope: family === 4 && isLoopback(address) ? SCOPE.host : SCOPE.global,
      index: link,
      ...(noDad === true ? { flags: { nodad: true } } : {}),
    }),
    rt.formatAddressAttrs({
      local: octets(address),
      address: octets(address),
      ...(broadcast === undefined ? {} : { broadcast }),
    }),
  );
}

/** Fails with EEXIST when the link has the address. IPv4 gets the subnet's broadcast address too. */
export const encodeAddressAdd = (spec: AddressSpec): Message => ({
  type: NEWADDR,
  flags: NLM_F_CREATE | NLM_F_EXCL,
  body: addressBody(spec),
});

export const encodeAddressRemove = (spec: AddressSpec): Message => ({ type: DELADDR, body: addressBody(spec) });

/** `family` undefined: both. */
export const encodeAddressList = (family: IpFamily | undefined, link?: number): Message => ({
  type: GETADDR,
  body: rt.formatAddress({
    family: family === undefined ? 0 : familyNumber(family),
    ...(link === undefined ? {} : { index: link }),
  }),
});

export function parseAddressMessage(body: Buffer): AddressSpec | undefined {
  const attributes = new Attributes(body, IFADDR_SIZE);
  // IFA_ADDRESS is the other end of a point-to-point link; IPv6 has IFA_LOCAL only there.
  const address = addressIn(attributes.bytes(IFA.local) ?? attributes.bytes(IFA.address));
  if (address === undefined) return undefined;
  const flags = attributes.u32(IFA.flags) ?? body.readUInt8(2);
  return {
    link: body.readUInt32LE(4),
    prefix: makePrefix(address, body.readUInt8(1)),
    ...((flags & IFA_F_NODAD) === 0 ? {} : { noDad: true }),
  };
}

// Routes

function routeBody(spec: RouteSpec, removal: boolean): Buffer {
  const table = spec.table ?? RT_TABLE_MAIN;
  const scope = SCOPE[spec.scope ?? (spec.gateway === undefined && spec.family === 4 ? 'link' : 'global')];
  return formatted(
    rt.formatRoute({
      family: familyNumber(spec.family),
      dstLen: spec.destination === undefined ? 0 : prefixLength(spec.destination),
      table: table < 256 ? table : 0,
      // A removal without protocol, and with this scope, takes a route of any.
      ...(removal ? {} : { protocol: rt.RouteProtocol.STATIC }),
      scope: removal && spec.scope === undefined ? rt.RouteScope.NOWHERE : scope,
      type: rt.RouteType.UNICAST,
      ...(spec.onLink === true ? { flags: { __unknown: RTNH_F_ONLINK } } : {}),
    }),
    rt.formatRouteAttrs({
      table,
      ...(spec.destination === undefined ? {} : { dst: octets(prefixAddress(networkOf(spec.destination))) }),
      ...(spec.gateway === undefined ? {} : { gateway: octets(spec.gateway) }),
      ...(spec.link === undefined ? {} : { oif: spec.link }),
      ...(spec.metric === undefined ? {} : { priority: spec.metric }),
    }),
  );
}

/** Fails with EEXIST when there is one of the same destination and metric. */
export const encodeRouteAdd = (spec: RouteSpec): Message => ({
  type: NEWROUTE,
  flags: NLM_F_CREATE | NLM_F_EXCL,
  body: routeBody(spec, false),
});

export const encodeRouteReplace = (spec: RouteSpec): Message => ({
  type: NEWROUTE,
  flags: NLM_F_CREATE | NLM_F_REPLACE,
  body: routeBody(spec, false),
});

export const encodeRouteRemove = (spec: RouteSpec): Message => ({ type: DELROUTE, body: routeBody(spec, true) });

export const encodeRouteList = (family: IpFamily): Message => ({
  type: GETROUTE,
  body: rt.formatRoute({ family: familyNumber(family) }),
});

interface Hop {
  readonly gateway?: Address;
  readonly link?: number;
  readonly onLink?: boolean;
}

function hop(attributes: Attributes, link: number | undefined, flags: number): Hop {
  // RTA_VIA: a gateway of the other family, behind its family number.
  const gateway = addressIn(attributes.bytes(RTA.gateway) ?? attributes.bytes(RTA.via)?.subarray(2));
  return {
    ...(gateway === undefined ? {} : { gateway }),
    ...(link === undefined || link === 0 ? {} : { link }),
    ...((flags & RTNH_F_ONLINK) === 0 ? {} : { onLink: true }),
  };
}

/** struct rtnexthop, each with its own attributes. */
function hops(attributes: Attributes, flags: number): Hop[] {
  const raw = attributes.bytes(RTA.multipath);
  if (raw === undefined) return [hop(attributes, attributes.u32(RTA.oif), flags)];
  const found: Hop[] = [];
  for (let at = 0; at + NEXT_HOP_SIZE <= raw.length;) {
    const length = raw.readUInt16LE(at);
    if (length < NEXT_HOP_SIZE || at + length > raw.length) break;
    found.push(hop(new Attributes(raw.subarray(at, at + length), NEXT_HOP_SIZE), raw.readInt32LE(at + 4), raw.readUInt8(at + 2)));
    at += (length + 3) & ~3;
  }
  return found;
}

/** Unicast routes, one entry a next hop; undefined for other types and for cached ones. */
export function parseRoute(body: Buffer): RouteSpec[] | undefined {
  const head = rt.parseRoute(body.subarray(0, RTMSG_SIZE));
  if (head.type !== 'UNICAST' || head.flags?.cloned === true) return undefined;
  const family: IpFamily = body.readUInt8(0) === AF_INET ? 4 : 6;
  const attributes = new Attributes(body, RTMSG_SIZE);
  const destination = addressIn(attributes.bytes(RTA.destination));
  const length = head.dstLen ?? 0;
  const metric = attributes.u32(RTA.priority);
  const common = {
    family,
    ...(length === 0 ? {} : { destination: makePrefix(destination ?? addressFromBigInt(0n, family), length) }),
    scope: head.scope === 'LINK' ? 'link' : head.scope === 'HOST' ? 'host' : 'global',
    table: attributes.u32(RTA.table) ?? body.readUInt8(4),
    protocol: body.readUInt8(5),
    ...(metric === undefined ? {} : { metric }),
  } as const;
  return hops(attributes, body.readUInt32LE(8)).map((each) => ({ ...common, ...each }));
}

export const RTN_LOCAL = 2;

/** Which route a packet from here to the address takes. */
export const encodeRouteGet = (address: Address): Message => {
  const destination = octets(address);
  const head = Buffer.alloc(RTMSG_SIZE);
  head.writeUInt8(familyNumber(familyOf(address)), 0);
  head.writeUInt8(destination.length * 8, 1);
  return { type: GETROUTE, body: Buffer.concat([head, attribute(RTA.destination, destination)]) };
};

/** rtm_type of the answer. */
export const parseRouteType = (body: Buffer): number => body.readUInt8(7);

// Rules

function ruleBody(spec: RuleSpec): Buffer {
  const end = (prefix: Prefix | undefined): Buffer | undefined =>
    prefix === undefined ? undefined : octets(prefixAddress(networkOf(prefix)));
  const source = end(spec.source);
  const destination = end(spec.destination);
  return formatted(
    rt.formatRule({
      family: familyNumber(spec.family),
      srcLen: spec.source === undefined ? 0 : prefixLength(spec.source),
      dstLen: spec.destination === undefined ? 0 : prefixLength(spec.destination),
      table: spec.table < 256 ? spec.table : 0,
      action: rt.RuleAction.toTbl,
    }),
    rt.formatRuleAttrs({
      priority: spec.priority,
      table: spec.table,
      ...(source === undefined ? {} : { src: source }),
      ...(destination === undefined ? {} : { dst: destination }),
      ...(spec.mark === undefined ? {} : { fwmark: spec.mark }),
    }),
  );
}

/** Fails with EEXIST when there is an equal one. */
export const encodeRuleAdd = (spec: RuleSpec): Message => ({
  type: NEWRULE,
  flags: NLM_F_CREATE | NLM_F_EXCL,
  body: ruleBody(spec),
});

export const encodeRuleRemove = (spec: RuleSpec): Message => ({ type: DELRULE, body: ruleBody(spec) });

export const encodeRuleList = (family: IpFamily): Message => ({
  type: GETRULE,
  body: rt.formatRule({ family: familyNumber(family) }),
});

/** Rules that look up a table; undefined for other actions. */
export function parseRule(body: Buffer): RuleSpec | undefined {
  if (rt.parseRule(body.subarray(0, RTMSG_SIZE)).action !== 'toTbl') return undefined;
  const family: IpFamily = body.readUInt8(0) === AF_INET ? 4 : 6;
  const attributes = new Attributes(body, RTMSG_SIZE);
  const prefix = (type: number, length: number): Prefix | undefined => {
    const address = addressIn(attributes.bytes(type));
    return address === undefined || length > BITS[family] ? undefined : makePrefix(address, length);
  };
  const destination = prefix(FRA.destination, body.readUInt8(1));
  const source = prefix(FRA.source, body.readUInt8(2));
  const mark = attributes.u32(FRA.mark);
  return {
    family,
    priority: attributes.u32(FRA.priority) ?? 0,
    table: attributes.u32(FRA.table) ?? body.readUInt8(4),
    ...(mark === undefined ? {} : { mark }),
    ...(source === undefined ? {} : { source }),
    ...(destination === undefined ? {} : { destination }),
  };
}
