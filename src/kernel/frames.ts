/** Whole Ethernet frames on a link, past addresses, routes and rules of its namespace (packet(7)). */

import { errnoOf, KernelError } from '../base/index.ts';
import { attachFilter, type FilterStep } from './bpf.ts';
import { closeOffThread } from './closer.ts';
import type { Netns } from './contract.ts';
import * as libc from './libc.ts';

/** Every frame, also those that a macvlan on the link takes away from all other protocols. */
const ETH_P_ALL = 0x0003;
const MAX_FRAME = 1 << 16;
/** Frames that are read before the event loop has a turn; what waits beyond wakes the watch again. */
const MOST_AT_ONCE = 64;

export interface FrameSocket {
  /** Throws KernelError, such as ENETDOWN; EAGAIN when the queue is full. */
  send(frame: Uint8Array): void;
  /** Nothing is heard any more. */
  close(): void;
}

export interface FrameListener {
  /** The frame is valid during the call only. */
  heard(frame: Buffer): void;
  /** The link went down or away: nothing more is heard, and the socket is closed. */
  broken(error: unknown): void;
}

/**
 * Opens a socket on the link of this index that hears what the filter lets through. Does not keep the process alive. The caller
 * closes it.
 */
export function openFrameSocket(
  netns: Netns,
  link: number,
  filter: readonly FilterStep[],
  { heard, broken }: FrameListener,
): FrameSocket {
  const fd = boundSocket(netns, link, filter);
  const into = Buffer.allocUnsafeSlow(MAX_FRAME);
  let isOpen = true;
  const close = (): void => {
    if (!isOpen) return;
    isOpen = false;
    watch.close();
    // The kernel waits there until no processor has a frame for it in hand.
    closeOffThread(fd);
  };
  const read = (): void => {
    for (let count = 0; isOpen && count < MOST_AT_ONCE; count++) {
      let length: number;
      try {
        length = libc.receive(fd, into, libc.MSG.dontwait);
      } catch (error) {
        close();
        broken(error);
        return;
      }
      if (length < 0) return;
      heard(into.subarray(0, length));
    }
  };
  const watch = libc.watchReadable(fd, read);
  return {
    close,
    send(frame) {
      if (libc.send(fd, frame) !== frame.length) throw new KernelError('send', `link ${link}`, 'EAGAIN');
    },
  };
}

/** Protocol 0 until the filter is attached: nothing is heard before. */
function boundSocket(netns: Netns, link: number, filter: readonly FilterStep[]): number {
  const fd = netns.run(() => libc.socket(libc.AF.packet, libc.SOCK.raw | libc.SOCK.nonblock, 0));
  try {
    attachFilter(fd, filter);
    // struct sockaddr_ll
    const address = Buffer.alloc(20);
    address.writeUInt16LE(libc.AF.packet, 0);
    address.writeUInt16BE(ETH_P_ALL, 2);
    address.writeInt32LE(link, 4);
    libc.bind(fd, address, `link ${link}`);
    return fd;
  } catch (error) {
    libc.close(fd);
    throw error;
  }
}

/** Whether an error says that the link is down or gone. */
export const isLinkLoss = (error: unknown): boolean => ['ENETDOWN', 'ENODEV', 'ENXIO'].includes(errnoOf(error) ?? '');
