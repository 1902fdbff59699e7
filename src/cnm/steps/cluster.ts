/** What an endpoint in a network that hosts share has to do with the other hosts: theirs are known before it, it is told after all else. */

import type { JoinStep } from '../attachment.ts';
import { dnsNamesOf } from './names.ts';

/** First of all that the network has here: what the link's neighbours are must be known before anybody sends. */
export const peersStep: JoinStep = {
  label: 'peers',
  async do({ cnm, net, ep }) {
    if (net.shared === true) await cnm.shared?.enter(net, ep);
  },
  async undo({ cnm, net, ep }) {
    if (net.shared === true) await cnm.shared?.exit(net, ep);
  },
};

/** Last: whoever hears of the endpoint finds it whole; and first to go. */
export const clusterStep: JoinStep = {
  label: 'cluster',
  async do({ cnm, net, ep, named }) {
    if (net.shared !== true) return;
    await named;
    await cnm.shared?.endpoints.write(net, ep, true);
  },
  async undo({ cnm, net, ep }) {
    if (net.shared !== true) return;
    if (ep.boundTo !== undefined) await cnm.shared?.endpoints.withdraw(ep);
    else await cnm.shared?.endpoints.writeWaiting(net, { ...ep, dnsNames: dnsNamesOf(net, ep) });
  },
};
