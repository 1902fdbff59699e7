/**
 * Flows of published UDP ports that began while the rules that lead them were away. Each datagram renews such a flow as it is,
 * untranslated, so that whoever keeps its source port is never answered again. By TCP the host has refused it.
 */

import { familyOf, isUnspecified } from '../base/index.ts';
import { type ConntrackMatch, deleteFlows, type Netns } from '../kernel/index.ts';
import type { PortRule } from './contract.ts';

/** Deletes them; those that lead where the rules lead stay. One walk a family, none where no UDP port is. Throws KernelError. */
export async function forgetStrays(host: Netns, translated: readonly PortRule[]): Promise<void> {
  await deleteFlows(host, strayFlows(translated));
}

/** Flows to these ports of the host that none of their endpoints answers. Pure. */
export function strayFlows(translated: readonly PortRule[]): readonly ConntrackMatch[] {
  const byPort = new Map<string, PortRule[]>();
  for (const rule of translated) {
    if (rule.protocol !== 'udp') continue;
    const key = `${familyOf(rule.hostAddress)} ${rule.hostPort}`;
    const present = byPort.get(key);
    if (present === undefined) byPort.set(key, [rule]);
    else present.push(rule);
  }
  return [...byPort.values()].flatMap((rules) =>
    rules.map(({ hostAddress, hostPort, protocol }): ConntrackMatch => {
      const isAny = isUnspecified(hostAddress);
      // Another rule of the port that the flow may go by has its say too.
      const alike = rules.filter((rule) => isAny || isUnspecified(rule.hostAddress) || rule.hostAddress === hostAddress);
      return {
        family: familyOf(hostAddress),
        protocol,
        originalDestinationPort: hostPort,
        // Of any address are the host's own alone: the same port of other hosts is nobody's here.
        ...(isAny ? { isToHost: true } : { originalDestination: hostAddress }),
        notAnsweredBy: alike.map(({ address }) => address),
      };
    }),
  );
}
