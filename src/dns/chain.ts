/** Who is asked for an answer, in order. */

import { answerLocally } from './local.ts';
import type { Done, Forwarder } from './forward.ts';
import type { Begun, DnsProtocol, Upstream } from './upstream.ts';
import type { NameTable, NameView } from './names.ts';
import { MAX_TCP_ANSWER_OCTETS, localReply, type Query } from './wire.ts';

/** What the handlers of one sandbox work on. */
export interface ChainParts {
  readonly table: NameTable;
  readonly view: NameView;
  readonly upstreams: readonly Upstream[];
  readonly forwarder: Forwarder;
}

/** Answers whether the question is its own; then it calls `done` once, now or later, with the reply. */
type Handler = (parts: ChainParts, query: Query, protocol: DnsProtocol, done: Done, begun?: Begun) => boolean;

const local: Handler = ({ table, view }, query, protocol, done, begun) => {
  const records = answerLocally(table, view, query.bytes, 0, query.question);
  if (records === undefined) return false;
  begun?.drop();
  done(localReply(query, records, protocol === 'tcp' ? MAX_TCP_ANSWER_OCTETS : query.question.udpLimit));
  return true;
};

/** Always has a reply. One-label names go out too: a search list is the asker's own business (spec 08 Q5). */
const forward: Handler = ({ forwarder, upstreams, view }, query, protocol, done, begun) => {
  forwarder.forward(query, protocol, upstreams, view.forwardsFromHost, done, begun);
  return true;
};

export const chain: readonly Handler[] = [local, forward];
