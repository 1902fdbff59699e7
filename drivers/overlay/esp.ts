/** What encrypted networks ask of ESP on this host: a state for each direction and key, and policies that let nothing by. Pure. */

import { hkdfSync } from 'node:crypto';
import { type Address, addressBytes, familyOf } from '../../src/base/index.ts';
import type { TransportKeys } from '../../src/driver/index.ts';
import { ESP_SECRET_SIZE, type EspChange, type EspPolicy, type EspState, type EspView } from '../../src/kernel/index.ts';

/** Octets by which a packet grows: ESP header, IV, trailer and check value; what is padded is rounded away below. */
export const ESP_OVERHEAD = 26;
const ESP_BLOCK = 4;

/** The largest packet that fits a room, octets (spec 07 D6). */
export const espMtu = (room: number): number => Math.floor((room - ESP_OVERHEAD) / ESP_BLOCK) * ESP_BLOCK;

/** What no packet passes that has no policy of its own, and those; a lower number goes first. */
const PRIORITY = { shut: 0x5000_0000, open: 0x4000_0000 } as const;
const PRIORITY_MASK = 0xf000_0000;
const OWNER_MASK = 0x0fff_ffff;

export interface Secured {
  /** This host's underlay address. */
  readonly own: Address;
  /** UDP ports of the tunnels of encrypted networks that have somebody here. */
  readonly ports: ReadonlySet<number>;
  readonly hosts: readonly Address[];
  /** Undefined: not told yet. */
  readonly keys: TransportKeys | undefined;
  /** Tells this daemon's from others'. */
  readonly owner: number;
}

export const priorityOf = (kind: keyof typeof PRIORITY, owner: number): number => (PRIORITY[kind] | (owner & OWNER_MASK)) >>> 0;

export const isOwnPriority = (priority: number, owner: number): boolean =>
  (priority & OWNER_MASK) === (owner & OWNER_MASK) &&
  Object.values(PRIORITY).includes(((priority & PRIORITY_MASK) >>> 0) as (typeof PRIORITY)['shut']);

const wide = (address: Address): Buffer => {
  const raw = Buffer.from(addressBytes(address));
  return raw.length === 16 ? raw : Buffer.concat([Buffer.alloc(10), Buffer.from([0xff, 0xff]), raw]);
};

const FNV = { offset: 0x811c9dc5, prime: 0x0100_0193 } as const;
const RESERVED_SPIS = 256;

/** Names the state of a direction and key: FNV-1a of source, tag and destination (spec 07 X2). */
export function spiOf(src: Address, dst: Address, tag: number): number {
  const number = Buffer.alloc(4);
  number.writeUInt32BE(tag);
  let hash: number = FNV.offset;
  for (const octet of Buffer.concat([wide(src), number, wide(dst)])) hash = Math.imul(hash ^ octet, FNV.prime) >>> 0;
  return hash < RESERVED_SPIS ? hash + RESERVED_SPIS : hash;
}

/** Each direction between two hosts has a key of its own (HKDF, RFC 5869): no two of them ever use a nonce of one key. */
function stateOf(src: Address, dst: Address, { tag, secret }: TransportKeys['keys'][number], owner: number): EspState {
  const spi = spiOf(src, dst, tag);
  const info = Buffer.concat([Buffer.from('patchbay overlay esp'), wide(src), wide(dst)]);
  const derived = Buffer.from(hkdfSync('sha256', secret, '', info, ESP_SECRET_SIZE));
  return { src, dst, spi, reqid: owner, secret: derived };
}

interface EspWish {
  readonly states: readonly EspState[];
  readonly policies: readonly EspPolicy[];
}

/** Undefined keys: only what shuts the ports. */
export function espWish({ own, ports, hosts, keys, owner }: Secured): EspWish {
  const family = familyOf(own);
  const shut = [...ports].flatMap((port): EspPolicy[] => [
    { direction: 'out', family, port, priority: priorityOf('shut', owner) },
    { direction: 'in', family, port, priority: priorityOf('shut', owner), through: { reqid: owner } },
  ]);
  const primary = keys?.keys.find(({ tag }) => tag === keys.primary);
  const others = [...new Set(hosts)].filter((host) => host !== own && familyOf(host) === family);
  if (ports.size === 0 || keys === undefined || primary === undefined) return { states: [], policies: shut };
  const states = others.flatMap((host) => [
    ...keys.keys.map((key) => stateOf(host, own, key, owner)),
    stateOf(own, host, primary, owner),
  ]);
  const open = [...ports].flatMap((port) =>
    others.map((host): EspPolicy => {
      const through = { reqid: owner, spi: spiOf(own, host, primary.tag) };
      return { direction: 'out', family, port, src: own, dst: host, priority: priorityOf('open', owner), through };
    }),
  );
  return { states, policies: [...shut, ...open] };
}

const stateKey = ({ src, dst, spi }: Pick<EspState, 'src' | 'dst' | 'spi'>): string => `${src} ${dst} ${spi}`;
const policyKey = ({ direction, family, port, src, dst }: EspPolicy): string => [direction, family, port, src, dst].join(' ');
const isSamePolicy = (a: EspPolicy, b: EspPolicy): boolean =>
  a.priority === b.priority && a.through?.reqid === b.through?.reqid && a.through?.spi === b.through?.spi;

/**
 * From what is there to what is wished: states first, then policies that use them, then what nobody wishes any more. `isWhole`: false
 * removes nothing, as while the keys are not known.
 */
export function espChanges(view: EspView, wish: EspWish, isWhole: boolean): EspChange[] {
  const states = new Set(view.states.map(stateKey));
  const policies = new Map(view.policies.map((policy) => [policyKey(policy), policy]));
  const wanted = { states: new Set(wish.states.map(stateKey)), policies: new Set(wish.policies.map(policyKey)) };
  const put = wish.policies.filter((policy) => {
    const there = policies.get(policyKey(policy));
    return there === undefined || !isSamePolicy(there, policy);
  });
  const added: EspChange[] = [
    ...wish.states.filter((state) => !states.has(stateKey(state))).map((state) => ({ op: 'state.add', state }) as const),
    ...put.map((policy) => ({ op: 'policy.put', policy }) as const),
  ];
  if (!isWhole) return added;
  // What shuts a port goes last.
  const leaving = view.policies
    .filter((policy) => !wanted.policies.has(policyKey(policy)))
    .toSorted((a, b) => a.priority - b.priority);
  return [
    ...added,
    ...leaving.map((policy) => ({ op: 'policy.remove', policy }) as const),
    ...view.states
      .filter((state) => !wanted.states.has(stateKey(state)))
      .map((state) => ({ op: 'state.remove', state }) as const),
  ];
}
