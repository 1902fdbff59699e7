/** From the API's PortBindings to what is wanted of the host, as groups that share one host port (spec 05 §2). Pure. */

import {
  CnmError,
  checkHostIp,
  checkProtocol,
  familyOf,
  isUnspecified,
  parsePorts,
  shown,
  tryAddress,
  unmapped,
  type Address,
  type PortRange,
} from '../base/index.ts';
import type { Protocol } from '../keeper/index.ts';

/** One wanted binding. */
export interface WantedPort {
  readonly protocol: Protocol;
  /** Port inside the sandbox. */
  readonly port: number;
  /** Absent: the network's default. */
  readonly hostAddress?: Address;
  /** One of these; from = to: exactly this one. Absent: any ephemeral port. */
  readonly hostPorts?: PortRange;
}

export interface PortSpec {
  readonly wanted: readonly WantedPort[];
  /** Declared without a binding, as `80/tcp`. */
  readonly exposed: readonly string[];
}

/** Bindings of one sandbox, and of one port of it: a host has no more ports, and a keeper takes no more. */
const MAX_BINDINGS = 65_536;
const MAX_BINDINGS_OF_PORT = 1024;

/** The API's form; field names are the Engine API's. */
export type PortBindingsInput = Readonly<
  Record<string, readonly { readonly HostIp?: string | null | undefined; readonly HostPort?: string | null | undefined }[] | null>
>;

/** Parses the API's form. Throws bad_port with every problem at once. */
export function parsePortBindings(input: PortBindingsInput): PortSpec {
  const problems: string[] = [];
  const wanted: WantedPort[] = [];
  const exposed: string[] = [];
  for (const [key, bindings] of Object.entries(input)) {
    const report = (problem: string): void => void problems.push(`${shown(key)}: ${problem}`);
    const [portText = '', protocolText = 'tcp', ...rest] = key.split('/');
    const container = parsePorts(portText, 'containerPort', report);
    const protocol = checkProtocol([protocolText, ...rest].join('/'), report);
    if (container !== undefined && container.from !== container.to) report('a key names one container port, not a range');
    if (bindings === null || bindings.length === 0) {
      if (container !== undefined && protocol !== undefined) exposed.push(`${container.from}/${protocol}`);
      continue;
    }
    if (bindings.length > MAX_BINDINGS_OF_PORT)
      throw new CnmError(
        'bad_port',
        `${shown(key)}: ${bindings.length} bindings of one port, up to ${MAX_BINDINGS_OF_PORT} are allowed`,
      );
    if (wanted.length + bindings.length > MAX_BINDINGS)
      throw new CnmError('bad_port', `over ${MAX_BINDINGS} bindings of one sandbox`);
    for (const binding of bindings) {
      const host = hostSide(binding.HostIp ?? '', binding.HostPort ?? '', report);
      if (container !== undefined && protocol !== undefined) wanted.push({ protocol, port: container.from, ...host });
    }
  }
  if (problems.length > 0) throw new CnmError('bad_port', problems.join('; '));
  return { wanted, exposed };
}

function hostSide(ip: string, port: string, report: (problem: string) => void): Pick<WantedPort, 'hostAddress' | 'hostPorts'> {
  checkHostIp(ip, report);
  const address = tryAddress(ip);
  const hostPorts = port === '' || port === '0' ? undefined : parsePorts(port, 'hostPort', report);
  return {
    ...(address === undefined ? {} : { hostAddress: unmapped(address) ?? address }),
    ...(hostPorts === undefined ? {} : { hostPorts }),
  };
}

/** One host port on all of `addresses`. */
export interface PortGroup {
  readonly protocol: Protocol;
  readonly port: number;
  readonly addresses: readonly Address[];
  readonly hostPorts?: PortRange;
}

/** What the host can bind, and where a binding goes that names no address. */
export interface HostSide {
  readonly families: { readonly v4: boolean; readonly v6: boolean };
  /** Option host_binding_ipv4 of the network; absent: every address of both families. */
  readonly defaultAddress?: Address;
}

/**
 * The groups in the order in which they are served: exact host ports before ranges and chosen ones. Bindings that differ
 * only in the host address share a group; those that would collide with each other do not, so that their clash is seen.
 */
export function groupPorts(wanted: readonly WantedPort[], host: HostSide): readonly PortGroup[] {
  const groups = new Map<string, (PortGroup & { addresses: Address[] })[]>();
  for (const want of wanted) {
    const key = [want.protocol, want.port, want.hostPorts?.from ?? 0, want.hostPorts?.to ?? 0].join(' ');
    const alike = groups.get(key) ?? [];
    groups.set(key, alike);
    for (const address of hostAddresses(want, host)) {
      const fitting = alike.find((group) => !group.addresses.some((other) => collides(other, address)));
      if (fitting !== undefined) fitting.addresses.push(address);
      else {
        const { hostPorts } = want;
        alike.push({
          protocol: want.protocol,
          port: want.port,
          addresses: [address],
          ...(hostPorts === undefined ? {} : { hostPorts }),
        });
      }
    }
  }
  return [...groups.values()].flat().sort(byOrderOfService);
}

/** True when one socket on each of the two addresses cannot have the same port. */
export function collides(a: Address, b: Address): boolean {
  return familyOf(a) === familyOf(b) && (a === b || isUnspecified(a) || isUnspecified(b));
}

/** True when exactly one host port will do. */
export const isExact = (group: { readonly hostPorts?: PortRange }): boolean =>
  group.hostPorts !== undefined && group.hostPorts.from === group.hostPorts.to;

function hostAddresses(want: WantedPort, { families, defaultAddress }: HostSide): readonly Address[] {
  const address = want.hostAddress ?? defaultAddress;
  if (address !== undefined && !(want.hostAddress === undefined && address === '0.0.0.0')) return [address];
  return [...(families.v4 ? ['0.0.0.0' as Address] : []), ...(families.v6 ? ['::' as Address] : [])];
}

function byOrderOfService(a: PortGroup, b: PortGroup): number {
  return (
    Number(isExact(b)) - Number(isExact(a)) ||
    a.port - b.port ||
    (a.protocol < b.protocol ? -1 : a.protocol > b.protocol ? 1 : 0) ||
    (a.hostPorts?.from ?? 0) - (b.hostPorts?.from ?? 0) ||
    (a.hostPorts?.to ?? 0) - (b.hostPorts?.to ?? 0)
  );
}
