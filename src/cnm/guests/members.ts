/** Guests of networks of the cluster in the shape of this host's own endpoints. Pure. */

import { createHash } from 'node:crypto';
import { type EndpointId, type NetworkId, type SandboxId, shortId } from '../../base/index.ts';
import { type EndpointRecord, RECORD_SCHEMA } from '../records.ts';
import { ENGINE, type GuestEndpoint, type GuestNetwork, holderOf } from './records.ts';

const NOTHING = { linkLocal: [], aliases: [], options: {}, pools: [], gwPriority: 0, asked: {}, driverState: null, bindings: [] };

/** A guest's endpoint in the shape of this host's own. */
export const memberOf = (home: NetworkId, ep: GuestEndpoint): EndpointRecord => ({
  ...NOTHING,
  schema: RECORD_SCHEMA,
  owner: ENGINE,
  created: ep.created,
  id: ep.id,
  name: ep.names?.[0] ?? shortId(ep.id),
  network: home,
  phase: ep.phase,
  // It is told of only while it is joined.
  boundTo: holderOf(ep.id),
  ...(ep.mac && { mac: ep.mac }),
  ...(ep.asked.v4 && { v4: ep.asked.v4 }),
  ...(ep.asked.v6 && { v6: ep.asked.v6 }),
  dnsNames: ep.names ?? [],
});

/** Stands for an engine's network object in the cluster. */
export const stakeOf = (home: NetworkId, { id, created }: GuestNetwork): EndpointRecord => ({
  ...NOTHING,
  schema: RECORD_SCHEMA,
  owner: ENGINE,
  created,
  id: id as string as EndpointId,
  name: `engine-${shortId(id)}`,
  network: home,
  phase: 'ready',
  dnsNames: [],
});

/** What the keeper calls the resolver of the sandbox at this path. */
export const resolverId = (key: string): SandboxId =>
  `engine-${createHash('sha256').update(key).digest('hex').slice(0, 24)}` as SandboxId;
