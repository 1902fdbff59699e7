/**
 * The kernel's own balancer of connections, IPVS, over generic netlink (linux/ip_vs.h): services by packet mark, where they lead
 * to, and how long a silent connection is kept. Which namespaces have which is src/balance.
 */

import { existsSync } from 'node:fs';
import { type Address, addressBytes, addressFromBytes, CnmError, familyOf, type IpFamily, KernelError } from '../base/index.ts';
import { Attributes, attribute, nest, text, u16be, u32, u32be } from './attributes.ts';
import type { Netns } from './contract.ts';
import { type GenericFamily, GENERIC_HEADER, generic, openGeneric } from './genl.ts';
import type { Message } from './messages.ts';
import { isRefusal } from './netlink.ts';
import { temporaryNetns } from './netns.ts';
import { familyNumber } from './route.ts';
import { offThread } from './turnstile.ts';

const FAMILY = 'IPVS';
const VERSION = 1;
const COMMAND = {
  newService: 1,
  deleteService: 3,
  getService: 4,
  newDestination: 5,
  setDestination: 6,
  deleteDestination: 7,
  getDestination: 8,
  setConfig: 12,
  getConfig: 13,
} as const;
const ATTRIBUTE = { service: 1, destination: 2, timeoutTcp: 4 } as const;
const SERVICE = { family: 1, mark: 5, scheduler: 6, flags: 7, timeout: 8, netmask: 9 } as const;
const DESTINATION = { address: 1, port: 2, forwarding: 3, weight: 4, upper: 5, lower: 6, family: 11 } as const;
/** Every destination in its turn. */
const SCHEDULER = 'rr';
/** Addresses and ports are translated, both ways. */
const FORWARD_MASQUERADE = 0;
/** struct ip_vs_flags: none are set. */
const NO_FLAGS = Buffer.concat([u32(0), u32(0xffffffff)]);
/** One client each: of IPv4 a mask, of IPv6 the length of a prefix. */
const NETMASK = { 4: u32be(0xffffffff), 6: u32(128) } as const;
/** Octets of an address of whichever family. */
const ADDRESS_SIZE = 16;

/** Packets of a family with this mark. */
export interface IpvsServiceId {
  readonly family: IpFamily;
  /** Above 0. */
  readonly mark: number;
}

export interface IpvsService extends IpvsServiceId {
  /** Share of new connections by destination; with 0 it keeps what it has. */
  readonly destinations: ReadonlyMap<Address, number>;
}

interface ServiceChange {
  readonly op: 'service.add' | 'service.remove';
  readonly service: IpvsServiceId;
}

interface WeightChange {
  readonly op: 'destination.add' | 'destination.weigh';
  readonly service: IpvsServiceId;
  readonly to: Address;
  readonly weight: number;
}

interface DestinationRemoval {
  readonly op: 'destination.remove';
  readonly service: IpvsServiceId;
  readonly to: Address;
}

/** Removal is the inverse of addition, and weights are set as often as one likes. */
export type IpvsChange = ServiceChange | WeightChange | DestinationRemoval;

const u16 = (value: number): Buffer => Buffer.from([value & 0xff, value >> 8]);

const idOf = ({ family, mark }: IpvsServiceId): Buffer[] => [
  attribute(SERVICE.family, u16(familyNumber(family))),
  attribute(SERVICE.mark, u32(mark)),
];

function destinationOf(to: Address): Buffer[] {
  const raw = Buffer.alloc(ADDRESS_SIZE);
  raw.set(addressBytes(to));
  return [
    attribute(DESTINATION.address, raw),
    // The port that was asked for.
    attribute(DESTINATION.port, u16be(0)),
    attribute(DESTINATION.family, u16(familyNumber(familyOf(to)))),
  ];
}

const sharing = (weight: number): Buffer[] => [
  attribute(DESTINATION.forwarding, u32(FORWARD_MASQUERADE)),
  attribute(DESTINATION.weight, u32(weight)),
  attribute(DESTINATION.upper, u32(0)),
  attribute(DESTINATION.lower, u32(0)),
];

const DESTINATION_COMMAND: Readonly<Record<(WeightChange | DestinationRemoval)['op'], number>> = {
  'destination.add': COMMAND.newDestination,
  'destination.weigh': COMMAND.setDestination,
  'destination.remove': COMMAND.deleteDestination,
};

/** Body of a message. */
export function ipvsBody(change: IpvsChange): Buffer {
  const id = idOf(change.service);
  if (!('to' in change)) {
    if (change.op === 'service.remove') return generic(COMMAND.deleteService, VERSION, nest(ATTRIBUTE.service, ...id));
    const rest = [
      text(SERVICE.scheduler, SCHEDULER),
      attribute(SERVICE.flags, NO_FLAGS),
      attribute(SERVICE.timeout, u32(0)),
      attribute(SERVICE.netmask, NETMASK[change.service.family]),
    ];
    return generic(COMMAND.newService, VERSION, nest(ATTRIBUTE.service, ...id, ...rest));
  }
  const share = 'weight' in change ? sharing(change.weight) : [];
  const destination = nest(ATTRIBUTE.destination, ...destinationOf(change.to), ...share);
  return generic(DESTINATION_COMMAND[change.op], VERSION, nest(ATTRIBUTE.service, ...id), destination);
}

/** Undefined for one that goes by an address, and not by a mark. */
export function parseIpvsService(body: Buffer): IpvsServiceId | undefined {
  const service = new Attributes(body, GENERIC_HEADER).nested(ATTRIBUTE.service);
  const mark = service.u32(SERVICE.mark) ?? 0;
  if (mark === 0) return undefined;
  return { family: service.bytes(SERVICE.family)?.readUInt16LE() === familyNumber(4) ? 4 : 6, mark };
}

/** A destination of a service of the family, and its weight. */
export function parseIpvsDestination(body: Buffer, family: IpFamily): [Address, number] | undefined {
  const destination = new Attributes(body, GENERIC_HEADER).nested(ATTRIBUTE.destination);
  const raw = destination.bytes(DESTINATION.address);
  if (raw === undefined || raw.length < ADDRESS_SIZE) return undefined;
  const address = addressFromBytes(raw.subarray(0, family === 4 ? 4 : ADDRESS_SIZE));
  return [address, destination.u32(DESTINATION.weight) ?? 0];
}

const lacksIpvs = (): CnmError => new CnmError('kernel_lacks', 'the kernel lacks IPVS (modules ip_vs and ip_vs_rr)');

function open(netns: Netns): GenericFamily {
  const opened = openGeneric(netns, FAMILY);
  if (opened === undefined) throw lacksIpvs();
  return opened;
}

/** What the kernel answers for a scheduler that it does not have. */
const NO_SCHEDULER = 'ENOENT';

/** Makes and removes a service in a namespace that is thrown away. Throws kernel_lacks. */
export async function requireIpvs(): Promise<void> {
  using netns = temporaryNetns();
  const service = { family: 4, mark: 1 } as const;
  try {
    await changeIpvs(netns, [
      { op: 'service.add', service },
      { op: 'service.remove', service },
    ]);
  } catch (error) {
    throw error instanceof KernelError && error.errno === NO_SCHEDULER ? lacksIpvs() : error;
  }
}

/** There while the kernel has IPVS, as a module that is loaded, or built in. */
const LOADED = '/proc/net/ip_vs';

/** Whether the kernel has IPVS, which is not loaded for this. */
export const hasIpvs = (): boolean => existsSync(LOADED);

/** Services by mark, with their destinations, of whomever; none where the kernel has no IPVS, which is not loaded for this. */
export function readIpvs(netns: Netns): IpvsService[] {
  if (!hasIpvs()) return [];
  const opened = openGeneric(netns, FAMILY);
  if (opened === undefined) return [];
  const { socket, family } = opened;
  using _socket = socket;
  const services = socket.dump(
    { type: family, body: generic(COMMAND.getService, VERSION) },
    'services of IPVS',
    parseIpvsService,
  );
  return services.map((service) => {
    const body = generic(COMMAND.getDestination, VERSION, nest(ATTRIBUTE.service, ...idOf(service)));
    const listed = socket.dump({ type: family, body }, 'destinations of IPVS', (raw) =>
      parseIpvsDestination(raw, service.family),
    );
    return { ...service, destinations: new Map(listed) };
  });
}

/** What a change finds when it is done already, or its service is gone. */
const ALREADY: Readonly<Record<IpvsChange['op'], readonly string[]>> = {
  'service.add': ['EEXIST'],
  'service.remove': ['ESRCH'],
  'destination.add': ['EEXIST'],
  'destination.weigh': [],
  'destination.remove': ['ESRCH', 'ENOENT'],
};

/** Does the changes in their order, off this thread; those that are done already are no error. Throws kernel_lacks, KernelError. */
export async function changeIpvs(netns: Netns, changes: readonly IpvsChange[]): Promise<void> {
  if (changes.length === 0) return;
  await offThread.pass(async () => {
    const { socket, family } = open(netns);
    using _socket = socket;
    const messages = changes.map((change): Message => ({ type: family, body: ipvsBody(change) }));
    for (let at = 0; at < messages.length;) {
      const refused = await socket.executeOffThread(messages.slice(at));
      if (refused === undefined) return;
      const change = changes[at + refused.at];
      if (change === undefined || !ALREADY[change.op].includes(refused.errno))
        throw new KernelError(change?.op ?? 'change', 'IPVS', refused.errno, refused.text);
      at += refused.at + 1;
    }
  });
}

/** Seconds that the namespace keeps a TCP connection of IPVS on which nothing is sent; undefined where the kernel has no IPVS. */
export function readIpvsTimeout(netns: Netns): number | undefined {
  const opened = openGeneric(netns, FAMILY);
  if (opened === undefined) return undefined;
  const { socket, family } = opened;
  using _socket = socket;
  const answer = socket.request({ type: family, body: generic(COMMAND.getConfig, VERSION) }, (raw) =>
    new Attributes(raw, GENERIC_HEADER).u32(ATTRIBUTE.timeoutTcp),
  );
  if (isRefusal(answer)) throw new KernelError('read timeout', FAMILY, answer.errno, answer.text);
  return answer;
}

/** Throws kernel_lacks, KernelError. */
export function writeIpvsTimeout(netns: Netns, seconds: number): void {
  const { socket, family } = open(netns);
  using _socket = socket;
  const body = generic(COMMAND.setConfig, VERSION, attribute(ATTRIBUTE.timeoutTcp, u32(seconds)));
  const refused = socket.execute([{ type: family, body }]);
  if (refused !== undefined) throw new KernelError('set timeout', FAMILY, refused.errno, refused.text);
}
