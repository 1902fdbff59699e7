/** What IPVS should have for the services of a namespace, and the change towards it. Pure. */

import { createHash } from 'node:crypto';
import { type Address, familyOf } from '../base/index.ts';
import type { IpvsChange, IpvsService } from '../kernel/index.ts';
import type { BalancedService } from './contract.ts';

/** Marks of one daemon begin with the first half of its tag, so that those of others are left alone. */
const OWNER_DIGITS = 4;
const MOST = 0xffff;
/** Set in all of them: away from those that people give by hand. */
const HIGH = 0x8000;

/** The begin of all marks of the daemon with the tag. */
const ownerOf = (tag: string): number => (Number.parseInt(tag.slice(0, OWNER_DIGITS), 16) | HIGH) * (MOST + 1);

/** Whether the daemon with the tag gives such a mark. */
export const isOwn = (tag: string, mark: number): boolean => mark > ownerOf(tag) && mark <= ownerOf(tag) + MOST;

/**
 * A mark for each service, by id: the one that it has, else one that comes from its id, or the next one that nobody has. At most
 * 65,535 services.
 */
export function marksFor(tag: string, ids: readonly string[], now: ReadonlyMap<string, number>): Map<string, number> {
  const taken = new Set<number>();
  const marks = new Map<string, number>();
  const give = (id: string, mark: number): void => {
    taken.add(mark);
    marks.set(id, mark);
  };
  for (const id of ids) {
    const mark = now.get(id);
    if (mark !== undefined && isOwn(tag, mark) && !taken.has(mark)) give(id, mark);
  }
  for (const id of ids.filter((one) => !marks.has(one))) {
    const start = createHash('sha256').update(id).digest().readUInt16BE();
    for (let i = 0; i < MOST && !marks.has(id); i++) {
      const mark = ownerOf(tag) + 1 + ((start + i) % MOST);
      if (!taken.has(mark)) give(id, mark);
    }
  }
  return marks;
}

/** One of IPVS for each family of a service that has members of it: those that serve in the order of `serving`. */
export function ipvsOf({ members }: BalancedService, mark: number, serving: readonly Address[]): IpvsService[] {
  const draining = members.filter(({ state }) => state === 'draining').flatMap(({ addresses }) => addresses);
  const weights = [...draining.map((address) => [address, 0] as const), ...serving.map((address) => [address, 1] as const)];
  return ([4, 6] as const)
    .map((family) => ({ family, mark, destinations: new Map(weights.filter(([address]) => familyOf(address) === family)) }))
    .filter(({ destinations }) => destinations.size > 0);
}

const keyOf = ({ family, mark }: IpvsService): string => `${family}-${mark}`;

/** `first`: before packets bear the marks; `last`: when those of what is gone are given no more. */
export function ipvsChanges(
  now: readonly IpvsService[],
  wanted: readonly IpvsService[],
): { readonly first: readonly IpvsChange[]; readonly last: readonly IpvsChange[] } {
  const there = new Map(now.map((service) => [keyOf(service), service]));
  const keys = new Set(wanted.map(keyOf));
  const first = wanted.flatMap((service): IpvsChange[] => {
    const found = there.get(keyOf(service));
    const id = { family: service.family, mark: service.mark };
    const destinations = [...service.destinations].flatMap(([to, weight]): IpvsChange[] => {
      const has = found?.destinations.get(to);
      if (has === weight) return [];
      return [{ op: has === undefined ? 'destination.add' : 'destination.weigh', service: id, to, weight }];
    });
    return found === undefined ? [{ op: 'service.add', service: id }, ...destinations] : destinations;
  });
  const last = now.flatMap((service): IpvsChange[] => {
    const id = { family: service.family, mark: service.mark };
    if (!keys.has(keyOf(service))) return [{ op: 'service.remove', service: id }];
    const wish = wanted.find((one) => keyOf(one) === keyOf(service));
    return [...service.destinations.keys()]
      .filter((to) => wish?.destinations.has(to) !== true)
      .map((to) => ({ op: 'destination.remove', service: id, to }));
  });
  return { first, last };
}
