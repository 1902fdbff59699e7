/**
 * The sandbox's resolver, from its first user-defined network on: sockets in the keeper, redirect in the sandbox,
 * resolv.conf. It stays until the sandbox is deleted, as in the reference (spec 08 W4).
 */

import {
  type Netns,
  hasResolverRedirect,
  installResolverRedirect,
  isTableOwned,
  removeResolverRedirect,
} from '../../kernel/index.ts';
import { type JoinStep, others, viewOf } from '../attachment.ts';
import { type Cnm, servesNames } from '../context.ts';
import { namesResolver, upstreamsOf, writeLegacyResolvConf, writeResolverResolvConf } from '../files.ts';
import type { SandboxRecord } from '../records.ts';

/** Name of our nft table inside a sandbox. */
export const resolverTable = (tag: string): string => `patchbay-${tag}`;

export const resolverStep: JoinStep = {
  label: 'resolver',

  async do(a) {
    if (a.netns === undefined || a.sandbox.identity === undefined) return;
    if (a.sandbox.mode !== 'own' || a.sandbox.resolver !== undefined || !servesNames(a.net)) return;
    const upstreams = upstreamsOf(a.cnm, a.sandbox);
    // Set first: a keeper that does not answer may have done it all the same.
    a.startedResolver = true;
    const ports = await a.cnm.keeper.sandbox(a.sandbox.id, {
      netns: { path: a.sandbox.key, identity: a.sandbox.identity },
      view: viewOf(a.cnm, others(a)),
      upstreams,
      ports: { udp: 0, tcp: 0 },
    });
    a.sandbox = { ...a.sandbox, resolver: { ...ports, upstreams } };
    installResolverRedirect(a.netns, { table: resolverTable(a.cnm.mark.tag), ...ports });
    writeResolverResolvConf(a.cnm, a.sandbox);
  },

  async undo(a) {
    if (a.startedResolver !== true) return;
    writeLegacyResolvConf(a.cnm, a.sandbox);
    if (a.netns !== undefined) await removeResolverRedirect(a.netns, resolverTable(a.cnm.mark.tag));
    await a.cnm.keeper.sandbox(a.sandbox.id, null);
    const { resolver: _gone, ...rest } = a.sandbox;
    a.sandbox = rest;
  },
};

/** `owned`: a process inside has taken the table's name for itself, so that the redirect cannot be laid. */
export function redirectIn(netns: Netns, tag: string): 'laid' | 'gone' | 'owned' {
  const table = resolverTable(tag);
  if (hasResolverRedirect(netns, { table })) return 'laid';
  return isTableOwned(netns, table) ? 'owned' : 'gone';
}

/** Start: the redirect that the sandbox has lost, or one that a join laid and did not live to record. */
export async function restoreRedirect(cnm: Cnm, sandbox: SandboxRecord, netns: Netns): Promise<void> {
  const table = resolverTable(cnm.mark.tag);
  if (sandbox.resolver !== undefined) {
    const { udp, tcp } = sandbox.resolver;
    // The mender tells of one that cannot be laid, and lays it when it can.
    if (redirectIn(netns, cnm.mark.tag) === 'gone') installResolverRedirect(netns, { table, udp, tcp });
    return;
  }
  await removeResolverRedirect(netns, table);
  if (namesResolver(cnm, sandbox)) writeLegacyResolvConf(cnm, sandbox);
}
