/** Links as rtnetlink messages (linux/if_link.h). */

import * as ifla from 'netlink/dist/rt/ifla.js';
import * as rt from 'netlink/dist/rt/structs.js';
import { AttrStream, type StreamData } from 'netlink/dist/structs.js';
import { CnmError, addressBytes, addressFromBytes, familyOf, macBytes, type Mac } from '../base/index.ts';
import { Attributes, attribute, text, u16be, u32 } from './attributes.ts';
import type { Link, LinkAt, LinkChange, LinkSpec, Netns, PortFacts, VxlanFacts } from './contract.ts';
import type { Message } from './messages.ts';
import { NLM_F_CREATE, NLM_F_EXCL } from './netlink.ts';

const { NEWLINK, DELLINK, GETLINK, SETLINK } = rt.MessageType;

/** RTEXT_FILTER_SKIP_STATS: counters are most of a link's bytes and nobody here reads them. */
const SKIP_STATS = 8;
/** IANA's port of VXLAN; the kernel's own default is an older one. */
const VXLAN_PORT = 4789;
const MACVLAN_MODES = { private: 1, vepa: 2, bridge: 4, passthru: 8 } as const;
const IPVLAN_MODES = { l2: 0, l3: 1, l3s: 2 } as const;
const IPVLAN_FLAGS = { bridge: 0, private: 1, vepa: 2 } as const;

// What is read: struct ifinfomsg and a few attributes.
const IFINFO_SIZE = 16;
const IFF_UP = 1;
const IFF_LOWER_UP = 0x10000;
const IFLA = {
  address: 1,
  ifname: 3,
  mtu: 4,
  link: 5,
  master: 10,
  linkinfo: 18,
  ifalias: 20,
  group: 27,
  netNsFd: 28,
  extMask: 29,
} as const;
const IFLA_INFO = { kind: 1, data: 2, slaveKind: 4, slaveData: 5 } as const;
const IFLA_VXLAN = { id: 1, local: 4, learning: 7, port: 15, local6: 17 } as const;
const IFLA_BRPORT = {
  hairpin: 4,
  learning: 8,
  unicastFlood: 9,
  mcastFlood: 27,
  bcastFlood: 30,
  neighSuppress: 32,
  isolated: 33,
} as const;

/** Longest name of a link, octets (IFNAMSIZ less its zero). */
const MAX_NAME = 15;

/** The bytes that the package's formatters emit. */
export function formatted(...parts: readonly StreamData[]): Buffer {
  const stream = new AttrStream();
  for (const part of parts) stream.emit(part);
  return Buffer.concat(stream.bufs);
}

// The formatters return streams where the package's types ask for a Buffer; AttrStream takes both.
const asBuffer = (stream: StreamData): Buffer => formatted(stream);

function u8(value: boolean | number): Buffer {
  return Buffer.from([Number(value)]);
}

function u16(value: number): Buffer {
  const raw = Buffer.alloc(2);
  raw.writeUInt16LE(value);
  return raw;
}

function checkedName(name: string): string {
  if (name === '' || name === '.' || name === '..' || Buffer.byteLength(name) > MAX_NAME || /[\s/:\0]/.test(name)) {
    throw new CnmError('bad_name', `invalid interface name: ${JSON.stringify(name)}`);
  }
  return name;
}

/** What every message about a link is made of. */
interface Attrs {
  readonly ifname?: string;
  readonly ifalias?: string;
  readonly address?: Uint8Array;
  readonly mtu?: number;
  readonly link?: number;
  readonly master?: number;
  readonly linkinfo?: Uint8Array;
  readonly group?: number;
  readonly netNsFd?: number;
  readonly extMask?: number;
}

/** struct ifinfomsg and attributes; `up` undefined leaves the link's state alone. */
function linkBody(index: number | undefined, attrs: Attrs, up?: boolean): Buffer {
  const head = Buffer.alloc(IFINFO_SIZE);
  if (index !== undefined) head.writeInt32LE(index, 4);
  if (up === true) head.writeUInt32LE(IFF_UP, 8);
  if (up !== undefined) head.writeUInt32LE(IFF_UP, 12);
  const parts: Buffer[] = [head];
  // By hand and not by the package's table: a join and a leave make some twenty of these.
  for (const key in attrs) {
    const value = attrs[key as keyof Attrs];
    const type = IFLA[key as keyof Attrs];
    if (typeof value === 'string') parts.push(text(type, value));
    else if (typeof value === 'number') parts.push(attribute(type, u32(value)));
    else if (value !== undefined) parts.push(attribute(type, value));
  }
  return Buffer.concat(parts);
}

interface CommonSpec {
  readonly name: string;
  readonly index?: number;
  readonly mac?: Mac;
  readonly mtu?: number;
  readonly group?: number;
  readonly netns?: Netns;
}

/** Attributes that both halves of a veth can have. */
const commonAttributes = (spec: CommonSpec): Attrs => ({
  ifname: checkedName(spec.name),
  ...(spec.mac === undefined ? {} : { address: macBytes(spec.mac) }),
  ...(spec.mtu === undefined ? {} : { mtu: spec.mtu }),
  ...(spec.group === undefined ? {} : { group: spec.group }),
  ...(spec.netns === undefined ? {} : { netNsFd: spec.netns.fd }),
});

function vxlanData(spec: LinkSpec): StreamData {
  const settings = spec.vxlan;
  if (settings === undefined) throw new CnmError('internal', `vxlan ${spec.name} needs its settings`);
  const { local } = settings;
  const localKey = local !== undefined && familyOf(local) === 6 ? 'local6' : 'local';
  return ifla.formatVxlan({
    id: settings.vni,
    port: u16be(settings.port ?? VXLAN_PORT),
    ...(spec.parent === undefined ? {} : { link: spec.parent }),
    ...(local === undefined ? {} : { [localKey]: Buffer.from(addressBytes(local)) }),
    ...(settings.learning === undefined ? {} : { learning: Number(settings.learning) }),
    ...(settings.proxy === undefined ? {} : { proxy: Number(settings.proxy) }),
    ...(settings.l2miss === undefined ? {} : { l2miss: Number(settings.l2miss) }),
    ...(settings.l3miss === undefined ? {} : { l3miss: Number(settings.l3miss) }),
  });
}

function bridgeData({ bridge }: LinkSpec): StreamData {
  return ifla.formatBridge({
    ...(bridge?.stp === undefined ? {} : { stpState: u32(Number(bridge.stp)) }),
    ...(bridge?.multicastSnooping === undefined ? {} : { mcastSnooping: u8(bridge.multicastSnooping) }),
    ...(bridge?.vlanFiltering === undefined ? {} : { vlanFiltering: u8(bridge.vlanFiltering) }),
    ...(bridge?.defaultPvid === undefined ? {} : { vlanDefaultPvid: u16(bridge.defaultPvid) }),
  });
}

function vethData({ peer }: LinkSpec): StreamData {
  if (peer === undefined) return [];
  return ifla.formatVethInfo({ peer: linkBody(peer.index, commonAttributes(peer)) });
}

function kindData(spec: LinkSpec): StreamData {
  switch (spec.kind) {
    case 'veth':
      return vethData(spec);
    case 'bridge':
      return bridgeData(spec);
    case 'vxlan':
      return vxlanData(spec);
    case 'macvlan':
      return ifla.formatMacvlan({ mode: MACVLAN_MODES[spec.macvlan?.mode ?? 'bridge'] });
    case 'ipvlan':
      return ifla.formatIpvlan({
        mode: IPVLAN_MODES[spec.ipvlan?.mode ?? 'l2'],
        flags: u16(IPVLAN_FLAGS[spec.ipvlan?.flag ?? 'bridge']),
      });
    case 'vlan':
      if (spec.vlan === undefined) throw new CnmError('internal', `vlan ${spec.name} needs its id`);
      return ifla.formatVlan({ id: spec.vlan.id });
    case 'dummy':
    case 'wireguard':
      return [];
  }
}

/** RTM_NEWLINK that fails when the name is taken. Defaults: macvlan mode bridge, ipvlan mode l2, VXLAN port 4789. */
export function encodeLinkAdd(spec: LinkSpec): Message {
  const data = asBuffer(kindData(spec));
  const attributes: Attrs = {
    ...commonAttributes(spec),
    // VXLAN names its lower link in its own data.
    ...(spec.parent === undefined || spec.kind === 'vxlan' ? {} : { link: spec.parent }),
    ...(spec.master === undefined ? {} : { master: spec.master }),
    linkinfo: asBuffer(ifla.formatInfo({ kind: spec.kind, ...(data.length === 0 ? {} : { data }) })),
  };
  const body = linkBody(spec.index, attributes, spec.up === true ? true : undefined);
  return { type: NEWLINK, flags: NLM_F_CREATE | NLM_F_EXCL, body };
}

/** What in header and attributes points at an existing link. */
interface Pointed {
  readonly index?: number;
  readonly attributes: Attrs;
}

const pointed = (at: LinkAt): Pointed =>
  'index' in at ? { index: at.index, attributes: {} } : { attributes: { ifname: checkedName(at.name) } };

function change(at: LinkAt, attributes: Attrs, up?: boolean): Message {
  const target = pointed(at);
  return { type: SETLINK, body: linkBody(target.index, { ...target.attributes, ...attributes }, up) };
}

const PORT_SETTINGS = ['hairpin', 'isolated', 'learning', 'flood', 'neighSuppress'] as const;

function portChange(at: LinkAt, { hairpin, isolated, learning, flood, neighSuppress }: LinkChange): Message {
  const target = pointed(at);
  const slaveData = asBuffer(
    ifla.formatBridgePort({
      ...(hairpin === undefined ? {} : { mode: Number(hairpin) }),
      ...(isolated === undefined ? {} : { isolated: u8(isolated) }),
      ...(learning === undefined ? {} : { learning: Number(learning) }),
      ...(flood === undefined ? {} : { unicastFlood: Number(flood), mcastFlood: u8(flood), bcastFlood: u8(flood) }),
      ...(neighSuppress === undefined ? {} : { neighSuppress: u8(neighSuppress) }),
    }),
  );
  const linkinfo = asBuffer(ifla.formatInfo({ slaveKind: 'bridge', slaveData }));
  return { type: NEWLINK, body: linkBody(target.index, { ...target.attributes, linkinfo }) };
}

/**
 * One to three messages, in order: down first (kernels before 6.2 rename only what is down), then the rest, then the
 * settings of a bridge port, which the kernel takes only from what is a port already. A new name needs `at` by index.
 */
export function encodeLinkChange(at: LinkAt, wish: LinkChange): Message[] {
  const attributes: Attrs = {
    ...(wish.name === undefined ? {} : { ifname: checkedName(wish.name) }),
    ...(wish.alias === undefined ? {} : { ifalias: wish.alias }),
    ...(wish.mac === undefined ? {} : { address: macBytes(wish.mac) }),
    ...(wish.mtu === undefined ? {} : { mtu: wish.mtu }),
    ...(wish.group === undefined ? {} : { group: wish.group }),
    ...(wish.master === undefined ? {} : { master: wish.master }),
  };
  if (wish.name !== undefined && !('index' in at)) throw new CnmError('internal', 'renaming needs the index of a link');
  const messages: Message[] = [];
  const hasAttributes = Object.keys(attributes).length > 0;
  if (wish.up === false) messages.push(change(at, {}, false));
  if (hasAttributes || wish.up === true) messages.push(change(at, attributes, wish.up === true ? true : undefined));
  if (PORT_SETTINGS.some((setting) => wish[setting] !== undefined)) messages.push(portChange(at, wish));
  return messages;
}

/** Moves a link, given by its index, to another namespace, under `name` when given. */
export const encodeLinkMove = (index: number, to: Netns, name?: string): Message =>
  change({ index }, { netNsFd: to.fd, ...(name === undefined ? {} : { ifname: checkedName(name) }) });

export function encodeLinkRemove(at: LinkAt): Message {
  const target = pointed(at);
  return { type: DELLINK, body: linkBody(target.index, target.attributes) };
}

/** Removes every link of a group; the kernel answers ENODEV when there is none. */
export const encodeGroupRemove = (group: number): Message => ({
  type: DELLINK,
  body: linkBody(undefined, { group }),
});

/** Asks for one link; without `at` for all of them, as a dump. */
export function encodeLinkGet(at?: LinkAt): Message {
  const target: Pointed = at === undefined ? { attributes: {} } : pointed(at);
  return {
    type: GETLINK,
    body: linkBody(target.index, { ...target.attributes, extMask: SKIP_STATS }),
  };
}

/** Reads RTM_NEWLINK. Only what is needed is looked at, so that odd hardware cannot spoil a list. */
export function parseLink(body: Buffer): Link {
  const attributes = new Attributes(body, IFINFO_SIZE);
  const flags = body.readUInt32LE(8);
  const raw = attributes.bytes(IFLA.address);
  const hasMac = raw?.length === 6 && raw.some((octet) => octet !== 0);
  const alias = attributes.text(IFLA.ifalias);
  const master = attributes.u32(IFLA.master);
  const parent = attributes.u32(IFLA.link);
  const info = attributes.nested(IFLA.linkinfo);
  const kind = info.text(IFLA_INFO.kind) ?? '';
  return {
    index: body.readInt32LE(4),
    name: attributes.text(IFLA.ifname) ?? '',
    kind,
    ...(hasMac ? { mac: (raw.toString('hex').match(/../g) ?? []).join(':') as Mac } : {}),
    mtu: attributes.u32(IFLA.mtu) ?? 0,
    up: (flags & IFF_UP) !== 0,
    carrier: (flags & IFF_LOWER_UP) !== 0,
    group: attributes.u32(IFLA.group) ?? 0,
    ...(alias === undefined || alias === '' ? {} : { alias }),
    ...(master === undefined || master === 0 ? {} : { master }),
    ...(parent === undefined || parent === 0 ? {} : { parent }),
    ...(kind === 'vxlan' && { vxlan: vxlanFacts(info.nested(IFLA_INFO.data)) }),
    ...(info.text(IFLA_INFO.slaveKind) === 'bridge' && { port: portFacts(info.nested(IFLA_INFO.slaveData)) }),
  };
}

function vxlanFacts(data: Attributes): VxlanFacts {
  const raw = data.bytes(IFLA_VXLAN.local6) ?? data.bytes(IFLA_VXLAN.local);
  const local = raw !== undefined && raw.some((octet) => octet !== 0) ? addressFromBytes(raw) : undefined;
  return {
    vni: data.u32(IFLA_VXLAN.id) ?? 0,
    port: data.u16be(IFLA_VXLAN.port) ?? 0,
    ...(local === undefined ? {} : { local }),
    learning: data.u8(IFLA_VXLAN.learning) !== 0,
  };
}

const portFacts = (data: Attributes): PortFacts => ({
  learning: data.u8(IFLA_BRPORT.learning) !== 0,
  flood: [IFLA_BRPORT.unicastFlood, IFLA_BRPORT.mcastFlood, IFLA_BRPORT.bcastFlood].some((kind) => data.u8(kind) !== 0),
  neighSuppress: data.u8(IFLA_BRPORT.neighSuppress) === 1,
  hairpin: data.u8(IFLA_BRPORT.hairpin) === 1,
  isolated: data.u8(IFLA_BRPORT.isolated) === 1,
});
