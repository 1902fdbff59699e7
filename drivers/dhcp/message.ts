/** The wire form of DHCP (RFC 2131 §2, RFC 2132): what we say, and what we take of an answer. Pure; trusts no octet. */

import { type Address, type Mac, addressBytes, addressFromBytes, macBytes } from '../../src/base/index.ts';

const REQUEST = 1;
const REPLY = 2;
const ETHERNET = 1;
const MAC_SIZE = 6;
const MAGIC = 0x63825363;
const BROADCAST = 0x8000;
/** Where fields begin, octets. */
const AT = {
  xid: 4,
  seconds: 8,
  flags: 10,
  clientAddress: 12,
  yourAddress: 16,
  mac: 28,
  serverName: 44,
  file: 108,
  magic: 236,
  options: 240,
} as const;
/** Relays and old servers drop what is shorter than BOOTP. */
const MIN_SIZE = 300;

const OPTION = {
  pad: 0,
  mask: 1,
  router: 3,
  hostName: 12,
  requestedAddress: 50,
  leaseSeconds: 51,
  overload: 52,
  type: 53,
  server: 54,
  wanted: 55,
  text: 56,
  renewSeconds: 58,
  rebindSeconds: 59,
  clientId: 61,
  end: 255,
} as const;

const TYPES = { discover: 1, offer: 2, request: 3, nak: 6, ack: 5, release: 7 } as const;

/** Who asks. */
export interface Identity {
  readonly mac: Mac;
  /** Option 61: type and identifier. */
  readonly clientId: Uint8Array;
  /** Option 12. */
  readonly hostName?: string;
}

export interface Question extends Identity {
  readonly type: 'discover' | 'request' | 'release';
  readonly xid: number;
  /** Since the asking began. */
  readonly seconds?: number;
  /** `ciaddr`: the address that the client has and answers ARP for. */
  readonly clientAddress?: Address;
  /** Option 50. */
  readonly requestedAddress?: Address;
  /** Option 54. */
  readonly server?: Address;
}

export interface Reply {
  readonly type: 'offer' | 'ack' | 'nak';
  /** `yiaddr`. */
  readonly address?: Address;
  readonly server: Address;
  /** Length of the subnet's prefix. */
  readonly length?: number;
  readonly router?: Address;
  readonly leaseSeconds?: number;
  readonly renewSeconds?: number;
  readonly rebindSeconds?: number;
  /** The server's own words. */
  readonly text?: string;
}

/** A request as the payload of UDP. Answers to it are to be broadcast unless `clientAddress` is set (RFC 2131 §4.1). */
export function encodeQuestion(question: Question): Buffer {
  const head = Buffer.alloc(AT.options);
  head[0] = REQUEST;
  head[1] = ETHERNET;
  head[2] = MAC_SIZE;
  head.writeUInt32BE(question.xid, AT.xid);
  head.writeUInt16BE(Math.min(question.seconds ?? 0, 0xffff), AT.seconds);
  head.writeUInt16BE(question.clientAddress === undefined ? BROADCAST : 0, AT.flags);
  if (question.clientAddress !== undefined) head.set(addressBytes(question.clientAddress), AT.clientAddress);
  head.set(macBytes(question.mac), AT.mac);
  head.writeUInt32BE(MAGIC, AT.magic);
  const message = Buffer.concat([head, ...optionsOf(question), Buffer.from([OPTION.end])]);
  return message.length >= MIN_SIZE ? message : Buffer.concat([message, Buffer.alloc(MIN_SIZE - message.length)]);
}

function optionsOf({ type, clientId, hostName, requestedAddress, server }: Question): Buffer[] {
  const option = (code: number, value: Uint8Array): Buffer => Buffer.concat([Buffer.from([code, value.length]), value]);
  return [
    option(OPTION.type, Buffer.from([TYPES[type]])),
    option(OPTION.clientId, clientId),
    ...(requestedAddress ? [option(OPTION.requestedAddress, addressBytes(requestedAddress))] : []),
    ...(server ? [option(OPTION.server, addressBytes(server))] : []),
    ...(hostName && type !== 'release' ? [option(OPTION.hostName, Buffer.from(hostName, 'latin1'))] : []),
    ...(type === 'release'
      ? []
      : [
          option(
            OPTION.wanted,
            Buffer.from([OPTION.mask, OPTION.router, OPTION.leaseSeconds, OPTION.renewSeconds, OPTION.rebindSeconds]),
          ),
        ]),
  ];
}

/** What the payload of UDP answers to this question; undefined for everything else. */
export function readReply(payload: Buffer, asked: Pick<Question, 'xid' | 'mac' | 'clientId'>): Reply | undefined {
  if (payload.length < AT.options || payload[0] !== REPLY || payload[1] !== ETHERNET || payload[2] !== MAC_SIZE) return undefined;
  if (payload.readUInt32BE(AT.xid) !== asked.xid || payload.readUInt32BE(AT.magic) !== MAGIC) return undefined;
  if (!payload.subarray(AT.mac, AT.mac + MAC_SIZE).equals(macBytes(asked.mac))) return undefined;
  const options = allOptions(payload);
  if (options === undefined) return undefined;
  // A server may say whom it means (RFC 6842).
  const meant = options.get(OPTION.clientId);
  if (meant !== undefined && !meant.equals(asked.clientId)) return undefined;
  const type = typeOf(options.get(OPTION.type));
  const server = addressIn(options.get(OPTION.server));
  if (type === undefined || server === undefined) return undefined;
  const address = addressIn(payload.subarray(AT.yourAddress, AT.yourAddress + 4));
  const length = lengthOf(options.get(OPTION.mask));
  const router = addressIn(options.get(OPTION.router)?.subarray(0, 4));
  return {
    type,
    server,
    ...(address && { address }),
    ...(length !== undefined && { length }),
    ...(router && { router }),
    ...secondsIn(options, 'leaseSeconds'),
    ...secondsIn(options, 'renewSeconds'),
    ...secondsIn(options, 'rebindSeconds'),
    ...textIn(options.get(OPTION.text)),
  };
}

/** Options of all places where they may be; undefined when one is cut off. Parts of one option are joined (RFC 3396). */
function allOptions(payload: Buffer): ReadonlyMap<number, Buffer> | undefined {
  const found = new Map<number, Buffer>();
  if (!gather(payload.subarray(AT.options), found)) return undefined;
  const overload = found.get(OPTION.overload)?.[0] ?? 0;
  if ((overload & 1) !== 0 && !gather(payload.subarray(AT.file, AT.magic), found)) return undefined;
  if ((overload & 2) !== 0 && !gather(payload.subarray(AT.serverName, AT.file), found)) return undefined;
  return found;
}

function gather(area: Buffer, into: Map<number, Buffer>): boolean {
  for (let at = 0; at < area.length;) {
    const code = area[at] as number;
    if (code === OPTION.end) return true;
    at++;
    if (code === OPTION.pad) continue;
    const length = area[at];
    if (length === undefined || at + 1 + length > area.length) return false;
    const value = area.subarray(at + 1, at + 1 + length);
    const before = into.get(code);
    // Copied: the frame that it lies in is read over.
    into.set(code, before === undefined ? Buffer.from(value) : Buffer.concat([before, value]));
    at += 1 + length;
  }
  return true;
}

function typeOf(value: Buffer | undefined): Reply['type'] | undefined {
  if (value?.length !== 1) return undefined;
  return (['offer', 'ack', 'nak'] as const).find((type) => TYPES[type] === value[0]);
}

/** Undefined for 0.0.0.0, for what no host can have, and for what is no address. */
function addressIn(value: Buffer | undefined): Address | undefined {
  if (value?.length !== 4) return undefined;
  const first = value[0] as number;
  return first === 0 || first === 127 || first >= 224 ? undefined : addressFromBytes(value);
}

/** Undefined for a mask with holes, and for those that leave no room for a host and a router. */
function lengthOf(value: Buffer | undefined): number | undefined {
  if (value?.length !== 4) return undefined;
  const ones = value.readUInt32BE().toString(2);
  return /^1+0*$/.test(ones) && ones.length === 32 ? ones.replace(/0+$/, '').length : undefined;
}

function secondsIn(
  options: ReadonlyMap<number, Buffer>,
  name: 'leaseSeconds' | 'renewSeconds' | 'rebindSeconds',
): { readonly [key in typeof name]?: number } {
  const value = options.get(OPTION[name]);
  return value?.length === 4 ? { [name]: value.readUInt32BE() } : {};
}

function textIn(value: Buffer | undefined): { readonly text?: string } {
  const text = value?.toString('latin1').replaceAll(/[^\x20-\x7e]/g, '') ?? '';
  return text === '' ? {} : { text };
}
