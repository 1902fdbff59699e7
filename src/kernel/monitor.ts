/** Hears of links as they come, change and go (rtnetlink(7), RTNLGRP_LINK), so that nobody has to ask again and again. */

import { errnoOf } from '../base/index.ts';
import { type FilterStep, attachFilter, give, isEqual, load } from './bpf.ts';
import type { Link, Mark, Netns } from './contract.ts';
import * as libc from './libc.ts';
import { parseLink } from './link.ts';
import { splitMessages } from './messages.ts';
import { NETLINK_ROUTE } from './netlink.ts';

/** A link that is gone, or as it is now. */
export interface LinkNews extends Pick<Link, 'name' | 'group'> {
  readonly isGone: boolean;
}

type Groups = Pick<Mark, 'liveGroup' | 'deadGroup'>;

// linux/rtnetlink.h
const RTM_NEWLINK = 16;
const RTM_DELLINK = 17;
const RTNLGRP_LINK = 1;
/** Messages about ports of bridges bear this family instead of none. */
const AF_UNSPEC = 0;

const IFLA_GROUP = 27;
/** Where things are in a message: its type, the family, the first attribute (linux/netlink.h, struct ifinfomsg). */
const AT = { type: 4, family: 16, attributes: 32 } as const;

const MAX_DATAGRAM = 1 << 16;
/** Datagrams that are read before the event loop has a turn; what waits beyond wakes the watch again. */
const MOST_AT_ONCE = 64;

/**
 * Calls `heard` on the event loop for each change of a link in the namespace; without news when there were more than the kernel
 * keeps, hence anything may have changed. With `own`, what bears that mark is told of only when it goes, and when it is dead
 * not even then: a join and a leave change such links ten times. Costs a descriptor and no thread, and does not keep this
 * process alive. After `close` nothing is called.
 */
export function watchLinks(netns: Netns, heard: (news: LinkNews | undefined) => void, own?: Groups): { close(): void } {
  const fd = openListener(netns, own);
  const into = Buffer.allocUnsafeSlow(MAX_DATAGRAM);
  let isOpen = true;
  const read = (): void => {
    for (let count = 0; isOpen && count < MOST_AT_ONCE; count++) {
      let length: number;
      try {
        length = libc.receive(fd, into, libc.MSG.dontwait);
      } catch (error) {
        if (errnoOf(error) !== 'ENOBUFS') throw error;
        heard(undefined);
        continue;
      }
      if (length <= 0) return;
      for (const news of newsIn(into.subarray(0, length))) if (isOpen) heard(news);
    }
  };
  const watch = libc.watchReadable(fd, read);
  return {
    close() {
      if (!isOpen) return;
      isOpen = false;
      watch.close();
      libc.close(fd);
    },
  };
}

/** The kernel drops what nobody wants to hear of. What has no group is told. */
function unasked({ liveGroup, deadGroup }: Groups): FilterStep[] {
  const group = load.attribute(IFLA_GROUP, AT.attributes);
  const value = load.valueThere();
  return [
    load.octet(AT.family),
    isEqual(AF_UNSPEC, 12),
    ...group,
    isEqual(0, 1),
    give(MAX_DATAGRAM),
    ...value,
    isEqual(swapped(deadGroup), 1),
    give(0),
    isEqual(swapped(liveGroup), 3),
    load.half(AT.type),
    isEqual(RTM_NEWLINK << 8, 1),
    give(0),
    give(MAX_DATAGRAM),
  ];
}

/** The filter reads numbers of the network's order, and the kernel writes those of its own. */
function swapped(value: number): number {
  const raw = Buffer.alloc(4);
  raw.writeUInt32LE(value);
  return raw.readUInt32BE();
}

function openListener(netns: Netns, own: Groups | undefined): number {
  const fd = netns.run(() => libc.socket(libc.AF.netlink, libc.SOCK.raw, NETLINK_ROUTE));
  // struct sockaddr_nl: the kernel chooses the port id. Without one it tells nothing.
  const address = Buffer.alloc(12);
  address.writeUInt16LE(libc.AF.netlink, 0);
  address.writeUInt32LE(1 << (RTNLGRP_LINK - 1), 8);
  try {
    if (own !== undefined) attachFilter(fd, unasked(own));
    libc.bind(fd, address, 'netlink, for news of links');
    return fd;
  } catch (error) {
    libc.close(fd);
    throw error;
  }
}

function newsIn(raw: Buffer): LinkNews[] {
  return [...splitMessages(raw)].flatMap(({ type, body }) => {
    if ((type !== RTM_NEWLINK && type !== RTM_DELLINK) || body[0] !== AF_UNSPEC) return [];
    const { name, group } = parseLink(body);
    return [{ name, group, isGone: type === RTM_DELLINK }];
  });
}
