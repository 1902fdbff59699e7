/**
 * What goes over the socket: request schemas and answer types. Field names are the Engine API's. The CLI imports the
 * types only, so that zod is never loaded there.
 */

import { z } from 'zod';
import { quoted } from './shown.ts';

const stringMap = z.record(z.string(), z.string()).nullish();

export const ipamConfigSchema = z.object({
  Subnet: z.string().optional(),
  IPRange: z.string().optional(),
  Gateway: z.string().optional(),
  AuxiliaryAddresses: stringMap,
  AuxAddress: stringMap,
});

export const networkCreateSchema = z.object({
  Name: z.string(),
  Driver: z.string().optional(),
  Scope: z.string().optional(),
  EnableIPv4: z.boolean().nullish(),
  EnableIPv6: z.boolean().nullish(),
  IPAM: z.object({ Driver: z.string().optional(), Options: stringMap, Config: z.array(ipamConfigSchema).nullish() }).nullish(),
  Internal: z.boolean().nullish(),
  Attachable: z.boolean().nullish(),
  Ingress: z.boolean().nullish(),
  ConfigOnly: z.boolean().nullish(),
  ConfigFrom: z.object({ Network: z.string().optional() }).nullish(),
  Options: stringMap,
  Labels: stringMap,
});

const ipamAddressesSchema = z.object({
  IPv4Address: z.string().optional(),
  IPv6Address: z.string().optional(),
  LinkLocalIPs: z.array(z.string()).nullish(),
});

export const endpointSettingsSchema = z.object({
  IPAMConfig: ipamAddressesSchema.nullish(),
  Links: z.array(z.string()).nullish(),
  Aliases: z.array(z.string()).nullish(),
  DriverOpts: stringMap,
  GwPriority: z.number().int().optional(),
  MacAddress: z.string().optional(),
});

export const connectSchema = z.object({
  Container: z.string().min(1, 'must name a sandbox'),
  EndpointConfig: endpointSettingsSchema.nullish(),
});
export const disconnectSchema = z.object({ Container: z.string().min(1, 'must name a sandbox'), Force: z.boolean().nullish() });

/** Takes the fields of `shape` and no others: no engine's client sends to our own routes, and a misspelled field must not be lost. */
const only = <Shape extends z.core.$ZodLooseShape>(shape: Shape) =>
  z.strictObject(shape, {
    error: (issue) =>
      issue.code === 'unrecognized_keys'
        ? `unknown field ${issue.keys.map(quoted).join(', ')}: use ${Object.keys(shape).join(', ')}`
        : undefined,
  });

const onlyEndpointSettings = only({
  ...endpointSettingsSchema.shape,
  IPAMConfig: only(ipamAddressesSchema.shape).nullish(),
});

export const endpointCreateSchema = only({
  Network: z.string(),
  Name: z.string().nullish(),
  EndpointConfig: onlyEndpointSettings.nullish(),
});
export const endpointJoinSchema = only({ Sandbox: z.string() });

export const portBindingSchema = only({
  HostIp: z.string().nullish(),
  HostPort: z.union([z.string(), z.number().transform(String)], { error: 'expected text or a number' }).nullish(),
});

export const sandboxCreateSchema = only({
  Name: z.string(),
  Hostname: z.string().nullish(),
  Netns: z.string().nullish(),
  Networks: z.record(z.string(), onlyEndpointSettings.nullable()).nullish(),
  PortBindings: z.record(z.string(), z.array(portBindingSchema).nullable()).nullish(),
  Dns: z.array(z.string()).nullish(),
  DnsSearch: z.array(z.string()).nullish(),
  DnsOptions: z.array(z.string()).nullish(),
  ExtraHosts: z.array(z.string()).nullish(),
  Labels: stringMap,
  AutoRemove: z.boolean().nullish(),
});

export const processSchema = only({ Pid: z.number().int().positive() });

const nanos = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);

/** One of the first three. Durations are nanoseconds, as the engine's. */
const healthSchema = only({
  Command: z.string().nullish(),
  Http: z.string().nullish(),
  Tcp: z.number().nullish(),
  Interval: nanos.nullish(),
  Timeout: nanos.nullish(),
  Retries: z.number().nullish(),
  StartPeriod: nanos.nullish(),
});

export const serviceCreateSchema = only({
  Name: z.string(),
  Network: z.string(),
  Mode: z.string().nullish(),
  Aliases: z.array(z.string()).nullish(),
  Ports: z.array(only({ Protocol: z.string().nullish(), PublishedPort: z.number(), TargetPort: z.number() })).nullish(),
  HealthCheck: healthSchema.nullish(),
  Labels: stringMap,
});

export const memberSchema = only({ Sandbox: z.string() });
export const drainSchema = only({ Sandbox: z.string(), Timeout: nanos.nullish(), Wait: z.boolean().nullish() });

export type IpamConfigJson = z.input<typeof ipamConfigSchema>;
export type NetworkCreateJson = z.input<typeof networkCreateSchema>;
export type EndpointSettingsJson = z.input<typeof endpointSettingsSchema>;
export type EndpointCreateJson = z.input<typeof endpointCreateSchema>;
export type SandboxCreateJson = z.input<typeof sandboxCreateSchema>;
export type ServiceCreateJson = z.input<typeof serviceCreateSchema>;
export type HealthCheckJson = z.input<typeof healthSchema>;
export type DrainJson = z.input<typeof drainSchema>;

/** One network in an answer (spec 02 §3.2). */
export interface NetworkJson {
  Name: string;
  Id: string;
  Created: string;
  Scope: string;
  Driver: string;
  EnableIPv4: boolean;
  EnableIPv6: boolean;
  IPAM: { Driver: string; Options: Record<string, string> | null; Config: IpamConfigAnswer[] | null };
  Internal: boolean;
  Attachable: boolean;
  Ingress: boolean;
  ConfigFrom: { Network: string };
  ConfigOnly: boolean;
  Options: Record<string, string>;
  Labels: Record<string, string>;
  Containers?: Record<string, NetworkContainerJson>;
  /** Hosts that have endpoints in it, of a network that hosts share. */
  Peers?: { Name: string; IP: string }[];
  /** With `verbose`: services with their members on all hosts; of a network that hosts share other endpoints too, under the empty name. */
  Services?: Record<string, NetworkServiceJson>;
  Status?: { IPAM: { Subnets: Record<string, { IPsInUse: number; DynamicIPsAvailable: number }> } };
  /** Ours: why the network does not work as wished, absent when it does. */
  Degraded?: string;
}

export interface NetworkServiceJson {
  VIP: string;
  Ports: string[];
  LocalLBIndex: number;
  Tasks: { Name: string; EndpointID: string; EndpointIP: string; Info: Record<string, string> }[];
}

export interface IpamConfigAnswer {
  Subnet?: string;
  IPRange?: string;
  Gateway?: string;
  AuxiliaryAddresses?: Record<string, string>;
}

export interface NetworkContainerJson {
  Name: string;
  EndpointID: string;
  MacAddress: string;
  IPv4Address: string;
  IPv6Address: string;
}

export interface NetworkCreateAnswer {
  Id: string;
  Warning: string;
}

export interface PruneAnswer {
  NetworksDeleted: string[] | null;
}

/** Operational endpoint settings, also inside the container view. */
export interface EndpointAnswer {
  IPAMConfig: { IPv4Address?: string; IPv6Address?: string; LinkLocalIPs?: string[] } | null;
  Links: string[] | null;
  Aliases: string[] | null;
  DriverOpts: Record<string, string> | null;
  GwPriority: number;
  NetworkID: string;
  EndpointID: string;
  Gateway: string;
  IPAddress: string;
  IPPrefixLen: number;
  MacAddress: string;
  IPv6Gateway: string;
  GlobalIPv6Address: string;
  GlobalIPv6PrefixLen: number;
  DNSNames: string[] | null;
}

/** GET /endpoints/{id}: by itself, or made by a connect. */
export interface EndpointJson extends EndpointAnswer {
  Id: string;
  Name: string;
  State: 'ready' | 'joining' | 'joined' | 'leaving' | 'deleting';
  Network: { Id: string; Name: string };
  /** Null while it is joined to nothing. */
  Sandbox: { Id: string; Name: string } | null;
  /** Empty while it is joined to nothing. */
  Interface: string;
  /** Made by a connect: it goes when it leaves. */
  ByConnect: boolean;
  Created: string;
  /** What a plugin tells of it; only of one endpoint by itself. */
  DriverInfo?: Record<string, unknown>;
  /** What does not work as wished, absent when all does. */
  Degraded?: string;
}

/** GET /guests/{id}: a network that a foreign engine has here, with what is in it. */
export interface GuestJson {
  Id: string;
  Driver: string;
  State: 'creating' | 'ready' | 'deleting';
  /** Id and folder of the engine that was seen to have it; empty: none was. */
  Engine: string;
  Internal: boolean;
  EnableIPv4: boolean;
  EnableIPv6: boolean;
  /** `Gateway` is empty where there is none. */
  Pools: readonly { Subnet: string; Gateway: string }[];
  Options: Readonly<Record<string, string>>;
  /** By id. */
  Endpoints: Readonly<Record<string, GuestEndpointJson>>;
  /** The network of the cluster that it stands for, where it is one of several hosts. */
  Network?: { Id: string; Name: string };
  Created: string;
  /** What does not work as wished, absent when all does. */
  Degraded?: string;
}

/** POST /cluster/keys/rotate: keys of encrypted networks after the change. */
export interface KeysJson {
  /** The one before, the one in use, the next one. */
  Keys: number;
}

/** GET /cluster/nodes/{id}: a host of the cluster. */
export interface NodeJson {
  Id: string;
  Name: string;
  /** Where other hosts reach it; empty: it has not said. */
  Address: string;
  /** `down`: no sign of life within the lease time. */
  State: 'ready' | 'down';
  /** The daemon that answers. */
  Self: boolean;
  Version: string;
  Joined: string;
}

/** GET /network-services/{id}. */
export interface ServiceJson {
  Id: string;
  Name: string;
  Network: { Id: string; Name: string };
  Mode: 'vip' | 'dnsrr';
  /** One of each family; none with `dnsrr`. */
  VirtualIPs: string[];
  Aliases: string[];
  Ports: { Protocol: string; PublishedPort: number; TargetPort: number }[];
  HealthCheck: (Omit<HealthCheckJson, 'Command' | 'Http' | 'Tcp'> & { Command?: string; Http?: string; Tcp?: number }) | null;
  Labels: Record<string, string>;
  Created: string;
  Members: ServiceMemberJson[];
  /** What does not work as wished, absent when all does. */
  Degraded?: string;
}

export interface ServiceMemberJson {
  /** Of its endpoint: that of its sandbox, unless it was made by itself. */
  Name: string;
  EndpointID: string;
  /** Empty without a cluster. */
  Host: string;
  IPAddress: string;
  GlobalIPv6Address: string;
  /** `down`: its host gives no sign of life. */
  State: 'starting' | 'healthy' | 'unhealthy' | 'draining' | 'down';
  /** What was wrong at the last look; told by its own host only. */
  Problem?: string;
}

/** Answer to drain and remove. */
export interface DrainAnswer {
  /** Connections that the member has left, as far as this host can see. */
  Connections: number;
}

export interface ServiceCreateAnswer {
  Id: string;
}

interface GuestEndpointJson {
  State: 'creating' | 'ready' | 'joining' | 'joined' | 'leaving' | 'deleting';
  /** With their lengths; empty: none. */
  IPv4Address: string;
  IPv6Address: string;
  MacAddress: string;
  /** Namespace as the engine names it; empty while it is joined to nothing. */
  SandboxKey: string;
  /** Name inside, where the link was made there; empty: the engine moved and named it. */
  Interface: string;
  Ports: PortsAnswer;
  /** What its engine calls it, in networks of several hosts. */
  Names?: readonly string[];
}

/** One published port. */
export interface HostPortJson {
  HostIp: string;
  HostPort: string;
  /** Ours: why the port is not held, absent when it is. The sandbox can be reached by it all the same. */
  Conflict?: string;
}

/** `{"80/tcp": [{HostIp, HostPort}]}`; null: exposed only. */
export type PortsAnswer = Record<string, HostPortJson[] | null>;

/** GET /sandboxes/{id}. */
export interface SandboxAnswer {
  Id: string;
  Name: string;
  Hostname: string;
  /** `created`: no process yet; `running`: its process lives; `exited`: it ended. */
  State: 'created' | 'running' | 'exited';
  /** Path that can be opened and entered from the host's own mount namespace. */
  Netns: string;
  Adopted: boolean;
  Process?: { Pid: number };
  Networks: Record<string, EndpointAnswer>;
  Ports: PortsAnswer;
  Files: { Hosts: string; ResolvConf: string; Hostname: string; OutputLog: string };
  Labels: Record<string, string>;
  AutoRemove: boolean;
  Created: string;
  /** What does not work as wished, absent when all does. */
  Degraded?: string;
}

export interface SandboxCreateAnswer {
  Id: string;
  Warnings: string[];
}

export interface EndpointCreateAnswer {
  Id: string;
}

export interface ErrorAnswer {
  message: string;
  code?: string;
}
