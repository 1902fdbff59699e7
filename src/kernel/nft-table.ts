/** nf_tables over nfnetlink: messages about a table, transactions, and what a table has. Expressions are nft-wire.ts. */

import { CnmError, errnoOf, KernelError } from '../base/index.ts';
import { Attributes, attribute, nest, text, u32 } from './attributes.ts';
import type { Netns } from './contract.ts';
import type { Message, Refusal } from './messages.ts';
import { isRefusal, NETLINK_NETFILTER, NetlinkSocket, NLM_F_CREATE, NLM_F_EXCL } from './netlink.ts';
import {
  DATA,
  LIST_ELEMENT,
  NAMELESS,
  NF_ACCEPT,
  NFT_GOTO,
  nextOf,
  number,
  translateBy,
  TYPE,
  VERDICT,
  value,
  verdictOf,
} from './nft-wire.ts';
import { offThread } from './turnstile.ts';

const NLM_F_APPEND = 0x800;
const NFNL_SUBSYS_NFTABLES = 10;
const NFNL_MSG_BATCH_BEGIN = 0x10;
const NFNL_MSG_BATCH_END = 0x11;
/** Attribute of the begin (NFNL_BATCH_GENID). */
const NFNL_BATCH_GENERATION = 1;
const MSG = {
  newTable: 0,
  getTable: 1,
  deleteTable: 2,
  newChain: 3,
  getChain: 4,
  deleteChain: 5,
  newRule: 6,
  getRule: 7,
  deleteRule: 8,
  newSet: 9,
  newElement: 12,
  getElement: 13,
  deleteElement: 14,
  getGeneration: 16,
} as const;
const TABLE_NAME = 1;
const CHAIN = { table: 1, name: 3, hook: 4, policy: 5, uses: 6, type: 7 } as const;
const HOOK_AT = { number: 1, priority: 2 } as const;
const RULE = { table: 1, chain: 2, expressions: 4, userData: 7 } as const;
const SET = {
  table: 1,
  name: 2,
  flags: 3,
  keyType: 4,
  keyLength: 5,
  dataType: 6,
  dataLength: 7,
  id: 10,
  userData: 13,
} as const;
const SET_ANONYMOUS = 1;
const SET_CONSTANT = 2;
const SET_MAP = 8;
const ELEMENTS = { table: 1, set: 2, list: 3, setId: 4 } as const;
const ELEMENT = { key: 1, data: 2 } as const;
/** A list of elements is one attribute, whose length has 16 bits. */
const MAX_LIST_OCTETS = 0xffff - 4;
/** Type of the data of a map of verdicts. */
const VERDICTS = 0xffffff00;

/** struct nfgenmsg: unspecified family. */
const GENERIC = Buffer.alloc(4);

// Messages

const message = (type: number, family: number, flags: number, ...attributes: readonly Buffer[]): Message => ({
  type: (NFNL_SUBSYS_NFTABLES << 8) | type,
  flags,
  body: Buffer.concat([Buffer.from([family, 0, 0, 0]), ...attributes]),
});

function border(type: number, ...attributes: readonly Buffer[]): Message {
  const body = Buffer.alloc(4);
  body.writeUInt16BE(NFNL_SUBSYS_NFTABLES, 2);
  return { type, body: Buffer.concat([body, ...attributes]) };
}

/** All of it or nothing. */
export const transaction = (...messages: readonly Message[]): Message[] => [
  border(NFNL_MSG_BATCH_BEGIN),
  ...messages,
  border(NFNL_MSG_BATCH_END),
];

/** The same, refused by ERESTART where rules of the namespace have changed since the generation. */
const transactionAt = (generation: number, messages: readonly Message[]): Message[] => [
  border(NFNL_MSG_BATCH_BEGIN, number(NFNL_BATCH_GENERATION, generation)),
  ...messages,
  border(NFNL_MSG_BATCH_END),
];

/** What a nameless map's number is turned to in its rule. */
interface Choice {
  /** Of the map, in its transaction. */
  readonly id: number;
  readonly dataType: number;
  readonly values: readonly Buffer[];
}

/** One table's messages. Of each pair the second takes away what the first one makes. */
export class TableWriter {
  readonly #family: number;
  readonly #name: string;

  constructor(family: number, name: string) {
    this.#family = family;
    this.#name = name;
  }

  addTable(): Message {
    return this.#message(MSG.newTable, NLM_F_CREATE);
  }

  /** Refused by EEXIST where there is one. */
  addNewTable(): Message {
    return this.#message(MSG.newTable, NLM_F_CREATE | NLM_F_EXCL);
  }

  deleteTable(): Message {
    return this.#message(MSG.deleteTable, 0);
  }

  /** Its attributes follow the family, as in all messages. */
  askTable(): Message {
    return this.#message(MSG.getTable, 0);
  }

  /** Without a hook it is only gone to from others. */
  addChain(
    name: string,
    hook?: { readonly type: 'nat' | 'filter' | 'route'; readonly at: number; readonly priority: number },
  ): Message {
    const hooked =
      hook === undefined
        ? []
        : [
            nest(CHAIN.hook, number(HOOK_AT.number, hook.at), number(HOOK_AT.priority, hook.priority >>> 0)),
            number(CHAIN.policy, NF_ACCEPT),
            text(CHAIN.type, hook.type),
          ];
    return this.#message(MSG.newChain, NLM_F_CREATE, text(CHAIN.name, name), ...hooked);
  }

  deleteChain(name: string): Message {
    return this.#message(MSG.deleteChain, 0, text(CHAIN.name, name));
  }

  addRule(chain: string, expressions: readonly Buffer[], comment?: string): Message {
    return this.#message(
      MSG.newRule,
      NLM_F_CREATE | NLM_F_APPEND,
      text(RULE.chain, chain),
      nest(RULE.expressions, ...expressions),
      ...(comment === undefined ? [] : [attribute(RULE.userData, commentData(comment))]),
    );
  }

  /** Read by chainUses. */
  askChain(name: string): Message {
    return this.#message(MSG.getChain, 0, text(CHAIN.name, name));
  }

  /** All rules of the chain. */
  flushChain(chain: string): Message {
    return this.#message(MSG.deleteRule, 0, text(RULE.chain, chain));
  }

  addVerdictMap(name: string, keyType: number, keyLength: number): Message {
    return this.#message(
      MSG.newSet,
      NLM_F_CREATE,
      text(SET.name, name),
      number(SET.flags, SET_MAP),
      number(SET.keyType, keyType),
      number(SET.keyLength, keyLength),
      number(SET.dataType, VERDICTS),
      number(SET.dataLength, 0),
      number(SET.id, 0x10000 + keyLength),
    );
  }

  /** The key leads to the chain from now on. */
  addElement(map: string, key: Buffer, chain: string): Message {
    const element = nest(LIST_ELEMENT, nest(ELEMENT.key, value(key)), nest(ELEMENT.data, verdictOf(NFT_GOTO, chain)));
    return this.#message(MSG.newElement, NLM_F_CREATE, text(ELEMENTS.set, map), nest(ELEMENTS.list, element));
  }

  deleteElement(map: string, key: Buffer): Message {
    const element = nest(LIST_ELEMENT, nest(ELEMENT.key, value(key)));
    return this.#message(MSG.deleteElement, 0, text(ELEMENTS.set, map), nest(ELEMENTS.list, element));
  }

  /**
   * A rule that takes the values in turn into the first register, and goes on by `then`. Its map goes with the rule. A
   * rule's turns begin with the first value. As many values as the transaction has room for.
   */
  addChoice(chain: string, before: readonly Buffer[], choice: Choice, then: readonly Buffer[], comment: string): Message[] {
    const { id, dataType, values } = choice;
    const map = [text(SET.name, NAMELESS), number(SET.id, id)];
    const elements = values.map((data, i) =>
      nest(LIST_ELEMENT, nest(ELEMENT.key, value(u32(i))), nest(ELEMENT.data, value(data))),
    );
    return [
      this.#message(
        MSG.newSet,
        NLM_F_CREATE,
        ...map,
        number(SET.flags, SET_ANONYMOUS | SET_CONSTANT | SET_MAP),
        number(SET.keyType, TYPE.integer),
        number(SET.keyLength, 4),
        number(SET.dataType, dataType),
        number(SET.dataLength, values[0]?.length ?? 0),
        attribute(SET.userData, ORDERS),
      ),
      // A map takes any number of such messages until a rule has it.
      ...listsOf(elements).map((list) =>
        this.#message(
          MSG.newElement,
          NLM_F_CREATE,
          text(ELEMENTS.set, NAMELESS),
          number(ELEMENTS.setId, id),
          nest(ELEMENTS.list, ...list),
        ),
      ),
      this.addRule(chain, [...before, nextOf(values.length), translateBy(id), ...then], comment),
    ];
  }

  /** The table's rules. */
  askRules(): Message {
    return this.#message(MSG.getRule, 0);
  }

  askElements(map: string): Message {
    return this.#message(MSG.getElement, 0, text(ELEMENTS.set, map));
  }

  #message(type: number, flags: number, ...attributes: readonly Buffer[]): Message {
    // The table's name is the first attribute of every message.
    return message(type, this.#family, flags, text(TABLE_NAME, this.#name), ...attributes);
  }
}

/** The elements in their order, as lists that one attribute holds each. */
function listsOf(elements: readonly Buffer[]): Buffer[][] {
  const lists: Buffer[][] = [];
  let room = 0;
  for (const element of elements) {
    if (element.length > room) {
      lists.push([]);
      room = MAX_LIST_OCTETS;
    }
    lists.at(-1)?.push(element);
    room -= element.length;
  }
  return lists;
}

/** How many rules a chain has, and how many things lead to it. */
export const chainUses = (body: Buffer): number => new Attributes(body, GENERIC.length).bytes(CHAIN.uses)?.readUInt32BE() ?? 0;

/** Tells the tool `nft` the order of octets in keys (the host's, 1) and data (the network's, 2) of a map. */
const ORDERS = Buffer.from([0, 4, 1, 0, 0, 0, 1, 4, 2, 0, 0, 0]);

/** A rule's comment, as the tool `nft` writes and shows it. */
const commentData = (comment: string): Buffer => Buffer.from([0, comment.length + 1, ...Buffer.from(comment), 0]);

/** What a table has. */
export interface TableContents {
  /** By chain: the comment of each of its rules. */
  readonly rules: ReadonlyMap<string, readonly (string | undefined)[]>;
  /** By map: the chain that each key, in hex, leads to. */
  readonly elements: ReadonlyMap<string, ReadonlyMap<string, string>>;
}

/** What the table and these maps of it have; undefined where the table, a map or nf_tables is not there. */
export function readTable(netns: Netns, family: number, name: string, maps: readonly string[]): TableContents | undefined {
  using socket = findNetfilter(netns);
  if (socket === undefined) return undefined;
  const writer = new TableWriter(family, name);
  const rules = new Map<string, (string | undefined)[]>();
  try {
    const elements = new Map(
      maps.map((map) => [map, new Map(socket.dump(writer.askElements(map), `map ${map}`, parseElements).flat())]),
    );
    for (const [chain, comment] of socket.dump(writer.askRules(), `table ${name}`, parseRule)) {
      const before = rules.get(chain);
      if (before === undefined) rules.set(chain, [comment]);
      else before.push(comment);
    }
    return { rules, elements };
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

function parseRule(body: Buffer): [chain: string, comment: string | undefined] {
  const rule = new Attributes(body, GENERIC.length);
  const data = rule.bytes(RULE.userData);
  const comment = data === undefined || data[0] !== 0 ? undefined : data.toString('utf8', 2, 1 + (data[1] ?? 0));
  return [rule.text(RULE.chain) ?? '', comment];
}

function parseElements(body: Buffer): [key: string, chain: string][] {
  const list = new Attributes(body, GENERIC.length).bytes(ELEMENTS.list);
  return Attributes.each(list ?? Buffer.alloc(0)).map((raw) => {
    const element = new Attributes(raw);
    const key = element.nested(ELEMENT.key).bytes(DATA.value);
    return [key?.toString('hex') ?? '', element.nested(ELEMENT.data).nested(DATA.verdict).text(VERDICT.chain) ?? ''];
  });
}

/**
 * Does all of it or nothing, off this thread: a removal makes the kernel wait some 12 ms. With a `generation` only where nobody
 * has changed rules of the namespace since (nftGeneration): ERESTART otherwise. Throws kernel_lacks, KernelError.
 */
export async function changeTable(netns: Netns, name: string, messages: readonly Message[], generation?: number): Promise<void> {
  const batch = generation === undefined ? transaction(...messages) : transactionAt(generation, messages);
  const refused = await offThread.pass(async () => {
    using socket = openNetfilter(netns);
    return await socket.executeTransactionOffThread(batch);
  });
  if (refused !== undefined) throw refusedTable(name, refused);
}

/**
 * Accepts what is gone already, a kernel without nf_tables, and a table of the name that a process owns (NFT_TABLE_F_OWNER), which
 * is the process's and goes with it: whoever is inside must not keep us from leaving. Works off this thread: the kernel takes some 12 ms.
 */
export async function removeTable(netns: Netns, family: number, name: string): Promise<void> {
  const refused = await offThread.pass(async () => {
    using socket = findNetfilter(netns);
    return await socket?.executeTransactionOffThread(transaction(new TableWriter(family, name).deleteTable()));
  });
  if (refused !== undefined && ![...LACKING, OWNED].includes(refused.errno)) throw refusedTable(name, refused);
}

/** What the kernel answers to others than the owner of a table. */
const OWNED = 'EPERM';

// Sockets

export function openNetfilter(netns: Netns): NetlinkSocket {
  try {
    return NetlinkSocket.open(netns, NETLINK_NETFILTER);
  } catch (error) {
    if (errnoOf(error) === 'EPROTONOSUPPORT') throw lacksNftables();
    throw error;
  }
}

/** Undefined where the kernel has no nf_tables. */
export function findNetfilter(netns: Netns): NetlinkSocket | undefined {
  try {
    return openNetfilter(netns);
  } catch (error) {
    if (error instanceof CnmError && error.code === 'kernel_lacks') return undefined;
    throw error;
  }
}

const lacksNftables = (): CnmError =>
  new CnmError(
    'kernel_lacks',
    'the kernel lacks nf_tables, or a part of it that is needed (nf_tables, nft_limit, nft_nat, nft_numgen, nft_reject)',
  );

/** nfnetlink answers so when nobody handles the subsystem, a chain type or an expression. */
const LACKING = ['EOPNOTSUPP', 'ENOENT', 'EAFNOSUPPORT'];

/** The error that a refused transaction is. */
export const refusedTable = (name: string, { errno, text: words }: Refusal): Error =>
  LACKING.includes(errno) ? lacksNftables() : new KernelError('nft', `table ${name}`, errno, words);

const GENERATION_ID = 1;

/** Counts the changes of all nf_tables rules of the namespace, by whomever; undefined where the kernel has no nf_tables. */
export function nftGeneration(netns: Netns): number | undefined {
  using socket = findNetfilter(netns);
  const answer = socket?.request(message(MSG.getGeneration, 0, 0), (body) =>
    new Attributes(body, GENERIC.length).bytes(GENERATION_ID)?.readUInt32BE(),
  );
  return isRefusal(answer) ? undefined : answer;
}

/** What the generation is after one more change: 0 is none. */
export const nextNftGeneration = (generation: number): number => (generation + 1) >>> 0 || 1;
