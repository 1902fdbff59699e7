/** Answers as engines decode them, method by method: exact names, no others, and texts that an engine parses. */

import { isIP, isIPv4, isIPv6 } from 'node:net';
import { z } from 'zod';

const prefix = z.string().refine((text) => {
  const [address = '', length = ''] = text.split('/');
  return /^\d{1,3}$/.test(length) && isIP(address) > 0 && Number(length) <= (isIPv4(address) ? 32 : 128);
}, 'a prefix');
const mac = z.string().regex(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/);
const data = z.record(z.string(), z.string());
const scope = z.enum(['local', 'global']);

/** A link's name as the kernel takes it (linux/if.h, IFNAMSIZ). */
const link = z.string().regex(/^[^\s/:]{1,15}$/);

const route = z.union([
  z.strictObject({ Destination: prefix, RouteType: z.literal(0), NextHop: z.string().refine((text) => isIP(text) > 0) }),
  z.strictObject({ Destination: prefix, RouteType: z.literal(1), NextHop: z.literal('') }),
]);

const nothing = z.strictObject({});

const joined = z.strictObject({
  InterfaceName: z.strictObject({ SrcName: link, DstPrefix: link }).optional(),
  Gateway: z.string().refine((text) => text === '' || isIPv4(text)),
  GatewayIPv6: z.string().refine((text) => text === '' || isIPv6(text)),
  StaticRoutes: z.array(route),
  DisableGatewayService: z.boolean(),
});

export const shapes = {
  'Plugin.Activate': z.strictObject({ Implements: z.array(z.enum(['NetworkDriver', 'IpamDriver'])).length(2) }),
  'NetworkDriver.GetCapabilities': z.strictObject({ Scope: scope, ConnectivityScope: scope, GwAllocChecker: z.boolean() }),
  'NetworkDriver.GwAllocCheck': z.strictObject({ SkipIPv4: z.boolean(), SkipIPv6: z.boolean() }),
  'NetworkDriver.AllocateNetwork': z.strictObject({ Options: data }),
  'NetworkDriver.FreeNetwork': nothing,
  'NetworkDriver.CreateNetwork': nothing,
  'NetworkDriver.DeleteNetwork': nothing,
  // An address that the engine gave and is answered again counts as changed.
  'NetworkDriver.CreateEndpoint': z.strictObject({ Interface: z.strictObject({ MacAddress: mac.optional() }) }),
  'NetworkDriver.DeleteEndpoint': nothing,
  'NetworkDriver.EndpointOperInfo': z.strictObject({ Value: nothing }),
  'NetworkDriver.Join': joined,
  'NetworkDriver.Leave': nothing,
  'NetworkDriver.ProgramExternalConnectivity': nothing,
  'NetworkDriver.RevokeExternalConnectivity': nothing,
  'NetworkDriver.DiscoverNew': nothing,
  'NetworkDriver.DiscoverDelete': nothing,
  'IpamDriver.GetCapabilities': z.strictObject({ RequiresMACAddress: z.boolean(), RequiresRequestReplay: z.boolean() }),
  'IpamDriver.GetDefaultAddressSpaces': z.strictObject({
    LocalDefaultAddressSpace: z.string().min(1),
    GlobalDefaultAddressSpace: z.string().min(1),
  }),
  'IpamDriver.RequestPool': z.strictObject({ PoolID: z.string().min(1), Pool: prefix, Data: data }),
  'IpamDriver.ReleasePool': nothing,
  'IpamDriver.RequestAddress': z.strictObject({ Address: prefix, Data: data }),
  'IpamDriver.ReleaseAddress': nothing,
} as const;

export type Call = keyof typeof shapes;

/** A refusal: `Error` of an IPAM driver, `Err` of all else, and never both. */
export const refusalOf = (call: string) =>
  call.startsWith('IpamDriver.') ? z.strictObject({ Error: z.string().min(1) }) : z.strictObject({ Err: z.string().min(1) });
