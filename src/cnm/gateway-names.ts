/** How the gateway bridge and the endpoints on it are told from others. What brings and ends them is gateway-bridge.ts. */

import { type SandboxId, shortId } from '../base/index.ts';
import type { EndpointRecord, NetworkRecord } from './records.ts';

/** The network that leads sandboxes outside which no network of their own leads there. The reference's name; users may make it. */
export const GATEWAY_NETWORK = 'docker_gwbridge';

export const gatewayEndpointName = (sandbox: SandboxId): string => `gateway_${shortId(sandbox)}`;

/** Whether the endpoint is there because its sandbox needs a way outside, not because somebody has connected it. */
export const isGatewayEndpoint = ({ boundTo, name }: EndpointRecord, net: Pick<NetworkRecord, 'name'> | undefined): boolean =>
  net?.name === GATEWAY_NETWORK && boundTo !== undefined && name === gatewayEndpointName(boundTo);
