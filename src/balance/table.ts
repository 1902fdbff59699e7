/**
 * A table of nf_tables that sends new connections to members in turn: what it should hold, and the change towards it. The
 * kernel's connection tracking keeps what was chosen. Who is balanced, and by what, is client.ts and gate.ts.
 */

import { createHash } from 'node:crypto';
import { type Address, addressBytes, errnoOf, familyOf, type IpFamily } from '../base/index.ts';
import { changeTable, type Netns, nft, readTable, removeTable, type TableContents, TableWriter } from '../kernel/index.ts';

type Message = ReturnType<TableWriter['addTable']>;

/** Changes with what is laid for the same wish, so that an upgrade lays it anew. */
const LAYOUT = 1;
/** Where everything goes that nobody serves. */
const REFUSE = 'refuse';

/** Connections that lead to the same members. */
export interface Group {
  /** Name of its chain. */
  readonly chain: string;
  /** By map: the keys that mean it. */
  readonly keys: Readonly<Record<string, readonly Buffer[]>>;
  /** Who takes new connections. */
  readonly targets: readonly Address[];
  /** Port of the targets. Default: the one that was asked for. */
  readonly port?: number;
  /** TCP and UDP are given this mark and go on as they are: who reads it has members for them. Above 0. */
  readonly mark?: number;
  /** What else counts as a change of it. */
  readonly also?: readonly string[];
}

/** What a table has besides its groups. */
export interface Scheme {
  /** Kept in the table, to be read again; changes nothing. */
  readonly note?: string;
  readonly maps: Readonly<Record<string, { readonly keyType: number; readonly keyLength: number }>>;
  /** Chains with a hook, each with its rules. */
  readonly chains: Readonly<
    Record<
      string,
      {
        readonly hook: { readonly type: 'nat' | 'filter'; readonly at: number; readonly priority: number };
        readonly rules: readonly (readonly Buffer[])[];
      }
    >
  >;
}

const octets = (address: Address): Buffer => Buffer.from(addressBytes(address));

const digest = (...parts: readonly unknown[]): Buffer => createHash('sha256').update(JSON.stringify(parts)).digest();

/** Comment of all rules of the group: tells whether they are those of this wish. */
const signatureOf = ({ chain, targets, port, mark, also }: Group): string => {
  const signature = digest(LAYOUT, chain, targets.toSorted(), port ?? 0, also ?? []).toString('hex', 0, 8);
  return mark === undefined ? signature : `${signature}-${mark}`;
};

/** Marks of groups by their chains, where rules bear such. */
export function marksIn({ rules }: TableContents): Map<string, number> {
  const marks = [...rules].map(([chain, [comment]]) => [chain, Number(comment?.split('-')[1])] as const);
  return new Map(marks.filter(([, mark]) => mark > 0));
}

/** The note that the table was laid with. */
export const noteIn = ({ rules }: TableContents): string | undefined => rules.get(REFUSE)?.[0];

/** The groups that were not there, or not so. */
export async function applyGroups(
  netns: Netns,
  table: string,
  scheme: Scheme,
  groups: readonly Group[],
): Promise<readonly Group[]> {
  if (groups.length === 0) {
    await removeTable(netns, nft.FAMILY.inet, table);
    return [];
  }
  const writer = new TableWriter(nft.FAMILY.inet, table);
  const found = readTable(netns, nft.FAMILY.inet, table, Object.keys(scheme.maps));
  const isWhole = found !== undefined && hasBase(found, scheme);
  const now = isWhole ? found : EMPTY;
  const changed = groups.filter((group) => !isThere(now, group));
  const messages = changes(writer, now, Object.keys(scheme.maps), groups, changed, (group) => turned(netns, group));
  if (isWhole) {
    if (messages.length > 0) await changeTable(netns, table, messages);
    return changed;
  }
  const contents = [...baseOf(writer, scheme), ...messages];
  // Laid anew as a whole where something of it is gone: connections do not notice. A removal takes the kernel some 12 ms more.
  const anew = [writer.addTable(), writer.deleteTable(), writer.addTable()];
  const isNew = found === undefined && (await addedTable(netns, table, [writer.addNewTable(), ...contents]));
  if (!isNew) await changeTable(netns, table, [...anew, ...contents]);
  return changed;
}

/** False where there is a table of the name, of which something is missing. */
async function addedTable(netns: Netns, table: string, messages: readonly Message[]): Promise<boolean> {
  try {
    await changeTable(netns, table, messages);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return false;
    throw error;
  }
}

const EMPTY: TableContents = { rules: new Map(), elements: new Map() };

function hasBase({ rules }: TableContents, { chains }: Scheme): boolean {
  if (rules.get(REFUSE)?.length !== REFUSALS.length) return false;
  return Object.entries(chains).every(([name, chain]) => rules.get(name)?.length === chain.rules.length);
}

const TCP = 6;
const NONE = Buffer.alloc(4);
/** A service without members is refused, and not waited for. */
const REFUSALS: readonly (readonly Buffer[])[] = [
  [nft.loadMeta(nft.META.protocol), nft.equals(Buffer.from([TCP])), nft.refuse('reset')],
  // All that comes here is new. But the kernel tracks a family, and asks our chains, only while some rule needs that.
  [nft.loadTracked(nft.CT.state), nft.masked(nft.CT_NEW), nft.differs(NONE), nft.refuse('icmp')],
];

function baseOf(writer: TableWriter, { maps, chains, note }: Scheme): Message[] {
  return [
    writer.addChain(REFUSE),
    ...REFUSALS.map((rule) => writer.addRule(REFUSE, rule, note)),
    ...Object.entries(maps).map(([name, { keyType, keyLength }]) => writer.addVerdictMap(name, keyType, keyLength)),
    ...Object.entries(chains).flatMap(([name, { hook, rules }]) => [
      writer.addChain(name, hook),
      ...rules.map((rule) => writer.addRule(name, rule)),
    ]),
  ];
}

const familiesOf = ({ targets }: Group): IpFamily[] =>
  ([4, 6] as const).filter((family) => targets.some((target) => familyOf(target) === family));

/** How many rulesOf lays. */
const rulesIn = (group: Group): number => familiesOf(group).length + (group.mark === undefined ? 1 : 4);

function isThere({ rules }: TableContents, group: Group): boolean {
  const there = rules.get(group.chain);
  const signature = signatureOf(group);
  return there?.length === rulesIn(group) && there.every((comment) => comment === signature);
}

/** Sets of maps and chains that are not as wished, in an order in which nothing is removed that is still named. */
function changes(
  writer: TableWriter,
  now: TableContents,
  maps: readonly string[],
  groups: readonly Group[],
  changed: readonly Group[],
  order: (group: Group) => Group,
): Message[] {
  const removed: Message[] = [];
  const added: Message[] = [];
  for (const map of maps) {
    const there = now.elements.get(map) ?? new Map<string, string>();
    const wanted = new Map(groups.flatMap(({ chain, keys }) => (keys[map] ?? []).map((key) => [key.toString('hex'), chain])));
    for (const [key, chain] of there)
      if (wanted.get(key) !== chain) removed.push(writer.deleteElement(map, Buffer.from(key, 'hex')));
    for (const [key, chain] of wanted)
      if (there.get(key) !== chain) added.push(writer.addElement(map, Buffer.from(key, 'hex'), chain));
  }
  const wanted = new Set(groups.map(({ chain }) => chain));
  const gone = [...now.rules.keys()].filter((chain) => chain.startsWith(CHAIN_PREFIX) && !wanted.has(chain));
  return [
    ...removed,
    ...gone.map((chain) => writer.deleteChain(chain)),
    ...changed.flatMap((group, i) => [
      now.rules.has(group.chain) ? writer.flushChain(group.chain) : writer.addChain(group.chain),
      ...rulesOf(writer, order(group), i),
    ]),
    ...added,
  ];
}

/** Begins the names of all groups' chains. */
export const CHAIN_PREFIX = 'to-';

const NUMBERS = { 4: { family: nft.FAMILY.ipv4, type: nft.TYPE.ipv4 }, 6: { family: nft.FAMILY.ipv6, type: nft.TYPE.ipv6 } };

function rulesOf(writer: TableWriter, group: Group, at: number): Message[] {
  const { chain, targets, port } = group;
  const signature = signatureOf(group);
  const choices = familiesOf(group).flatMap((family) => {
    const { family: number, type } = NUMBERS[family];
    const values = targets.filter((target) => familyOf(target) === family).map(octets);
    const isFamily = ofFamily(family);
    const toPort = port === undefined ? [] : [nft.put(nft.REGISTER.second, portOctets(port))];
    return writer.addChoice(
      chain,
      isFamily,
      { id: 1 + 2 * at + (family === 4 ? 0 : 1), dataType: type, values },
      [...toPort, nft.translateTarget(number, port !== undefined)],
      signature,
    );
  });
  const marks = marking(group).map((rule) => writer.addRule(chain, rule, signature));
  return [...marks, ...choices, writer.addRule(chain, [nft.goTo(REFUSE)], signature)];
}

const ofFamily = (family: IpFamily): Buffer[] => [
  nft.loadMeta(nft.META.family),
  nft.equals(Buffer.from([NUMBERS[family].family])),
];
const ofProtocol = (protocol: number): Buffer[] => [nft.loadMeta(nft.META.protocol), nft.equals(Buffer.from([protocol]))];

const UDP = 17;
const TCP_FLAGS_AT = 13;
const SYN = 0x02;
const ACK = 0x10;
/** Of TCP what begins a connection. */
const BEGINS = [
  ...ofProtocol(TCP),
  nft.loadPayload(nft.PAYLOAD_BASE.transport, TCP_FLAGS_AT, 1),
  nft.masked(SYN | ACK),
  nft.equals(Buffer.from([SYN])),
];

/** Four rules. A family that has no targets is left to what comes after them. */
function marking(group: Group): Buffer[][] {
  const { mark } = group;
  if (mark === undefined) return [];
  const [only, ...others] = familiesOf(group);
  const where = only === undefined || others.length > 0 ? [] : ofFamily(only);
  const marks = [BEGINS, ofProtocol(UDP)].map((which) => [...where, ...which, ...nft.setMark(mark), nft.verdict(nft.NF_ACCEPT)]);
  // What has lost its connection is reset, and not shared out anew.
  return [...marks, [...ofProtocol(TCP), nft.goTo(REFUSE)]];
}

export function portOctets(port: number): Buffer {
  const raw = Buffer.alloc(2);
  raw.writeUInt16BE(port);
  return raw;
}

/**
 * Every namespace counts for itself and begins with the first target: in another order in each, lest the first connections of
 * all clients go to one member.
 */
export function turned(netns: Pick<Netns, 'identity'>, group: Group): Group {
  const place = (target: Address): string => digest(netns.identity, group.chain, target).toString('hex', 0, 8);
  const keyed = group.targets.map((target) => ({ target, at: place(target) }));
  return { ...group, targets: keyed.toSorted((a, b) => (a.at < b.at ? -1 : 1)).map(({ target }) => target) };
}
