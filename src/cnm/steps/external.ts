/** Drivers that publish by themselves are told which of their endpoints give a sandbox its default routes (spec 03 §4). */

import { messageOf } from '../../base/index.ts';
import { type Attachment, type JoinStep, electAmong, others, portsOf } from '../attachment.ts';
import { driverEndpoint, driverNetwork, driverOf } from '../context.ts';
import type { Election } from '../gateway.ts';
import type { EndpointRecord } from '../records.ts';
import { rolesOf } from './ports.ts';

export const externalStep: JoinStep = {
  label: 'external connectivity',

  async do(a) {
    a.toldPublishers = true;
    const [before, after] = [others(a), [...others(a), a.ep]];
    await tell(a, electAmong(a.cnm, before), electAmong(a.cnm, after), after);
  },

  async undo(a) {
    // A join that did not get here has told nobody.
    if (a.ep.phase === 'joining' && a.toldPublishers !== true) return;
    const [before, after] = [[...others(a), a.ep], others(a)];
    try {
      await tell(a, electAmong(a.cnm, before), electAmong(a.cnm, after), before);
    } catch (error) {
      // The one that leaves is not kept from it by another that cannot publish.
      a.cnm.env.log.error({ sandbox: a.sandbox.id, problem: messageOf(error) }, 'a plugin cannot publish what another one did');
    }
  },
};

/** Who loses both roles goes first, so that no port leads two ways. */
async function tell(a: Attachment, before: Election, after: Election, endpoints: readonly EndpointRecord[]): Promise<void> {
  const changes = endpoints.flatMap((ep) => {
    const [was, is] = [rolesOf(before, ep.id), rolesOf(after, ep.id)];
    return was.v4 === is.v4 && was.v6 === is.v6 ? [] : [{ ep, is, isOver: !is.v4 && !is.v6 }];
  });
  for (const { ep, is, isOver } of [...changes.filter((c) => c.isOver), ...changes.filter((c) => !c.isOver)]) {
    const net = a.cnm.state.networkById(ep.network);
    const publisher = net === undefined ? undefined : driverOf(a.cnm, net).publisher;
    if (net === undefined || publisher === undefined) continue;
    if (isOver) await publisher.revoke(a.ctx, driverNetwork(net), driverEndpoint(ep));
    else await publisher.program(a.ctx, driverNetwork(net), driverEndpoint(ep), is, portsOf(net, a.sandbox));
  }
}
