/**
 * The plugin protocol's JSON and the contract's values, both ways (spec 03 §4 to §7). Fields that we do not know are ignored;
 * what we know is checked.
 */

import { z } from 'zod';
import {
  type Address,
  type Json,
  type Mac,
  type Prefix,
  CnmError,
  isUnspecified,
  networkOf,
  parseAddress,
  parseMac,
  parsePrefix,
  parseWith,
  prefixAddress,
} from '../base/index.ts';
import type { DriverOptions, DriverPool, PortMapping, StaticRoute } from './contract.ts';
import { labels } from './labels.ts';

/** Keys of the protocol's own in option maps. */
export const keys = {
  internal: 'com.docker.network.internal',
  /** Holds a network's own `-o` options. */
  generic: 'com.docker.network.generic',
  portMap: 'com.docker.network.portmap',
  exposedPorts: 'com.docker.network.endpoint.exposedports',
  macAddress: 'com.docker.network.endpoint.macaddress',
  /** Another endpoint of the sandbox is its IPv6 gateway. */
  no6to4Proxy: 'com.docker.network.driver.private.no_proxy_6to4',
  endpointName: 'com.docker.network.endpoint.name',
} as const;

/** Media type of requests and answers. */
export const PLUGIN_MEDIA_TYPE = 'application/vnd.docker.plugins.v1.2+json';

/** Address spaces, pools, gateways and auxiliary addresses as an engine sends them. */
const ipamData = z.object({
  AddressSpace: z.string().nullish(),
  Pool: z.string().nullish(),
  Gateway: z.string().nullish(),
  AuxAddresses: z.record(z.string(), z.string()).nullish(),
});
const options = z.record(z.string(), z.unknown()).nullish();
const id = z.string().regex(/^[a-zA-Z0-9]{12,64}$/, 'an id has 12 to 64 letters and digits');
const ofNetwork = { NetworkID: id };
const ofEndpoint = { NetworkID: id, EndpointID: id };
const stringMap = z.record(z.string(), z.string()).nullish();

/** Bodies by method; methods without an argument have no body at all. */
export const requests = {
  gwAllocCheck: z.object({ Options: options }),
  allocateNetwork: z.object({ ...ofNetwork, Options: stringMap }),
  createNetwork: z.object({
    ...ofNetwork,
    Options: options,
    IPv4Data: z.array(ipamData).nullish(),
    IPv6Data: z.array(ipamData).nullish(),
  }),
  network: z.object(ofNetwork),
  createEndpoint: z.object({
    ...ofEndpoint,
    Interface: z
      .object({ Address: z.string().nullish(), AddressIPv6: z.string().nullish(), MacAddress: z.string().nullish() })
      .nullish(),
    Options: options,
  }),
  endpoint: z.object(ofEndpoint),
  join: z.object({ ...ofEndpoint, SandboxKey: z.string().startsWith('/'), Options: options }),
  program: z.object({ ...ofEndpoint, Options: options }),
  requestPool: z.object({
    AddressSpace: z.string(),
    Pool: z.string().nullish(),
    SubPool: z.string().nullish(),
    Options: stringMap,
    V6: z.boolean().nullish(),
  }),
  pool: z.object({ PoolID: z.string() }),
  requestAddress: z.object({ PoolID: z.string(), Address: z.string().nullish(), Options: stringMap }),
  releaseAddress: z.object({ PoolID: z.string(), Address: z.string() }),
} as const;

/** Checks a body. Throws bad_request, naming the method and the field. */
export const readRequest = <T>(schema: z.ZodType<T>, body: unknown, method: string): T =>
  parseWith(schema, body, method, 'bad_request');

/** What CreateNetwork and GwAllocCheck say of a network. */
export function networkOptions(all: Readonly<Record<string, unknown>> | null | undefined): {
  readonly internal: boolean;
  readonly enableIPv4?: boolean;
  readonly enableIPv6: boolean;
  readonly options: DriverOptions;
} {
  const enableIPv4 = all?.[labels.enableIPv4];
  return {
    internal: all?.[keys.internal] === true,
    ...(typeof enableIPv4 === 'boolean' && { enableIPv4 }),
    enableIPv6: all?.[labels.enableIPv6] === true,
    options: stringsOf(all?.[keys.generic]),
  };
}

/** Pools of one family; one without a subnet (from an IPAM that hands none out) is left out. Throws bad_subnet, bad_address. */
export function poolsOf(data: readonly z.output<typeof ipamData>[] | null | undefined): DriverPool[] {
  return (data ?? []).flatMap(({ Pool, Gateway, AuxAddresses }): DriverPool[] => {
    const prefix = Pool ? parsePrefix(Pool) : undefined;
    if (prefix === undefined || isUnspecified(prefixAddress(prefix))) return [];
    const aux = Object.fromEntries(Object.entries(AuxAddresses ?? {}).map(([key, text]) => [key, addressOf(text)]));
    return [{ prefix: networkOf(prefix), aux, ...(Gateway && { gateway: addressOf(Gateway) }) }];
  });
}

/** An address that may carry its prefix length. */
export const addressOf = (text: string): Address => (text.includes('/') ? prefixAddress(parsePrefix(text)) : parseAddress(text));

/** An endpoint's interface; empty texts are absent. Throws bad_subnet, bad_mac. */
export function interfaceOf(given: z.output<typeof requests.createEndpoint>['Interface']): {
  readonly mac?: Mac;
  readonly v4?: Prefix;
  readonly v6?: Prefix;
} {
  return {
    ...(given?.MacAddress && { mac: parseMac(given.MacAddress) }),
    ...(given?.Address && { v4: parsePrefix(given.Address) }),
    ...(given?.AddressIPv6 && { v6: parsePrefix(given.AddressIPv6) }),
  };
}

/** The options of a map whose values are texts. */
export function stringsOf(given: unknown): DriverOptions {
  if (typeof given !== 'object' || given === null) return {};
  return Object.fromEntries(Object.entries(given).filter((entry): entry is [string, string] => typeof entry[1] === 'string'));
}

const portMapping = z.object({
  Proto: z.number(),
  Port: z.number().int().min(1).max(65_535),
  HostIP: z.string().nullish(),
  HostPort: z.number().int().min(0).max(65_535).nullish(),
  HostPortEnd: z.number().int().min(0).max(65_535).nullish(),
});

/** Protocol numbers as the engine sends them (IANA). */
const PROTOCOLS: Readonly<Record<number, 'tcp' | 'udp'>> = { 6: 'tcp', 17: 'udp' };

/** Published ports in the options of an endpoint or a sandbox; undefined when they say nothing of them. Throws bad_port. */
export function portsOf(all: Readonly<Record<string, unknown>> | null | undefined, method: string): PortMapping[] | undefined {
  const given = all?.[keys.portMap];
  if (given === undefined || given === null) return undefined;
  return parseWith(z.array(portMapping), given, `${method}: ${keys.portMap}`, 'bad_port').map((one) => {
    const protocol = PROTOCOLS[one.Proto];
    if (protocol === undefined) throw new CnmError('bad_port', `protocol number ${one.Proto} is not published: use tcp or udp`);
    const from = one.HostPort ?? 0;
    return {
      protocol,
      port: one.Port,
      ...(one.HostIP && { hostAddress: parseAddress(one.HostIP) }),
      ...(from > 0 && { hostPorts: { from, to: Math.max(from, one.HostPortEnd ?? 0) } }),
    };
  });
}

/** Static routes of a join: type 0 goes by a next hop, type 1 is on the link. */
export const routesJson = (routes: readonly StaticRoute[]): Json[] =>
  routes.map(({ destination, nextHop }) => ({
    Destination: destination,
    RouteType: nextHop === undefined ? 1 : 0,
    NextHop: nextHop ?? '',
  }));
