export type * from './contract.ts';
export { createNetns, currentNetns, openNetns, pinNetns, removeNetnsPin } from './netns.ts';
export {
  decodeSocketAddress,
  encodeSocketAddress,
  localPort,
  openTcpClient,
  openTcpHold,
  openTcpListener,
  openUdpSocket,
  type SocketSpec,
  type UdpSpec,
} from './sockets.ts';
export { EpollSet, wake } from './epoll.ts';
export { PacketRow } from './packets.ts';
export * as libc from './libc.ts';
