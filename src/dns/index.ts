/** The dns room's door: names, answers, forwarding and resolv.conf. Pure; sockets are handed in. */

export { NameTable, type NameRecord, type NameView } from './names.ts';
export { answerLocally } from './local.ts';
export { Resolver } from './resolver.ts';
export { MAX_STRANGERS } from './race.ts';
export { newForwardShared, usableUpstreams, type ForwardShared } from './forward.ts';
export type { Pace } from './slots.ts';
export type { Begun, DialEvents, Dialler, DnsProtocol, Upstream } from './upstream.ts';
export { judgeReply } from './reply.ts';
export { framed, MessageReader } from './stream.ts';
export {
  answerInPlace,
  errorReply,
  newQuestion,
  rcodeOf,
  readCommonQuestion,
  MAX_QUERY_OCTETS,
  MAX_TCP_ANSWER_OCTETS,
  RCODE,
  withId,
  type AnswerRecords,
  type Query,
  type Question,
} from './wire.ts';
export {
  buildResolvConf,
  resolvConfHash,
  upstreamFileFor,
  HOST_RESOLV_CONF,
  type ResolvConfAnswer,
  type ResolvConfRequest,
} from './resolvconf.ts';
