/** Names of the endpoint, told to the keeper and in force when `named` is fulfilled, and the sandbox's own view of names. */

import { prefixAddress, shortId } from '../../base/index.ts';
import { type Attachment, type JoinStep, others, viewOf } from '../attachment.ts';
import { type Cnm, servesNames } from '../context.ts';
import type { EndpointRecord, NetworkRecord, SandboxRecord } from '../records.ts';
import type { NameRecord, SandboxWish } from '../../keeper/index.ts';

export const namesStep: JoinStep = {
  label: 'names',

  async do(a) {
    note(
      a,
      Promise.all([
        servesNames(a.net) ? a.cnm.keeper.names(a.ep.id, nameRecord(a.net, a.ep)) : undefined,
        tellView(a, [...others(a), a.ep]),
      ]),
    );
  },

  async undo(a) {
    note(
      a,
      Promise.all([
        servesNames(a.net) ? a.cnm.keeper.names(a.ep.id, null) : undefined,
        a.isEnding ? undefined : tellView(a, others(a)),
      ]),
    );
  },
};

/** Whoever waits for it hears of a failure; nobody does where another step of a join fails first. */
function note(a: Attachment, named: Promise<unknown>): void {
  a.named = named;
  named.catch(() => {});
}

async function tellView(a: Attachment, endpoints: readonly EndpointRecord[]): Promise<void> {
  const wish = resolverWish(a.cnm, a.sandbox, endpoints);
  if (wish !== undefined && a.netns !== undefined) await a.cnm.keeper.sandbox(a.sandbox.id, wish);
}

/** What an endpoint answers to: its own name and aliases, and in a sandbox that one's names too. The first one answers PTR. */
export function dnsNamesOf(
  net: NetworkRecord,
  ep: Pick<EndpointRecord, 'name' | 'aliases'>,
  sandbox?: SandboxRecord,
): readonly string[] {
  if (!servesNames(net)) return [];
  const theirs = sandbox === undefined ? [] : [sandbox.name, shortId(sandbox.id), sandbox.hostname];
  return [...new Set([ep.name, ...ep.aliases, ...theirs].map((name) => name.toLowerCase()))];
}

export function nameRecord(net: NetworkRecord, ep: EndpointRecord): NameRecord {
  const addresses = [ep.v4, ep.v6].filter((p) => p !== undefined).map(prefixAddress);
  return { network: net.id, networkName: net.name, names: ep.dnsNames, addresses };
}

/** What the keeper is to serve in the sandbox; undefined while no resolver runs there. */
export function resolverWish(cnm: Cnm, sandbox: SandboxRecord, endpoints: readonly EndpointRecord[]): SandboxWish | undefined {
  if (sandbox.resolver === undefined || sandbox.identity === undefined) return undefined;
  return {
    netns: { path: sandbox.key, identity: sandbox.identity },
    view: viewOf(cnm, endpoints),
    upstreams: sandbox.resolver.upstreams,
    ports: { udp: sandbox.resolver.udp, tcp: sandbox.resolver.tcp },
  };
}
