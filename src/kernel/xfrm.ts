/**
 * ESP in transport mode, over NETLINK_XFRM (linux/xfrm.h): states, each with the key of one direction between two hosts, and
 * policies, which say what must be encrypted, or must not pass at all.
 */

import {
  type Address,
  CnmError,
  type IpFamily,
  KernelError,
  addressBytes,
  addressFromBytes,
  errnoOf,
  familyOf,
} from '../base/index.ts';
import { Attributes, attribute, u32 } from './attributes.ts';
import type { Netns } from './contract.ts';
import type { Message } from './messages.ts';
import { NetlinkSocket, NLM_F_CREATE, NLM_F_EXCL } from './netlink.ts';
import { temporaryNetns } from './netns.ts';
import { familyNumber } from './route.ts';

const NETLINK_XFRM = 6;
const MSG = {
  newState: 0x10,
  deleteState: 0x11,
  getState: 0x12,
  deletePolicy: 0x14,
  getPolicy: 0x15,
  updatePolicy: 0x19,
} as const;
const XFRMA = { template: 5, aead: 18 } as const;
const ESP = 50;
const UDP = 17;
const DIRECTION = { in: 0, out: 1 } as const;
const ACTION = { allow: 0, block: 1 } as const;
/** AES-GCM with a key of 16 octets and a salt of four, and a check value of eight (RFC 4106). */
const CIPHER = { name: 'rfc4106(gcm(aes))', nameSize: 64, checkBits: 64 } as const;

/** Sizes of structs, and where their fields are, octets. */
const SELECTOR = { size: 56, source: 16, port: 32, portMask: 34, family: 40, destinationBits: 42, sourceBits: 43, protocol: 44 };
const LIFETIME = { size: 64, limits: 4 };
const STATE = { size: 224, destination: 56, spi: 72, protocol: 76, source: 80, lifetime: 96, reqid: 208, family: 212 };
const STATE_ID = { size: 24, spi: 16, family: 20, protocol: 22 };
const POLICY = { size: 168, lifetime: 56, priority: 152, direction: 160, action: 161 };
const POLICY_ID = { size: 64, direction: 60 };
const TEMPLATE = { size: 64, spi: 16, protocol: 20, family: 24, source: 28, reqid: 44, algorithms: 52 };

/** Octets of an ESP state's secret: key and salt. */
export const ESP_SECRET_SIZE = 20;

export interface EspStateId {
  readonly src: Address;
  readonly dst: Address;
  /** 256 and more: the others are reserved (RFC 4303 §2.1). */
  readonly spi: number;
}

export interface EspState extends EspStateId {
  /** Whose it is, and which policies use it. */
  readonly reqid: number;
  readonly secret: Buffer;
}

/** What is to happen to UDP packets to one port of this host (`in`), or of others (`out`). */
export interface EspPolicy {
  readonly direction: 'in' | 'out';
  readonly family: IpFamily;
  readonly port: number;
  /** Absent: any. */
  readonly src?: Address;
  readonly dst?: Address;
  /** Of several that match, the lowest decides. */
  readonly priority: number;
  /** States that packets have to go through, one of them where `spi` says so; absent: packets do not pass. */
  readonly through?: { readonly reqid: number; readonly spi?: number };
}

export interface EspView {
  readonly states: readonly (EspStateId & { readonly reqid: number })[];
  readonly policies: readonly EspPolicy[];
}

export type EspChange =
  | { readonly op: 'state.add'; readonly state: EspState }
  | { readonly op: 'state.remove'; readonly state: EspStateId }
  | { readonly op: 'policy.put'; readonly policy: EspPolicy }
  | { readonly op: 'policy.remove'; readonly policy: EspPolicy };

const octets = (address: Address): Buffer => Buffer.from(addressBytes(address));

function selector({ family, src, dst, port }: EspPolicy): Buffer {
  const raw = Buffer.alloc(SELECTOR.size);
  const bits = family === 4 ? 32 : 128;
  if (dst !== undefined) octets(dst).copy(raw);
  if (src !== undefined) octets(src).copy(raw, SELECTOR.source);
  raw.writeUInt16BE(port, SELECTOR.port);
  raw.writeUInt16BE(0xffff, SELECTOR.portMask);
  raw.writeUInt16LE(familyNumber(family), SELECTOR.family);
  raw.writeUInt8(dst === undefined ? 0 : bits, SELECTOR.destinationBits);
  raw.writeUInt8(src === undefined ? 0 : bits, SELECTOR.sourceBits);
  raw.writeUInt8(UDP, SELECTOR.protocol);
  return raw;
}

/** Without limits: 64 bits of ones each. */
const endless = (): Buffer => {
  const raw = Buffer.alloc(LIFETIME.size);
  raw.fill(0xff, 0, 8 * LIFETIME.limits);
  return raw;
};

function addState({ src, dst, spi, reqid, secret }: EspState): Message {
  const raw = Buffer.alloc(STATE.size);
  const family = familyNumber(familyOf(src));
  raw.writeUInt16LE(family, SELECTOR.family);
  octets(dst).copy(raw, STATE.destination);
  raw.writeUInt32BE(spi, STATE.spi);
  raw.writeUInt8(ESP, STATE.protocol);
  octets(src).copy(raw, STATE.source);
  endless().copy(raw, STATE.lifetime);
  raw.writeUInt32LE(reqid, STATE.reqid);
  raw.writeUInt16LE(family, STATE.family);
  const name = Buffer.alloc(CIPHER.nameSize);
  name.write(CIPHER.name);
  const aead = Buffer.concat([name, u32(secret.length * 8), u32(CIPHER.checkBits), secret]);
  return { type: MSG.newState, flags: NLM_F_CREATE | NLM_F_EXCL, body: Buffer.concat([raw, attribute(XFRMA.aead, aead)]) };
}

function removeState({ dst, spi }: EspStateId): Message {
  const raw = Buffer.alloc(STATE_ID.size);
  octets(dst).copy(raw);
  raw.writeUInt32BE(spi, STATE_ID.spi);
  raw.writeUInt16LE(familyNumber(familyOf(dst)), STATE_ID.family);
  raw.writeUInt8(ESP, STATE_ID.protocol);
  return { type: MSG.deleteState, body: raw };
}

function putPolicy(policy: EspPolicy): Message {
  const raw = Buffer.alloc(POLICY.size);
  selector(policy).copy(raw);
  endless().copy(raw, POLICY.lifetime);
  raw.writeUInt32LE(policy.priority, POLICY.priority);
  raw.writeUInt8(DIRECTION[policy.direction], POLICY.direction);
  raw.writeUInt8(policy.through === undefined ? ACTION.block : ACTION.allow, POLICY.action);
  const parts = policy.through === undefined ? [] : [attribute(XFRMA.template, template(policy, policy.through))];
  return { type: MSG.updatePolicy, body: Buffer.concat([raw, ...parts]) };
}

/** Addresses in a template are of no use in transport mode but to find the state of a packet that leaves. */
function template({ family, src, dst }: EspPolicy, { reqid, spi }: NonNullable<EspPolicy['through']>): Buffer {
  const raw = Buffer.alloc(TEMPLATE.size);
  if (dst !== undefined) octets(dst).copy(raw);
  raw.writeUInt32BE(spi ?? 0, TEMPLATE.spi);
  raw.writeUInt8(ESP, TEMPLATE.protocol);
  raw.writeUInt16LE(familyNumber(family), TEMPLATE.family);
  if (src !== undefined) octets(src).copy(raw, TEMPLATE.source);
  raw.writeUInt32LE(reqid, TEMPLATE.reqid);
  raw.fill(0xff, TEMPLATE.algorithms);
  return raw;
}

function removePolicy(policy: EspPolicy): Message {
  const raw = Buffer.alloc(POLICY_ID.size);
  selector(policy).copy(raw);
  raw.writeUInt8(DIRECTION[policy.direction], POLICY_ID.direction);
  return { type: MSG.deletePolicy, body: raw };
}

function messageFor(change: EspChange): Message {
  switch (change.op) {
    case 'state.add':
      return addState(change.state);
    case 'state.remove':
      return removeState(change.state);
    case 'policy.put':
      return putPolicy(change.policy);
    case 'policy.remove':
      return removePolicy(change.policy);
  }
}

/** What is so already: a state that is there, or a thing that is gone. */
const DONE: Readonly<Record<EspChange['op'], readonly string[]>> = {
  'state.add': ['EEXIST'],
  'state.remove': ['ESRCH'],
  'policy.put': [],
  'policy.remove': ['ENOENT'],
};

/**
 * Makes the changes one after the other. Repeatable. Throws KernelError: EPROTONOSUPPORT and ENOENT where the kernel has no ESP,
 * ENOSYS where it has not the cipher.
 */
export function changeEsp(netns: Netns, changes: readonly EspChange[]): void {
  if (changes.length === 0) return;
  using socket = NetlinkSocket.open(netns, NETLINK_XFRM);
  for (const change of changes) {
    const refused = socket.execute([messageFor(change)]);
    if (refused !== undefined && !DONE[change.op].includes(refused.errno))
      throw new KernelError(change.op, 'xfrm', refused.errno, refused.text);
  }
}

/** All states of a `reqid`, and all policies for UDP ports that `isOwn` knows by their priority. Throws KernelError. */
export function viewEsp(netns: Netns, reqid: number, isOwn: (priority: number) => boolean): EspView {
  using socket = NetlinkSocket.open(netns, NETLINK_XFRM);
  const none = Buffer.alloc(0);
  return {
    states: socket.dump({ type: MSG.getState, body: none }, 'xfrm states', stateIn).filter((one) => one.reqid === reqid),
    policies: socket.dump({ type: MSG.getPolicy, body: none }, 'xfrm policies', policyIn).filter((one) => isOwn(one.priority)),
  };
}

/** Throws kernel_lacks where this kernel cannot encrypt so; found by doing it in a namespace that is thrown away. */
export function requireEsp(): void {
  const [src, dst] = ['192.0.2.1', '192.0.2.2'] as [Address, Address];
  using netns = temporaryNetns();
  try {
    changeEsp(netns, [{ op: 'state.add', state: { src, dst, spi: 256, reqid: 1, secret: Buffer.alloc(ESP_SECRET_SIZE, 1) } }]);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === undefined) throw error;
    throw new CnmError(
      'kernel_lacks',
      `the kernel lacks ESP with ${CIPHER.name} (${errno}; modules xfrm_user, esp4, esp6, aesni_intel or gcm and ctr): load them by modprobe`,
      { cause: error },
    );
  }
}

const addressAt = (raw: Buffer, at: number, family: IpFamily): Address =>
  addressFromBytes(Uint8Array.from(raw.subarray(at, at + (family === 4 ? 4 : 16))));

const familyAt = (raw: Buffer, at: number): IpFamily => (raw.readUInt16LE(at) === familyNumber(4) ? 4 : 6);

function stateIn(raw: Buffer): EspView['states'][number] | undefined {
  if (raw.length < STATE.size || raw.readUInt8(STATE.protocol) !== ESP) return undefined;
  const family = familyAt(raw, STATE.family);
  return {
    src: addressAt(raw, STATE.source, family),
    dst: addressAt(raw, STATE.destination, family),
    spi: raw.readUInt32BE(STATE.spi),
    reqid: raw.readUInt32LE(STATE.reqid),
  };
}

function policyIn(raw: Buffer): EspPolicy | undefined {
  if (raw.length < POLICY.size || raw.readUInt8(SELECTOR.protocol) !== UDP) return undefined;
  const direction = (['in', 'out'] as const).find((one) => DIRECTION[one] === raw.readUInt8(POLICY.direction));
  if (direction === undefined) return undefined;
  const family = familyAt(raw, SELECTOR.family);
  const made = new Attributes(raw, POLICY.size).bytes(XFRMA.template);
  const spi = made?.readUInt32BE(TEMPLATE.spi) ?? 0;
  return {
    direction,
    family,
    port: raw.readUInt16BE(SELECTOR.port),
    ...(raw.readUInt8(SELECTOR.sourceBits) > 0 && { src: addressAt(raw, SELECTOR.source, family) }),
    ...(raw.readUInt8(SELECTOR.destinationBits) > 0 && { dst: addressAt(raw, 0, family) }),
    priority: raw.readUInt32LE(POLICY.priority),
    ...(made && { through: { reqid: made.readUInt32LE(TEMPLATE.reqid), ...(spi !== 0 && { spi }) } }),
  };
}
