/** Generic netlink (linux/genetlink.h): families by their names, and the header of their messages. What families say is wireguard.ts, ipvs.ts. */

import { Attributes, text } from './attributes.ts';
import type { Netns } from './contract.ts';
import { NetlinkSocket, isRefusal } from './netlink.ts';

const NETLINK_GENERIC = 16;
const CONTROL = { id: 0x10, getFamily: 3, version: 1, familyId: 1, familyName: 2 } as const;
/** Octets before a message's attributes. */
export const GENERIC_HEADER = 4;

export interface GenericFamily {
  /** Its owner closes it. */
  readonly socket: NetlinkSocket;
  /** Type of the family's messages. */
  readonly family: number;
}

/** Body of a message to a family. */
export const generic = (command: number, version: number, ...parts: readonly Buffer[]): Buffer =>
  Buffer.concat([Buffer.from([command, version, 0, 0]), ...parts]);

/** A socket in the namespace; undefined where the kernel has no such family, also not as a module that it can load. */
export function openGeneric(netns: Netns, name: string): GenericFamily | undefined {
  const socket = NetlinkSocket.open(netns, NETLINK_GENERIC);
  try {
    const body = generic(CONTROL.getFamily, CONTROL.version, text(CONTROL.familyName, name));
    const family = socket.request({ type: CONTROL.id, body }, (raw) =>
      new Attributes(raw, GENERIC_HEADER).bytes(CONTROL.familyId)?.readUInt16LE(),
    );
    if (family !== undefined && !isRefusal(family)) return { socket, family };
    socket[Symbol.dispose]();
    return undefined;
  } catch (error) {
    socket[Symbol.dispose]();
    throw error;
  }
}
