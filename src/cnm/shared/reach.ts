/** Which hosts of a network no tunnel can lead to: their names resolve and nothing answers, so that somebody has to say it. Pure. */

import { type Address, familyOf } from '../../base/index.ts';
import type { SharedEndpoint } from './records.ts';

type Told = Pick<SharedEndpoint, 'node' | 'vtep'>;

/** Undefined: all can be reached, as far as one can tell. `own`: this host's underlay address; undefined: not known yet. */
export function unreachableHosts(
  endpoints: Iterable<Told>,
  own: Address | undefined,
  nameOf: (node: string) => string,
): string | undefined {
  const reasons = new Map<string, string>();
  for (const { node, vtep } of endpoints) {
    const reason = own === undefined || reasons.has(node) ? undefined : whyNot(vtep, own);
    if (reason !== undefined) reasons.set(node, reason);
  }
  if (reasons.size === 0) return undefined;
  const hosts = [...reasons].map(([node, reason]) => `${nameOf(node)} ${reason}`).sort();
  return `endpoints on other hosts cannot be reached from here: host ${hosts.join('; host ')}. See --advertise`;
}

function whyNot(vtep: Address | undefined, own: Address): string | undefined {
  if (vtep === undefined) return 'tells no address';
  if (vtep === own) return `tells this host's own address, ${own}`;
  return familyOf(vtep) === familyOf(own) ? undefined : `tells ${vtep}, of another family than this host's ${own}`;
}
