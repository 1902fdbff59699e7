/**
 * The plugin protocol as the one who asks speaks it (spec 03 §3 to §7): bodies made of the contract's values, and answers, of which
 * nothing is believed before it is checked. The other side is wire.ts.
 */

import { z } from 'zod';
import {
  type Address,
  type IpFamily,
  type Json,
  type Prefix,
  CnmError,
  familyOf,
  isLinkLocal,
  macBytes,
  makePrefix,
  messageOf,
  parseAddress,
  parseMac,
  parsePrefix,
  parseWith,
  prefixContains,
  prefixLength,
  quoted,
} from '../base/index.ts';
import type {
  DriverNetwork,
  DriverPool,
  EndpointRequest,
  GatewayQuestion,
  GatewayRoles,
  IfaceAddresses,
  JoinResult,
  SandboxPorts,
  StaticRoute,
} from './contract.ts';
import { labels } from './labels.ts';
import { keys } from './wire.ts';

/** Most static routes of one join. */
const MAX_ROUTES = 256;

/** An object whose fields match whatever their case; fields that nobody knows are ignored. */
function anyCase<T extends z.ZodRawShape>(shape: T) {
  const known = new Map(Object.keys(shape).map((key) => [key.toLowerCase(), key]));
  const rename = (value: unknown): unknown =>
    typeof value !== 'object' || value === null || Array.isArray(value)
      ? value
      : Object.fromEntries(Object.entries(value).map(([key, field]) => [known.get(key.toLowerCase()) ?? key, field]));
  return z.preprocess(rename, z.object(shape));
}

const text = z.string().nullish();
const truth = z.boolean().nullish();
const scope = z.enum(['local', 'global']);

/** Answers by method. */
export const answers = {
  nothing: anyCase({}),
  /** `Err` of a network driver, `Error` of an IPAM driver: each ignores the other's key. */
  failure: anyCase({ Err: text, Error: text }),
  activate: anyCase({ Implements: z.array(z.string()).nullish() }),
  capabilities: anyCase({
    Scope: scope,
    ConnectivityScope: z.union([scope, z.literal('')]).nullish(),
    GwAllocChecker: truth,
  }),
  gwAllocCheck: anyCase({ SkipIPv4: truth, SkipIPv6: truth }),
  createEndpoint: anyCase({ Interface: anyCase({ Address: text, AddressIPv6: text, MacAddress: text }).nullish() }),
  operInfo: anyCase({ Value: z.record(z.string(), z.json()).nullish() }),
  join: anyCase({
    InterfaceName: anyCase({ SrcName: text, DstPrefix: text }).nullish(),
    Gateway: text,
    GatewayIPv6: text,
    StaticRoutes: z
      .array(anyCase({ Destination: z.string(), RouteType: z.number().nullish(), NextHop: text }))
      .max(MAX_ROUTES)
      .nullish(),
  }),
  ipamCapabilities: anyCase({ RequiresMACAddress: truth, RequiresRequestReplay: truth }),
  addressSpaces: anyCase({ LocalDefaultAddressSpace: text, GlobalDefaultAddressSpace: text }),
  requestPool: anyCase({ PoolID: z.string().min(1), Pool: z.string(), Data: z.record(z.string(), z.unknown()).nullish() }),
  requestAddress: anyCase({ Address: text }),
} as const;

/** Throws plugin_failed, naming the method and the field. */
export const readAnswer = <T>(schema: z.ZodType<T>, answer: unknown, method: string): T =>
  parseWith(schema, answer, `answer to ${method}`, 'plugin_failed');

/** The words of a parser, as a fault of the plugin. */
function usable<T>(what: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw new CnmError('plugin_failed', `${what}: ${messageOf(error)}`, { cause: error });
  }
}

function ofFamily<T extends Address | Prefix>(value: T, family: IpFamily): T {
  if (familyOf(value) === family) return value;
  throw new CnmError('plugin_failed', `${quoted(value)} is not of IPv${family}`);
}

/** Option map of a network (spec 03 §5). */
export const networkBody = (net: GatewayQuestion): Json => ({
  [labels.enableIPv4]: net.enableIPv4 ?? true,
  [labels.enableIPv6]: net.enableIPv6,
  [keys.generic]: { ...net.options },
  ...(net.internal && { [keys.internal]: true }),
});

export const createNetworkBody = (net: DriverNetwork): Json => ({
  NetworkID: net.id,
  Options: networkBody(net),
  IPv4Data: net.v4.map(poolBody),
  IPv6Data: net.v6.map(poolBody),
});

/** Gateway and auxiliary addresses carry the subnet's length. */
function poolBody({ prefix, space, gateway, aux }: DriverPool): Json {
  const inside = (address: Address): Prefix => makePrefix(address, prefixLength(prefix));
  const named = Object.entries(aux).map(([name, address]) => [name, inside(address)] as const);
  return {
    AddressSpace: space ?? '',
    Pool: prefix,
    ...(gateway && { Gateway: inside(gateway) }),
    ...(named.length > 0 && { AuxAddresses: Object.fromEntries(named) }),
  };
}

/** Protocol numbers (IANA). */
const NUMBERS: Readonly<Record<string, number>> = { icmp: 1, tcp: 6, udp: 17, icmp6: 58, sctp: 132 };

/** What a sandbox publishes and declares; `{}` for an endpoint that is in none. */
export function portsBody(ports: SandboxPorts | undefined): Readonly<Record<string, Json>> {
  if (ports === undefined) return {};
  const declared = new Set([...ports.exposed, ...ports.publish.map((one) => `${one.port}/${one.protocol}`)]);
  return {
    [keys.exposedPorts]: [...declared].map((key) => {
      const [port, protocol = 'tcp'] = key.split('/');
      return { Proto: NUMBERS[protocol] ?? 0, Port: Number(port) };
    }),
    [keys.portMap]: ports.publish.map(({ protocol, port, hostAddress, hostPorts }) => ({
      Proto: NUMBERS[protocol] ?? 0,
      IP: '',
      Port: port,
      HostIP: hostAddress ?? '',
      HostPort: hostPorts?.from ?? 0,
      HostPortEnd: hostPorts?.to ?? 0,
    })),
  };
}

/** A MAC is told as text and, among the options, as base64 of its octets. */
export const createEndpointBody = (net: DriverNetwork, ep: EndpointRequest, ports: SandboxPorts | undefined): Json => ({
  NetworkID: net.id,
  EndpointID: ep.id,
  Interface: { Address: ep.iface.v4 ?? '', AddressIPv6: ep.iface.v6 ?? '', MacAddress: ep.iface.mac ?? '' },
  Options: {
    ...ep.options,
    ...portsBody(ports),
    ...(ep.iface.mac && { [keys.macAddress]: Buffer.from(macBytes(ep.iface.mac)).toString('base64') }),
  },
});

export const programOptions = (roles: GatewayRoles, ports: SandboxPorts): Json => ({
  ...portsBody(ports),
  ...(!roles.v6 && { [keys.no6to4Proxy]: true }),
});

type Answered<K extends keyof typeof answers> = z.output<(typeof answers)[K]>;

/** What was given, with what the plugin adds to it. Throws plugin_failed when it changes something, or adds nonsense. */
export function interfaceAnswered(given: IfaceAddresses, { Interface: own }: Answered<'createEndpoint'>): IfaceAddresses {
  const added = <T extends string>(what: string, had: T | undefined, answered: string | null | undefined, parse: () => T) => {
    if (!answered) return had;
    if (had === undefined) return usable(what, parse);
    throw new CnmError('plugin_failed', `driver modified ${what}: ${had} cannot be changed to ${quoted(answered)}`);
  };
  const mac = added('interface MAC address', given.mac, own?.MacAddress, () => parseMac(own?.MacAddress ?? ''));
  const v4 = added('interface address', given.v4, own?.Address, () => ofFamily(parsePrefix(own?.Address ?? ''), 4));
  const v6 = added('interface IPv6 address', given.v6, own?.AddressIPv6, () => ofFamily(parsePrefix(own?.AddressIPv6 ?? ''), 6));
  return { ...(mac && { mac }), ...(v4 && { v4 }), ...(v6 && { v6 }) };
}

/** Beginning of an interface's name, before its number. */
const PREFIX = /^[a-zA-Z0-9_.-]{1,11}$/;
/** The kernel's rule for links (dev_valid_name), and nothing that is not to be seen. */
const LINK = /^(?!\.{1,2}$)[!-.0-9;-~]{1,15}$/;

/** Where the link is to be found and how it is to be called, gateways and routes. Throws plugin_failed. */
export function joinAnswered(answer: Answered<'join'>, iface: IfaceAddresses): Omit<JoinResult, 'publish' | 'state'> {
  const { SrcName: source, DstPrefix: prefix } = answer.InterfaceName ?? {};
  if (source && !LINK.test(source)) throw new CnmError('plugin_failed', `SrcName ${quoted(source)} cannot be the name of a link`);
  if (prefix && !PREFIX.test(prefix)) {
    throw new CnmError('plugin_failed', `DstPrefix ${quoted(prefix)} cannot begin the name of an interface`);
  }
  const all = (answer.StaticRoutes ?? []).map((route) => usable('StaticRoutes', () => routeAnswered(route)));
  // A default route takes part in the election of the sandbox's gateway, whichever way it is told.
  const isDefault = (route: StaticRoute): boolean => prefixLength(route.destination) === 0 && route.nextHop !== undefined;
  const defaultVia = (family: IpFamily): Address | undefined =>
    all.find((route) => isDefault(route) && familyOf(route.destination) === family)?.nextHop;
  const routes = all.filter((route) => !isDefault(route));
  if (!source && routes.some(({ nextHop }) => nextHop === undefined)) {
    throw new CnmError('plugin_failed', 'StaticRoutes: a route on the link, and no link');
  }
  const gateway = gatewayAnswered('Gateway', answer.Gateway || defaultVia(4), 4, iface.v4, routes);
  // Dropped without an address of its family, as in the reference.
  const gateway6 = iface.v6 && gatewayAnswered('GatewayIPv6', answer.GatewayIPv6 || defaultVia(6), 6, iface.v6, routes);
  return {
    ...(source && { link: { name: source, at: 'host', ...(prefix && { prefix }) } }),
    ...(gateway && { gateway }),
    ...(gateway6 && { gateway6 }),
    routes,
    suppressDefaultGateway: false,
  };
}

/** Type 0 goes by a next hop, type 1 is on the link. */
function routeAnswered(route: NonNullable<Answered<'join'>['StaticRoutes']>[number]): StaticRoute {
  const destination = parsePrefix(route.Destination);
  if (route.RouteType === 1) return { destination };
  if (route.RouteType !== 0 && route.RouteType !== undefined && route.RouteType !== null)
    throw new CnmError('plugin_failed', `route type ${route.RouteType} is neither 0 nor 1`);
  if (!route.NextHop) throw new CnmError('plugin_failed', `the route to ${destination} has no next hop`);
  return { destination, nextHop: ofFamily(parseAddress(route.NextHop), familyOf(destination)) };
}

/** One that the link does not lead to would be refused by the kernel, in words that say nothing of the plugin. */
function gatewayAnswered(
  what: string,
  given: string | null | undefined,
  family: IpFamily,
  own: Prefix | undefined,
  routes: readonly StaticRoute[],
): Address | undefined {
  if (!given) return undefined;
  const address = usable(what, () => ofFamily(parseAddress(given), family));
  const onLink = [...(own ? [own] : []), ...routes.filter((r) => r.nextHop === undefined).map((r) => r.destination)];
  const isNear = onLink.some((prefix) => prefixContains(prefix, address)) || (family === 6 && isLinkLocal(address));
  if (isNear) return address;
  throw new CnmError(
    'plugin_failed',
    `${what} ${address} is not on the link: the endpoint has ${own ?? `no IPv${family} address`}`,
  );
}
