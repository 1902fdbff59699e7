/**
 * What the cluster keeps of networks that its hosts share, and of the endpoints in them. Other hosts wrote it: what is read is
 * checked as a whole.
 */

import { z } from 'zod';
import {
  type Address,
  CnmError,
  type EndpointId,
  type Json,
  type Mac,
  type NetworkId,
  type Prefix,
  isMulticast,
  isUnspecified,
  quoted,
  tryAddress,
  tryPrefix,
} from '../../base/index.ts';
import type { Entry, Key } from '../../store/index.ts';
import { GATEWAY_NETWORK } from '../gateway-names.ts';
import { type Membership, type NetworkRecord, OWN, RECORD_SCHEMA } from '../records.ts';
import { checkNetworkName, isPredefined } from '../spec.ts';

/** Before the records of networks. */
export const NETWORKS: Key = 'network/';
export const networkKey = (id: NetworkId): Key => NETWORKS + id;
/** Who has a network's name: taken first, so that two hosts never make the same one. */
export const NAMES: Key = 'network-name/';
export const nameKey = (name: string): Key => NAMES + name;
/** A network that was removed, which a lost record is not. */
export const GONE: Key = 'network-gone/';
export const goneKey = (id: NetworkId): Key => GONE + id;
/** Before the records of endpoints. */
export const ENDPOINTS: Key = 'endpoint/';
/** Before the records of a network's endpoints, and of those that one host has. */
export const endpointsOf = (network: NetworkId, node?: string): Key =>
  `${ENDPOINTS}${network}/${node === undefined ? '' : `${node}/`}`;
export const endpointKey = (network: NetworkId, node: string, id: EndpointId): Key => endpointsOf(network, node) + id;

/** Inverse of endpointKey, for keys of one network. */
export function partsOfEndpointKey(network: NetworkId, key: Key): { readonly node: string; readonly id: EndpointId } {
  const [node = '', id = ''] = key.slice(endpointsOf(network).length).split('/');
  return { node, id: id as EndpointId };
}

export const nodeOfEndpointKey = (key: Key): string | undefined => key.slice(ENDPOINTS.length).split('/')[1];

/** An endpoint as other hosts see it. */
export interface SharedEndpoint {
  readonly id: EndpointId;
  readonly node: string;
  readonly name: string;
  /** As in EndpointRecord.dnsNames. */
  readonly dnsNames: readonly string[];
  readonly mac?: Mac;
  readonly v4?: Prefix;
  readonly v6?: Prefix;
  /** Underlay address of its host; absent: it cannot be reached. */
  readonly vtep?: Address;
  /** False: it has its addresses, and is in no sandbox. */
  readonly isJoined: boolean;
  /** Services that it is a member of. Absent: none. */
  readonly services?: readonly Membership[];
}

/** Who has a name. */
export interface NameClaim {
  readonly network: NetworkId;
  /** Host that made the network. */
  readonly node: string;
}

const address = z.string().refine((text): boolean => tryAddress(text) === text) as unknown as z.ZodType<Address>;
/** Where one host is reached. */
const vtep = address.refine((one) => !isUnspecified(one) && !isMulticast(one));
const prefix = z.string().refine((text): boolean => tryPrefix(text) === text) as unknown as z.ZodType<Prefix>;
/** Of one station: no group's, and not the one of zeros, which stands for everybody behind a tunnel. */
const mac = z.string().regex(/^(?!00:00:00:00:00:00)[0-9a-f][02468ace](:[0-9a-f]{2}){5}$/) as unknown as z.ZodType<Mac>;
/** What is shown on terminals and put into answers of DNS. */
const word = z.string().regex(/^[\w.-]{1,255}$/);
const networkName = z.string().refine((text) => {
  try {
    checkNetworkName(text);
    return !isPredefined(text) && text !== 'default' && text !== GATEWAY_NETWORK;
  } catch {
    return false;
  }
});
const texts = z.record(z.string(), z.string());
const id = z.string().regex(/^[0-9a-f]{64}$/);
/** Id of a host: files are called by it. */
const NODE = /^[\w-]{1,63}$/;

const networkSchema = z.object({
  schema: z.number().int().max(RECORD_SCHEMA),
  name: networkName,
  created: z.number().int().min(0).max(8.64e15),
  driver: word,
  enableIPv4: z.boolean(),
  enableIPv6: z.boolean(),
  internal: z.boolean(),
  attachable: z.boolean(),
  ingress: z.boolean(),
  ipam: z.object({
    driver: word,
    options: texts,
    config: z.array(
      z.object({
        subnet: prefix.optional(),
        range: prefix.optional(),
        gateway: address.optional(),
        aux: z.record(z.string(), address),
      }),
    ),
  }),
  pools: z.array(
    z.object({
      family: z.union([z.literal(4), z.literal(6)]),
      pool: z.string(),
      space: z.string().optional(),
      prefix,
      range: prefix.optional(),
      gateway: address.optional(),
      aux: z.record(z.string(), address),
    }),
  ),
  options: texts,
  labels: texts,
  driverState: z.json(),
});
const membershipSchema = z.object({
  service: id,
  state: z.enum(['starting', 'healthy', 'unhealthy', 'draining']),
  leavesBy: z.number().int().min(0).max(8.64e15).optional(),
}) as unknown as z.ZodType<Membership>;
const endpointSchema = z.object({
  schema: z.literal(1),
  name: word,
  dnsNames: z.array(z.string().min(1).max(255)).max(256),
  mac: mac.optional(),
  v4: prefix.optional(),
  v6: prefix.optional(),
  vtep: vtep.optional(),
  isJoined: z.boolean(),
  services: z.array(membershipSchema).max(1024).optional(),
});
const claimSchema = z.object({ schema: z.literal(1), network: id, node: z.string() });
const goneSchema = z.object({ schema: z.literal(1), at: z.number() });

/** What all hosts know of a network; what one of them has seen of it stays with that one. */
export function encodeNetwork(net: NetworkRecord): Json {
  return JSON.parse(JSON.stringify(networkSchema.parse({ ...net, ipam: { ...net.ipam, config: [...net.ipam.config] } }))) as Json;
}

/** As a record of this host. Throws store_corrupt. */
export function decodeNetwork({ key, value }: Entry): NetworkRecord {
  const read = parsed(networkSchema, key, value);
  const { ipam, pools, driverState, ...rest } = read;
  const lean = <T extends object>(one: T): T => Object.fromEntries(Object.entries(one).filter(([, v]) => v !== undefined)) as T;
  return {
    ...rest,
    schema: RECORD_SCHEMA,
    owner: OWN,
    id: id.parse(key.slice(NETWORKS.length)) as NetworkId,
    phase: 'ready',
    scope: 'global',
    shared: true,
    configOnly: false,
    configFrom: '',
    ipam: { ...ipam, config: ipam.config.map(lean) as NetworkRecord['ipam']['config'], replays: false },
    pools: pools.map(lean) as NetworkRecord['pools'],
    driverState: driverState as Json,
  };
}

export const encodeEndpoint = ({ id: _id, node: _node, ...rest }: SharedEndpoint): Json =>
  JSON.parse(JSON.stringify({ schema: 1, ...rest })) as Json;

/** Throws store_corrupt. */
export function decodeEndpoint(network: NetworkId, { key, value }: Entry): SharedEndpoint {
  const parts = partsOfEndpointKey(network, key);
  if (endpointKey(network, parts.node, parts.id) !== key || !NODE.test(parts.node) || !id.safeParse(parts.id).success)
    throw corrupt(key);
  const { schema: _schema, mac: own, v4, v6, vtep, services, ...rest } = parsed(endpointSchema, key, value);
  return {
    ...parts,
    ...rest,
    ...(own && { mac: own }),
    ...(v4 && { v4 }),
    ...(v6 && { v6 }),
    ...(vtep && { vtep }),
    ...(services && { services }),
  };
}

export const encodeClaim = ({ network, node }: NameClaim): Json => ({ schema: 1, network, node });
/** Throws store_corrupt. */
export function decodeClaim({ key, value }: Entry): NameClaim {
  const { network, node } = parsed(claimSchema, key, value);
  return { network: network as NetworkId, node };
}

/** `at`: milliseconds since 1970. */
export const encodeGone = (at: number): Json => ({ schema: 1, at });
/** Throws store_corrupt. */
export const decodeGone = ({ key, value }: Entry): number => parsed(goneSchema, key, value).at;

/** A record of the cluster as a version of ours writes it. Throws store_corrupt. */
export function parsed<T>(schema: z.ZodType<T>, key: Key, value: Json): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw corrupt(key);
}

export const corrupt = (key: Key): CnmError =>
  new CnmError('store_corrupt', `the cluster's record ${quoted(key)} is not one that this version writes`);
