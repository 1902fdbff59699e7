/** Chooses the endpoints that give a sandbox its default routes (spec 01 §6). Pure; applying it is steps/gateway.ts. */

import type { EndpointId } from '../base/index.ts';

/** What the election looks at. */
export interface Candidate {
  readonly id: EndpointId;
  readonly gwPriority: number;
  readonly networkName: string;
  readonly internal: boolean;
  readonly hasGateway4: boolean;
  readonly hasGateway6: boolean;
}

export interface Election {
  readonly v4?: EndpointId;
  readonly v6?: EndpointId;
}

/** Search order of a sandbox: it is also the order in which names are looked up. First difference wins. */
export function ordered<T extends Candidate>(candidates: readonly T[]): T[] {
  const families = (c: Candidate): number => Number(c.hasGateway4) + Number(c.hasGateway6);
  return [...candidates].sort(
    (a, b) =>
      b.gwPriority - a.gwPriority ||
      Number(a.internal) - Number(b.internal) ||
      families(b) - families(a) ||
      (a.networkName < b.networkName ? -1 : a.networkName > b.networkName ? 1 : 0),
  );
}

/** The first endpoint with a gateway of each family, independently. */
export function elect(candidates: readonly Candidate[]): Election {
  const order = ordered(candidates);
  const v4 = order.find((c) => c.hasGateway4)?.id;
  const v6 = order.find((c) => c.hasGateway6)?.id;
  return { ...(v4 && { v4 }), ...(v6 && { v6 }) };
}
