/** A batch's operations as netlink messages, and their names in errors. */

import type { LinkAt, RtnlOp } from './contract.ts';
import { encodeLinkAdd, encodeLinkChange, encodeLinkRemove } from './link.ts';
import {
  encodeFdbRemove,
  encodeFdbReplace,
  encodeNeighbourChange,
  encodeNeighbourRemove,
  encodeNeighbourReplace,
} from './neighbour.ts';
import type { Message } from './messages.ts';
import * as route from './route.ts';

/** One operation may need several messages, in order. A renaming must be by index. */
export function encodeOperation(operation: RtnlOp): readonly Message[] {
  switch (operation.op) {
    case 'link.add':
      return [encodeLinkAdd(operation.spec)];
    case 'link.set':
      return encodeLinkChange(operation.at, operation.change);
    case 'link.remove':
      return [encodeLinkRemove(operation.at)];
    case 'address.add':
      return [route.encodeAddressAdd(operation.spec)];
    case 'address.remove':
      return [route.encodeAddressRemove(operation.spec)];
    case 'route.add':
      return [route.encodeRouteAdd(operation.spec)];
    case 'route.replace':
      return [route.encodeRouteReplace(operation.spec)];
    case 'route.remove':
      return [route.encodeRouteRemove(operation.spec)];
    case 'rule.add':
      return [route.encodeRuleAdd(operation.spec)];
    case 'rule.remove':
      return [route.encodeRuleRemove(operation.spec)];
    case 'neighbour.replace':
      return [encodeNeighbourReplace(operation.spec)];
    case 'neighbour.change':
      return [encodeNeighbourChange(operation.spec)];
    case 'neighbour.remove':
      return [encodeNeighbourRemove(operation.spec)];
    case 'fdb.replace':
      return [encodeFdbReplace(operation.spec)];
    case 'fdb.remove':
      return [encodeFdbRemove(operation.spec)];
  }
}

export const describeLink = (at: LinkAt): string => ('name' in at ? at.name : `link ${at.index}`);

/** What an operation is about, such as `172.18.0.2/16 on link 7`. */
export function describeOperation(operation: RtnlOp): string {
  switch (operation.op) {
    case 'link.add':
      return `${operation.spec.kind} ${operation.spec.name}`;
    case 'link.set':
    case 'link.remove':
      return describeLink(operation.at);
    case 'address.add':
    case 'address.remove':
      return `${operation.spec.prefix} on link ${operation.spec.link}`;
    case 'route.add':
    case 'route.replace':
    case 'route.remove': {
      const { destination, gateway, link, family } = operation.spec;
      const to = destination ?? `default IPv${family}`;
      return `${to}${gateway === undefined ? '' : ` via ${gateway}`}${link === undefined ? '' : ` on link ${link}`}`;
    }
    case 'rule.add':
    case 'rule.remove':
      return `IPv${operation.spec.family} priority ${operation.spec.priority} table ${operation.spec.table}`;
    case 'neighbour.replace':
    case 'neighbour.change':
    case 'neighbour.remove':
      return `${operation.spec.address} on link ${operation.spec.link}`;
    case 'fdb.replace':
    case 'fdb.remove':
      return `${operation.spec.mac} on link ${operation.spec.link}`;
  }
}
