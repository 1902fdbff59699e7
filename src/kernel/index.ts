/** The kernel room's door: namespaces, rtnetlink, sockets made inside, and the few other things only a system call does. */

export type * from './contract.ts';
export { takeListeners, type Listeners } from './activation.ts';
export { announce, announcementFrame } from './announce.ts';
export * as bpf from './bpf.ts';
export { missingCapabilities, requireCapabilities } from './capability.ts';
export { countTranslatedFlows, deleteFlows } from './conntrack.ts';
export { EpollSet, wake, watchOnceMore } from './epoll.ts';
export { DescriptorStore, inheritedDescriptors } from './fdstore.ts';
export { openFrameSocket, isLinkLoss, type FrameSocket } from './frames.ts';
export { countInbound } from './inbound.ts';
export { Inside } from './inside.ts';
export {
  changeIpvs,
  hasIpvs,
  readIpvs,
  readIpvsTimeout,
  requireIpvs,
  writeIpvsTimeout,
  type IpvsChange,
  type IpvsService,
  type IpvsServiceId,
} from './ipvs.ts';
export { lockFile, type FileLock } from './lockfile.ts';
export { markOf, newInstanceId } from './mark.ts';
export { MAX_TRANSACTION_OCTETS } from './netlink.ts';
export { createNetns, currentNetns, netnsOwner, openNetns, pinNetns, removeNetnsPin } from './netns.ts';
export { retireNetnsPin } from './retired.ts';
export { collectInSteps, growSlowly, smallStart } from './memory.ts';
export {
  hasResolverRedirect,
  installResolverRedirect,
  isTableOwned,
  removeResolverRedirect,
  restoreResolverRedirect,
} from './nft.ts';
export {
  changeTable,
  nextNftGeneration,
  nftGeneration,
  readTable,
  removeTable,
  TableWriter,
  type TableContents,
} from './nft-table.ts';
export * as nft from './nft-wire.ts';
export { watchLinks, type LinkNews } from './monitor.ts';
export { ServiceManager } from './notify.ts';
export { PacketRow } from './packets.ts';
export { isPeerGone, peerCredentials } from './peercred.ts';
export { processStartTime, processUids, signalProcess, watchProcess } from './pidfd.ts';
export { restartWithOnly, type Capability } from './privileges.ts';
export { kernelLacks, probeKernel, requireKernel } from './probe.ts';
export { createReaper } from './reaper.ts';
export { withstandSignals } from './signals.ts';
export { askForSlices } from './slice.ts';
export {
  decodeSocketAddress,
  describeSocket,
  encodeSocketAddress,
  isBroadcast,
  localPort,
  markSocket,
  openTcpClient,
  openTcpHold,
  openTcpListener,
  openUdpSocket,
  sourceAddressTo,
} from './sockets.ts';
export { readSysctl, writeSysctl } from './sysctl.ts';
export { requireWireguard, setWireguard, wireguardKeys, type WireguardKeys, type WireguardPeer } from './wireguard.ts';
export {
  ESP_SECRET_SIZE,
  changeEsp,
  requireEsp,
  viewEsp,
  type EspChange,
  type EspPolicy,
  type EspState,
  type EspView,
} from './xfrm.ts';
export { Turnstile } from './turnstile.ts';
export { startWatchdog, type Watchdog } from './watchdog.ts';
export * as libc from './libc.ts';
