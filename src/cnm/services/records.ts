/** What the cluster keeps of services: the service, who has its name, who has its ports. Other hosts wrote it: what is read is checked as a whole. */

import { z } from 'zod';
import { type Address, type Json, type NetworkId, type ServiceId, tryAddress } from '../../base/index.ts';
import type { Entry, Key } from '../../store/index.ts';
import { OWN, RECORD_SCHEMA, type ServicePort, type ServiceRecord } from '../records.ts';
import { corrupt, parsed } from '../shared/records.ts';

/** Before the records of services, and of those of one network. */
export const SERVICES: Key = 'service/';
export const servicesOf = (network: NetworkId): Key => `${SERVICES}${network}/`;
export const serviceKey = ({ network, id }: Pick<ServiceRecord, 'network' | 'id'>): Key => servicesOf(network) + id;
/** Who has a name in a network. */
export const serviceNameKey = ({ network, name }: Pick<ServiceRecord, 'network' | 'name'>): Key =>
  `service-name/${network}/${name.toLowerCase()}`;
/** Who has a port on all hosts. */
export const servicePortKey = ({ protocol, published }: Pick<ServicePort, 'protocol' | 'published'>): Key =>
  `service-port/${protocol}-${published}`;
/** A service that was removed, which a lost record is not. */
export const GONE_SERVICES: Key = 'service-gone/';
export const goneServiceKey = (id: ServiceId): Key => GONE_SERVICES + id;

/** Inverse of serviceKey. */
export function partsOfServiceKey(key: Key): Pick<ServiceRecord, 'network' | 'id'> {
  const [network = '', id = ''] = key.slice(SERVICES.length).split('/');
  return { network: network as NetworkId, id: id as ServiceId };
}

const hex = z.string().regex(/^[0-9a-f]{64}$/);
const address = z.string().refine((text): boolean => tryAddress(text) === text) as unknown as z.ZodType<Address>;
const word = z.string().regex(/^[a-zA-Z0-9][\w.-]{0,252}$/);
const port = z.number().int().min(1).max(65_535);
const ms = z.number().int().min(0).max(86_400_000);
const service = z.object({
  schema: z.number().int().max(RECORD_SCHEMA),
  created: z.number().int().min(0).max(8.64e15),
  name: word,
  mode: z.enum(['vip', 'dnsrr']),
  aliases: z.array(word).max(32),
  vips: z.array(z.object({ address, pool: z.string().min(1).max(256) })).max(2),
  ports: z.array(z.object({ protocol: z.enum(['tcp', 'udp']), published: port, target: port })).max(256),
  health: z
    .object({
      probe: z.discriminatedUnion('kind', [
        z.object({ kind: z.literal('command'), command: z.string().min(1).max(4096) }),
        z.object({ kind: z.literal('http'), port, path: z.string().regex(/^\/[\x21-\x7e]{0,1023}$/) }),
        z.object({ kind: z.literal('tcp'), port }),
      ]),
      intervalMs: ms.min(100),
      timeoutMs: ms.min(10),
      retries: z.number().int().min(1).max(100),
      startPeriodMs: ms,
    })
    .optional(),
  labels: z.record(z.string(), z.string()),
});
const claim = z.object({ schema: z.literal(1), network: hex, service: hex });

/** What all hosts know of a service. */
export const encodeService = (record: ServiceRecord): Json => JSON.parse(JSON.stringify(service.parse(record))) as Json;

/** As a record of this host. Throws store_corrupt. */
export function decodeService({ key, value }: Entry): ServiceRecord {
  const parts = partsOfServiceKey(key);
  if (serviceKey(parts) !== key || !hex.safeParse(parts.id).success || !hex.safeParse(parts.network).success) throw corrupt(key);
  const { health, ...rest } = parsed(service, key, value);
  return { ...rest, ...parts, schema: RECORD_SCHEMA, owner: OWN, phase: 'ready', ...(health && { health }) };
}

/** For a name or a port. */
export const encodeServiceClaim = ({ network, id }: Pick<ServiceRecord, 'network' | 'id'>): Json => ({
  schema: 1,
  network,
  service: id,
});
/** Throws store_corrupt. */
export function decodeServiceClaim({ key, value }: Entry): Pick<ServiceRecord, 'network' | 'id'> {
  const { network, service: id } = parsed(claim, key, value);
  return { network: network as NetworkId, id: id as ServiceId };
}
