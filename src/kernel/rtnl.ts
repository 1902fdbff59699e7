/** The rtnetlink façade on one namespace: lists, lookups and batches. */

import { errnoOf, familyOf, KernelError, type IpFamily } from '../base/index.ts';
import type {
  AddressSpec,
  FdbSpec,
  Link,
  LinkAt,
  LinkFilter,
  LinkSpec,
  NeighbourSpec,
  Netns,
  RouteSpec,
  Rtnl,
  RtnlOp,
  RuleSpec,
  Table,
} from './contract.ts';
import { encodeGroupRemove, encodeLinkAdd, encodeLinkGet, encodeLinkMove, parseLink } from './link.ts';
import { encodeFdbList, encodeNeighbourList, parseFdb, parseNeighbour } from './neighbour.ts';
import type { Message, Refusal } from './messages.ts';
import { isRefusal, NetlinkSocket, NETLINK_ROUTE } from './netlink.ts';
import { describeLink, describeOperation, encodeOperation } from './operations.ts';
import * as route from './route.ts';
import { besideThread, offThread, type Turnstile } from './turnstile.ts';

function matches<S extends object>(entry: S, filter: Partial<S>): boolean {
  return (Object.keys(filter) as (keyof S)[]).every((key) => filter[key] === undefined || entry[key] === filter[key]);
}

const families = (family: IpFamily | undefined): readonly IpFamily[] => (family === undefined ? [4, 6] : [family]);

/** The messages of a batch, and which operation each one belongs to. */
interface Encoded {
  readonly messages: readonly Message[];
  readonly owners: readonly number[];
}

/** Which refusals are failures; undefined: all. */
function failures(ops: readonly RtnlOp[], { owners }: Encoded): ((refused: Refusal) => boolean) | undefined {
  if (ops.every(({ fine }) => fine === undefined)) return undefined;
  return ({ at, errno }) => ops[owners[at] ?? -1]?.fine?.includes(errno) !== true;
}

/**
 * Works of this process that are, or will be, in the kernel's one lock for all links on a pool thread. Deleting many links
 * holds it for tens of milliseconds: a batch on this thread would stop the event loop for as long.
 */
let locked = 0;

function foundLink(at: LinkAt, found: Link | Refusal): Link | undefined {
  if (!isRefusal(found)) return found;
  if (found.errno === 'ENODEV') return undefined;
  throw new KernelError('link.get', describeLink(at), found.errno, found.text);
}

function here(at: LinkAt, link: Link | undefined): Link {
  if (link === undefined) throw new KernelError('link.get', describeLink(at), 'ENODEV', 'no such link');
  return link;
}

class OpenRtnl implements Rtnl {
  readonly link: Rtnl['link'];
  readonly address: Table<AddressSpec>;
  readonly route: Table<RouteSpec>;
  readonly rule: Table<RuleSpec>;
  readonly neighbour: Table<NeighbourSpec>;
  readonly fdb: Table<FdbSpec>;
  readonly #netns: Netns;
  readonly #requests: NetlinkSocket;
  // Of its own, so that a list that fails half-way cannot leave anything in front of a batch's answers.
  #listing: NetlinkSocket | undefined;

  constructor(netns: Netns) {
    this.#netns = netns;
    this.#requests = NetlinkSocket.open(netns, NETLINK_ROUTE);
    this.link = {
      get: async (at) => here(at, await this.#find(at)),
      find: (at) => this.#find(at),
      add: (spec) => this.#add(spec),
      list: async (filter = {}) => this.#list(encodeLinkGet(), 'links', parseLink, filter satisfies LinkFilter as Partial<Link>),
      move: (at, to, name) => this.#move(at, to, name),
    };
    this.address = {
      list: async (filter = {}) =>
        this.#list(
          route.encodeAddressList(filter.prefix === undefined ? undefined : familyOf(filter.prefix), filter.link),
          'addresses',
          route.parseAddressMessage,
          filter,
        ),
    };
    this.route = { list: async (filter = {}) => this.#routes(filter) };
    this.rule = {
      list: async (filter = {}) =>
        families(filter.family).flatMap((family) => this.#list(route.encodeRuleList(family), 'rules', route.parseRule, filter)),
    };
    this.neighbour = {
      list: async (filter = {}) =>
        families(filter.address === undefined ? undefined : familyOf(filter.address)).flatMap((family) =>
          this.#list(encodeNeighbourList(family, filter.link), 'neighbours', parseNeighbour, filter),
        ),
    };
    this.fdb = {
      list: async (filter = {}) => this.#list(encodeFdbList(filter.link), 'forwarding entries', parseFdb, filter),
    };
  }

  /** Of the namespace. */
  get identity(): string {
    return this.#requests.netns;
  }

  async batch(ops: readonly RtnlOp[]): Promise<void> {
    if (locked > 0) return this.#batch(ops, besideThread);
    const encoded = this.#encode(ops);
    this.#check(ops, encoded, this.#requests.execute(encoded.messages, failures(ops, encoded)));
  }

  batchOffThread(ops: readonly RtnlOp[]): Promise<void> {
    return this.#batch(ops, offThread);
  }

  #batch(ops: readonly RtnlOp[], way: Turnstile): Promise<void> {
    return this.#offThread(async (socket) => {
      const encoded = this.#encode(ops);
      this.#check(ops, encoded, await socket.executeOffThread(encoded.messages, failures(ops, encoded)));
    }, way);
  }

  /** Removes every link of a group on a pool thread. True when there was one. */
  removeGroup(group: number): Promise<boolean> {
    return this.#offThread(async (socket) => {
      const refused = await socket.executeOffThread([encodeGroupRemove(group)]);
      if (refused?.errno === 'ENODEV') return false;
      if (refused !== undefined) throw new KernelError('link.remove', `group ${group}`, refused.errno, refused.text);
      return true;
    });
  }

  [Symbol.dispose](): void {
    this.#requests[Symbol.dispose]();
    this.#listing?.[Symbol.dispose]();
  }

  /** Opened by the first list: a join needs none. */
  get #lists(): NetlinkSocket {
    this.#listing ??= NetlinkSocket.open(this.#netns, NETLINK_ROUTE);
    return this.#listing;
  }

  /** On a socket for this work only, gone after it: while it is open it keeps the namespace alive. */
  async #offThread<T>(work: (socket: NetlinkSocket) => Promise<T>, way: Turnstile = offThread): Promise<T> {
    locked++;
    try {
      return await way.pass(async () => {
        using socket = NetlinkSocket.open(this.#netns, NETLINK_ROUTE);
        return await work(socket);
      });
    } finally {
      locked--;
    }
  }

  #list<S extends object>(message: Message, what: string, parse: (body: Buffer) => S | undefined, filter: Partial<S>): S[] {
    try {
      return this.#lists.dump(message, what, (body) => {
        const entry = parse(body);
        return entry !== undefined && matches(entry, filter) ? entry : undefined;
      });
    } catch (error) {
      // The kernel looks for the link that is asked about: what is on one that has just gone is nothing.
      if ('link' in filter && errnoOf(error) === 'ENODEV') return [];
      throw error;
    }
  }

  #routes(filter: Partial<RouteSpec>): RouteSpec[] {
    return families(filter.family).flatMap((family) =>
      this.#lists
        .dump(route.encodeRouteList(family), 'routes', route.parseRoute)
        .flat()
        .filter((entry) => matches(entry, filter)),
    );
  }

  /** The kernel takes the lock for a look too. */
  async #find(at: LinkAt): Promise<Link | undefined> {
    if (locked === 0) return this.#findLink(at);
    const found = await this.#offThread((socket) => socket.requestOffThread(encodeLinkGet(at), parseLink), besideThread);
    return foundLink(at, found);
  }

  async #add(spec: LinkSpec): Promise<Link | undefined> {
    const message = encodeLinkAdd(spec);
    const told =
      locked === 0
        ? this.#requests.change(message, parseLink)
        : await this.#offThread((socket) => socket.changeOffThread(message, parseLink), besideThread);
    if (told === undefined || !isRefusal(told)) return told;
    throw new KernelError('link.add', describeOperation({ op: 'link.add', spec }), told.errno, told.text);
  }

  #findLink(at: LinkAt): Link | undefined {
    return foundLink(at, this.#requests.request(encodeLinkGet(at), parseLink));
  }

  #linkAt(at: LinkAt): Link {
    return here(at, this.#findLink(at));
  }

  async #move(at: LinkAt, to: Netns, name?: string): Promise<void> {
    await this.#offThread(async (socket) => {
      const { index } = this.#linkAt(at);
      const refused = await socket.executeOffThread([encodeLinkMove(index, to, name)]);
      if (refused !== undefined) throw new KernelError('link.move', describeLink(at), refused.errno, refused.text);
    });
  }

  #encode(ops: readonly RtnlOp[]): Encoded {
    const messages: Message[] = [];
    const owners: number[] = [];
    for (const [i, operation] of ops.entries()) {
      for (const message of encodeOperation(this.#renameByIndex(operation))) {
        messages.push(message);
        owners.push(i);
      }
    }
    return { messages, owners };
  }

  /** A name in a change is either the link's or its new one: with both, the kernel needs the index. */
  #renameByIndex(operation: RtnlOp): RtnlOp {
    if (operation.op !== 'link.set' || operation.change.name === undefined || 'index' in operation.at) return operation;
    return { ...operation, at: { index: this.#linkAt(operation.at).index } };
  }

  #check(ops: readonly RtnlOp[], { owners }: Encoded, refused: Refusal | undefined): void {
    if (refused === undefined) return;
    const at = owners[refused.at] ?? ops.length - 1;
    const operation = ops[at];
    if (operation === undefined) throw new KernelError('batch', 'of nothing', refused.errno, refused.text);
    const position = ops.length === 1 ? '' : ` (operation ${at + 1} of ${ops.length})`;
    throw new KernelError(operation.op, `${describeOperation(operation)}${position}`, refused.errno, refused.text);
  }
}

/** Opens the façade; its sockets keep the namespace alive until it is disposed. */
export const openRtnl = (netns: Netns): OpenRtnl => new OpenRtnl(netns);
