/** What an endpoint has to do with the services of its network: its sandbox is a client of them, and may be a member. */

import type { Attachment, JoinStep } from '../attachment.ts';
import type { Passage } from '../services/contract.ts';

const passageOf = ({ net, ep, sandbox, netns, isEnding }: Attachment): Passage => ({
  net,
  ep,
  sandbox,
  isEnding,
  ...(netns && { netns }),
});

/** Before the link: from its first packet on the sandbox balances what it sends to virtual addresses. */
export const clientStep: JoinStep = {
  label: 'services',
  async do(a) {
    await a.cnm.services?.enter(passageOf(a));
  },
  async undo(a) {
    await a.cnm.services?.exit(passageOf(a));
  },
};

/** Nobody joins as a member. One that leaves is out of the services before its link goes. */
export const memberStep: JoinStep = {
  label: 'membership',
  async do() {},
  async undo(a) {
    if (a.ep.phase === 'leaving') await a.cnm.services?.withdraw(passageOf(a));
  },
};
