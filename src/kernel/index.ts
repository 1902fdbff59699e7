/** The kernel room's door: namespaces, rtnetlink, sockets made inside, and the few other things only a system call does. */

export type * from './contract.ts';
export { announce, announcementFrame, type Announcement } from './announce.ts';
export { missingCapabilities, requireCapabilities } from './capability.ts';
export { deleteFlows } from './conntrack.ts';
export { EpollSet, wake } from './epoll.ts';
export { lockFile, type FileLock } from './lockfile.ts';
export { markOf, newInstanceId } from './mark.ts';
export { createNetns, currentNetns, openNetns, pinNetns, removeNetnsPin } from './netns.ts';
export { installResolverRedirect, removeResolverRedirect, type ResolverRedirect } from './nft.ts';
export { notifyServiceManager } from './notify.ts';
export { PacketRow } from './packets.ts';
export { peerCredentials, type PeerCredentials } from './peercred.ts';
export { processStartTime, signalProcess, watchProcess } from './pidfd.ts';
export { probeKernel, requireKernel, type KernelFeature, type KernelFeatures } from './probe.ts';
export { createReaper } from './reaper.ts';
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
export { readSysctl, writeSysctl, type SysctlKey } from './sysctl.ts';
export * as libc from './libc.ts';
