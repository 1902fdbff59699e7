export { NameTable, type NameRecord, type NameView } from './names.ts';
export { answerLocally, LOCAL_TTL_SECONDS } from './local.ts';
export { Resolver, type ResolverSettings } from './resolver.ts';
export { newForwardShared, type ForwardLimits, type ForwardShared } from './forward.ts';
export type { DialEvents, Dialler, DnsProtocol, Upstream } from './upstream.ts';
export { framed, MessageReader } from './stream.ts';
export {
  answerInPlace,
  errorReply,
  newQuestion,
  readCommonQuestion,
  MAX_QUERY_OCTETS,
  MAX_TCP_ANSWER_OCTETS,
  MAX_UDP_ANSWER_OCTETS,
  RCODE,
  type AnswerRecords,
  type Question,
} from './wire.ts';
export {
  buildResolvConf,
  parseResolvConf,
  resolvConfHash,
  upstreamFileFor,
  HOST_RESOLV_CONF,
  RESOLVED_RESOLV_CONF,
  RESOLVER_ADDRESS,
  type ResolvConf,
  type ResolvConfAnswer,
  type ResolvConfOverrides,
  type ResolvConfRequest,
} from './resolvconf.ts';
