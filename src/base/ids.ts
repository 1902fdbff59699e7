/** Identifiers: 256 random bits as 64 lower-case hex digits, shown as their first 12. */

import { randomBytes } from 'node:crypto';

export type NetworkId = string & { readonly __id: 'network' };
export type EndpointId = string & { readonly __id: 'endpoint' };
export type SandboxId = string & { readonly __id: 'sandbox' };
export type ServiceId = string & { readonly __id: 'service' };

function randomId(): string {
  for (;;) {
    const id = randomBytes(32).toString('hex');
    // A short id of digits only would read as a number in shells and hostnames (RFC 1123 forbids all-numeric labels).
    if (!/^\d{12}/.test(id)) return id;
  }
}

export const newNetworkId = (): NetworkId => randomId() as NetworkId;
export const newEndpointId = (): EndpointId => randomId() as EndpointId;
export const newSandboxId = (): SandboxId => randomId() as SandboxId;
export const newServiceId = (): ServiceId => randomId() as ServiceId;

/** First 12 hex digits. */
export const shortId = (id: string): string => id.slice(0, 12);
