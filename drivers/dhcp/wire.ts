/**
 * The parents' wires. A socket is open on one only while somebody waits for an answer there: at other times not one packet of the
 * host's costs more for us.
 */

import { randomBytes } from 'node:crypto';
import { CnmError, type Mac, messageOf } from '../../src/base/index.ts';
import { type FrameSocket, type Netns, isLinkLoss, openFrameSocket } from '../../src/kernel/index.ts';
import { CLIENTS_ONLY, type Heard, type Way, encodeFrame, readFrame } from './frame.ts';

export interface Listener {
  heard(what: Heard): void;
  /** Nothing is heard any more. */
  broken(error: CnmError): void;
}

/** One conversation on a wire, with a number that no other one there has. */
export interface Line {
  /** `xid` of the conversation. */
  readonly xid: number;
  /** Of the parent itself. */
  readonly parentMac: Mac;
  /** Throws parent_gone when the link is down or gone. */
  send(way: Way, payload: Buffer): void;
  close(): void;
}

/** Where lines are opened. */
export interface Wires {
  /** `xid`: of a conversation that goes on; absent: a new one. Throws parent_gone. The caller closes the line. */
  open(parent: string, listener: Listener, xid?: number): Promise<Line>;
}

interface Wire {
  readonly socket: FrameSocket;
  readonly mac: Mac;
  readonly listeners: Map<number, Listener>;
}

/** In `xid`, octets from the begin of DHCP's message; what has another number is for nobody here. */
const XID_AT = 4;

export class ParentWires implements Wires {
  readonly #host: Netns;
  /** By index of the link: a link that is plugged in again has another one. */
  readonly #wires = new Map<number, Wire>();

  constructor(host: Netns) {
    this.#host = host;
  }

  async open(parent: string, listener: Listener, known?: number): Promise<Line> {
    const link = await this.#host.rtnl().link.find({ name: parent });
    if (link?.mac === undefined)
      throw new CnmError('parent_gone', `parent ${parent} is not there, or is no Ethernet link: DHCP cannot be spoken on it`);
    const { index, mac } = link;
    const wire = this.#wires.get(index) ?? this.#openWire(parent, index, mac);
    let xid = known;
    while (xid === undefined || wire.listeners.has(xid)) xid = randomBytes(4).readUInt32BE();
    wire.listeners.set(xid, listener);
    return {
      xid,
      parentMac: mac,
      send(way, payload) {
        try {
          wire.socket.send(encodeFrame(way, payload));
        } catch (error) {
          throw isLinkLoss(error) ? lost(parent, error) : error;
        }
      },
      close: () => {
        wire.listeners.delete(xid);
        if (wire.listeners.size === 0) this.#closeWire(index, wire);
      },
    };
  }

  #openWire(parent: string, index: number, mac: Mac): Wire {
    const listeners = new Map<number, Listener>();
    const socket = openFrameSocket(this.#host, index, CLIENTS_ONLY, {
      heard(frame) {
        const heard = readFrame(frame);
        if (heard === undefined || heard.payload.length < XID_AT + 4) return;
        listeners.get(heard.payload.readUInt32BE(XID_AT))?.heard(heard);
      },
      broken: (error) => {
        this.#closeWire(index, wire);
        for (const one of listeners.values()) one.broken(lost(parent, error));
      },
    });
    const wire = { socket, mac, listeners };
    this.#wires.set(index, wire);
    return wire;
  }

  #closeWire(index: number, wire: Wire): void {
    wire.socket.close();
    if (this.#wires.get(index) === wire) this.#wires.delete(index);
  }
}

const lost = (parent: string, cause: unknown): CnmError =>
  new CnmError('parent_gone', `parent ${parent} is down or gone (${messageOf(cause)}): bring it up, and try again`, { cause });
