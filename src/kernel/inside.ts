/**
 * What a namespace still has, asked by single questions: each costs the same however many addresses, routes and rules somebody
 * inside has added.
 */

import { familyOf, KernelError, type Address, type IpFamily } from '../base/index.ts';
import type { Netns } from './contract.ts';
import { encodeLinkGet, parseLink } from './link.ts';
import { isRefusal, NETLINK_ROUTE, NetlinkSocket } from './netlink.ts';
import { encodeRouteGet, parseRouteType, RTN_LOCAL } from './route.ts';

/** Of documentation networks (RFC 5737, RFC 3849): nobody has a route for just these. */
const ELSEWHERE: Readonly<Record<IpFamily, Address>> = { 4: '203.0.113.255' as Address, 6: '2001:db8:ffff::ffff' as Address };

export class Inside implements Disposable {
  readonly #socket: NetlinkSocket;

  constructor(netns: Netns) {
    this.#socket = NetlinkSocket.open(netns, NETLINK_ROUTE);
  }

  /** Whether packets to the address are for the namespace itself. */
  hasAddress(address: Address): boolean {
    return this.#typeOf(address) === RTN_LOCAL;
  }

  /** Whether a link of the name is there and up. Local routes over one that is down say nothing of it: the kernel keeps them. */
  isUp(name: string): boolean {
    const answer = this.#socket.request(encodeLinkGet({ name }), parseLink);
    if (!isRefusal(answer)) return answer.up;
    if (answer.errno === 'ENODEV') return false;
    throw new KernelError('link.get', name, answer.errno, answer.text);
  }

  /** Whether any route leads elsewhere, ours or not; one that refuses on purpose counts. */
  leadsOut(family: IpFamily): boolean {
    return this.#typeOf(ELSEWHERE[family]) !== undefined;
  }

  /** Type of the route to an address; undefined when there is none, 0 when there is one that refuses. */
  #typeOf(address: Address): number | undefined {
    const answer = this.#socket.request(encodeRouteGet(address), parseRouteType);
    if (!isRefusal(answer)) return answer;
    if (answer.errno === 'ENETUNREACH') return undefined;
    // Prohibited, unreachable, a black hole.
    if (['EACCES', 'EHOSTUNREACH', 'EINVAL'].includes(answer.errno)) return 0;
    throw new KernelError('route.get', `IPv${familyOf(address)} ${address}`, answer.errno, answer.text);
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }
}
