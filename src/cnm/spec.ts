/** Checks what is asked for, before anything is leased or made; all problems of a request in one error. Pure. */

import {
  type Address,
  CnmError,
  type ErrorCode,
  INVISIBLE,
  type NetworkId,
  addressToBigInt,
  type Prefix,
  familyOf,
  isMulticast,
  isUnspecified,
  messageOf,
  networkOf,
  parseMac,
  parseTruth,
  prefixAddress,
  prefixContains,
  prefixLength,
  prefixBounds,
  prefixesOverlap,
  quoted,
  shown,
  tryAddress,
  tryPrefix,
  unmapped,
} from '../base/index.ts';
import { labels } from '../driver/index.ts';
import type { IpamConfig } from './records.ts';

/** A network as asked for; text as the user wrote it. */
export interface NetworkSpec {
  /** Default: a new one. */
  readonly id?: NetworkId;
  readonly name: string;
  readonly driver?: string;
  readonly scope?: string;
  readonly enableIPv4?: boolean;
  readonly enableIPv6?: boolean;
  readonly internal?: boolean;
  readonly attachable?: boolean;
  readonly ingress?: boolean;
  readonly configOnly?: boolean;
  readonly configFrom?: string;
  readonly ipam?: {
    readonly driver?: string;
    readonly options?: Readonly<Record<string, string>>;
    readonly config?: readonly IpamConfigSpec[];
  };
  readonly options?: Readonly<Record<string, string>>;
  readonly labels?: Readonly<Record<string, string>>;
}

export interface IpamConfigSpec {
  readonly subnet?: string;
  readonly range?: string;
  readonly gateway?: string;
  readonly aux?: Readonly<Record<string, string>>;
}

/** One connection as asked for. */
export interface EndpointSpec {
  readonly ipv4?: string;
  readonly ipv6?: string;
  readonly linkLocal?: readonly string[];
  readonly aliases?: readonly string[];
  readonly options?: Readonly<Record<string, string>>;
  readonly gwPriority?: number;
  readonly mac?: string;
}

export const PREDEFINED = ['bridge', 'host', 'none'] as const;

export const isPredefined = (name: string): boolean => (PREDEFINED as readonly string[]).includes(name);

/** Longest name of a network or sandbox, characters. */
const MAX_NAME = 255;

/** What one request may name: more takes longer to check than others may be kept waiting, and a keeper takes no more names. */
const MAX_SUBNETS = 128;
const MAX_AUX = 4096;
const MAX_ALIASES = 128;
const MAX_LINK_LOCAL = 64;

/** Network names may hold nearly anything (spec 02 §3.3), but nothing that a terminal, log or file would act on. */
export function checkNetworkName(name: string): void {
  if (name.trim() === '') throw new CnmError('bad_name', 'invalid name: name is empty');
  if (name.length > MAX_NAME) throw new CnmError('bad_name', `invalid name: longer than ${MAX_NAME} characters`);
  // A path of the API cannot hold these two: clients resolve them.
  if (name === '.' || name === '..') throw new CnmError('bad_name', `invalid name ${quoted(name)}: use one other than . and ..`);
  if (INVISIBLE.test(name) || name !== name.trim()) {
    throw new CnmError(
      'bad_name',
      `invalid name ${quoted(name)}: control characters, invisible characters and outer spaces are not allowed`,
    );
  }
}

/** Sandbox names become hostnames, DNS names and hosts lines. */
export function checkSandboxName(name: string): void {
  if (name.length > MAX_NAME || !/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(name)) {
    throw new CnmError(
      'bad_name',
      `invalid sandbox name ${quoted(name)}: only [a-zA-Z0-9][a-zA-Z0-9_.-]* is allowed, up to ${MAX_NAME} characters`,
    );
  }
}

/** Endpoint names become DNS names; no slash, since that stands between network and endpoint. */
export function checkEndpointName(name: string): void {
  if (isAlias(name) && !name.startsWith('_')) return;
  throw new CnmError(
    'bad_name',
    `invalid endpoint name ${quoted(name)}: only [a-zA-Z0-9][a-zA-Z0-9_.-]* is allowed, up to 63 characters between dots and 253 in all`,
  );
}

/** What the kernel keeps of one, octets (__NEW_UTS_LEN, linux/utsname.h). */
const MAX_HOSTNAME = 64;

/** RFC 1123 labels, as a hostname ends up in files and answers. */
export function checkHostname(name: string): void {
  if (
    name.length > MAX_HOSTNAME ||
    !/^[a-zA-Z0-9]([a-zA-Z0-9_-]{0,61}[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9_-]{0,61}[a-zA-Z0-9])?)*$/.test(name)
  ) {
    throw new CnmError(
      'bad_name',
      `invalid hostname ${quoted(name)}: use letters, digits, dashes and underscores, up to 63 between dots and ${MAX_HOSTNAME} in all`,
    );
  }
}

interface Problem {
  readonly code: ErrorCode;
  readonly text: string;
}

function throwProblems(head: string, problems: readonly Problem[]): void {
  const [first] = problems;
  if (first === undefined) return;
  throw new CnmError(first.code, `${head}:\n${problems.map((p) => p.text).join('\n')}`);
}

/** Which families a request enables: its fields, else the driver options, else IPv4 only. Throws bad_option. */
export function familiesOf(spec: NetworkSpec): { v4: boolean; v6: boolean } {
  return {
    v4: spec.enableIPv4 ?? boolOption(spec.options, labels.enableIPv4) ?? true,
    v6: spec.enableIPv6 ?? boolOption(spec.options, labels.enableIPv6) ?? false,
  };
}

function boolOption(options: NetworkSpec['options'], key: string): boolean | undefined {
  const text = options?.[key];
  return text === undefined ? undefined : parseBool(key, text);
}

/** A truth value of a driver option. Throws bad_option. */
export function parseBool(key: string, text: string): boolean {
  const truth = parseTruth(text);
  if (truth !== undefined) return truth;
  throw new CnmError(
    'bad_option',
    `driver-opt ${JSON.stringify(key)}: ${JSON.stringify(text)} is not a valid bool; use true or false`,
  );
}

/** Checks the IPAM configurations of the enabled families. Throws bad_subnet and its siblings, all problems joined. */
export function checkIpam(configs: readonly IpamConfigSpec[], enabled: { v4: boolean; v6: boolean }): IpamConfig[] {
  const problems: Problem[] = [];
  const checked: IpamConfig[] = [];
  if (configs.length > MAX_SUBNETS)
    throw new CnmError('bad_subnet', `invalid network config: ${configs.length} subnets, up to ${MAX_SUBNETS} are allowed`);
  for (const config of configs) {
    const subnet = config.subnet === undefined || config.subnet === '' ? undefined : tryPrefix(config.subnet);
    if (subnet !== undefined && !(familyOf(subnet) === 4 ? enabled.v4 : enabled.v6)) continue;
    const result = checkConfig(config, subnet, problems);
    if (result !== undefined) checked.push(result);
  }
  checkOverlaps(checked, problems);
  throwProblems('invalid network config', problems);
  return checked;
}

function checkConfig(config: IpamConfigSpec, subnet: Prefix | undefined, problems: Problem[]): IpamConfig | undefined {
  const aux = Object.entries(config.aux ?? {});
  if (aux.length > MAX_AUX) {
    const text = `${aux.length} auxiliary addresses of one subnet, up to ${MAX_AUX} are allowed: leave a part out by an ip-range`;
    problems.push({ code: 'bad_aux_address', text });
    return undefined;
  }
  if (subnet === undefined) {
    if (config.subnet) {
      problems.push({
        code: 'bad_subnet',
        text: `invalid subnet ${shown(config.subnet)}: it is not an address with a prefix length`,
      });
    } else if (config.range || config.gateway || aux.length > 0) {
      problems.push({
        code: 'bad_subnet',
        text: 'every ip-range, gateway or auxiliary address must have a corresponding subnet',
      });
    }
    return undefined;
  }
  if (networkOf(subnet) !== subnet) {
    problems.push({ code: 'bad_subnet', text: `invalid subnet ${subnet}: it should be ${networkOf(subnet)}` });
    return undefined;
  }
  const range = config.range ? checkRange(config.range, subnet, problems) : undefined;
  const gateway = config.gateway ? checkInside(config.gateway, subnet, 'gateway', 'bad_gateway', problems) : undefined;
  return { subnet, ...(range && { range }), ...(gateway && { gateway }), aux: checkAux(aux, subnet, gateway, problems) };
}

/** Each is reserved for somebody else, hence none may be the gateway or another one's. */
function checkAux(
  aux: readonly (readonly [string, string])[],
  subnet: Prefix,
  gateway: Address | undefined,
  problems: Problem[],
): Record<string, Address> {
  const checked: Record<string, Address> = {};
  const taken = new Map<Address, string>(gateway === undefined ? [] : [[gateway, 'the gateway']]);
  for (const [key, text] of aux) {
    const what = `auxiliary address ${shown(key)}`;
    const address = checkInside(text, subnet, what, 'bad_aux_address', problems);
    if (address === undefined) continue;
    const other = taken.get(address);
    if (other !== undefined)
      problems.push({ code: 'bad_aux_address', text: `invalid ${what} ${address}: it is ${other} already` });
    taken.set(address, what);
    checked[key] = address;
  }
  return checked;
}

function checkRange(text: string, subnet: Prefix, problems: Problem[]): Prefix | undefined {
  const bad = (why: string): undefined => {
    problems.push({ code: 'bad_ip_range', text: `invalid ip-range ${shown(text)}: ${why}` });
  };
  const range = tryPrefix(text);
  if (range === undefined) return bad('it is not an address with a prefix length');
  if (familyOf(range) !== familyOf(subnet)) return bad(`parent subnet ${subnet} is of the other family`);
  if (networkOf(range) !== range) return bad(`it should be ${networkOf(range)}`);
  if (prefixLength(range) < prefixLength(subnet)) return bad(`CIDR block is bigger than its parent subnet ${subnet}`);
  if (!prefixesOverlap(range, subnet)) return bad(`parent subnet ${subnet} doesn't contain ip-range`);
  return range;
}

function checkInside(text: string, subnet: Prefix, what: string, code: ErrorCode, problems: Problem[]): Address | undefined {
  const address = tryAddress(text);
  if (address === undefined) {
    problems.push({ code, text: `invalid ${what} ${shown(text)}: it is not an IP address` });
  } else if (!prefixContains(subnet, address)) {
    problems.push({ code, text: `invalid ${what} ${text}: parent subnet ${subnet} doesn't contain this address` });
  } else if (isEdge(address, subnet)) {
    problems.push({ code, text: `invalid ${what} ${text}: it is the network address or the broadcast address of ${subnet}` });
  } else {
    return address;
  }
  return undefined;
}

/** A subnet of one or two addresses has no edges (RFC 3021), and one of any (`0.0.0.0/24`) none yet; nor has IPv6. */
function isEdge(address: Address, subnet: Prefix): boolean {
  if (familyOf(subnet) === 6 || prefixLength(subnet) > 30 || isUnspecified(prefixAddress(subnet))) return false;
  const { first, last } = prefixBounds(subnet);
  return [first, last].includes(addressToBigInt(address));
}

function checkOverlaps(configs: readonly IpamConfig[], problems: Problem[]): void {
  configs.forEach((config, i) => {
    const other = configs.slice(0, i).find((c) => c.subnet && config.subnet && prefixesOverlap(c.subnet, config.subnet));
    if (other !== undefined && !(config.range && other.range)) {
      problems.push({ code: 'bad_subnet', text: `subnet ${config.subnet} overlaps subnet ${other.subnet} of the same network` });
    }
  });
}

/** A connection after checks that need no network. */
export interface CheckedEndpoint {
  readonly v4?: Address;
  readonly v6?: Address;
  readonly mac?: ReturnType<typeof parseMac>;
  readonly linkLocal: readonly Prefix[];
  readonly aliases: readonly string[];
  readonly options: Readonly<Record<string, string>>;
  readonly gwPriority: number;
}

/** Checks endpoint settings by themselves. Throws bad_address and its siblings, all problems joined. */
export function checkEndpoint(spec: EndpointSpec): CheckedEndpoint {
  const problems: Problem[] = [];
  refuseBeyond('aliases', 'bad_name', spec.aliases, MAX_ALIASES);
  refuseBeyond('link-local addresses', 'bad_address', spec.linkLocal, MAX_LINK_LOCAL);
  const v4 = spec.ipv4 ? checkHostAddress(spec.ipv4, 4, problems) : undefined;
  const v6 = spec.ipv6 ? checkHostAddress(spec.ipv6, 6, problems) : undefined;
  const linkLocal = (spec.linkLocal ?? []).flatMap((text) => checkLinkLocal(text, problems) ?? []);
  const twice = firstTwice([v4, v6, ...linkLocal.map(prefixAddress)]);
  if (twice !== undefined) problems.push({ code: 'bad_address', text: `address ${twice} is given twice; give each one once` });
  const aliases = (spec.aliases ?? []).map((alias) => {
    if (!isAlias(alias)) {
      problems.push({
        code: 'bad_name',
        text: `invalid alias ${quoted(alias)}: only [a-zA-Z0-9_.-] is allowed, up to 63 characters between dots and 253 in all`,
      });
    }
    return alias.toLowerCase();
  });
  const mac = spec.mac ? attempt(() => parseMac(spec.mac ?? ''), 'bad_mac', problems) : undefined;
  const ifname = spec.options?.[labels.endpointIfname];
  if (ifname !== undefined && !isIfname(ifname)) {
    problems.push({
      code: 'bad_option',
      text: `invalid interface name ${JSON.stringify(ifname)}: 1 to 15 characters without space, / and :, and none of ${KEPT_IFNAMES.join(' ')}`,
    });
  }
  if (spec.gwPriority !== undefined && !Number.isSafeInteger(spec.gwPriority)) {
    problems.push({ code: 'bad_option', text: `invalid gateway priority ${spec.gwPriority}: it must be a whole number` });
  }
  throwProblems('invalid endpoint settings', problems);
  return {
    ...(v4 && { v4 }),
    ...(v6 && { v6 }),
    ...(mac && { mac }),
    linkLocal,
    aliases: [...new Set(aliases)],
    options: spec.options ?? {},
    gwPriority: spec.gwPriority ?? 0,
  };
}

const firstTwice = (addresses: readonly (Address | undefined)[]): Address | undefined =>
  addresses.find((address, at) => address !== undefined && addresses.indexOf(address) !== at);

function refuseBeyond(what: string, code: ErrorCode, given: readonly string[] | undefined, most: number): void {
  if (given === undefined || given.length <= most) return;
  throw new CnmError(code, `invalid endpoint settings: ${given.length} ${what}, up to ${most} are allowed`);
}

/** What a DNS answer can hold (RFC 1035 §2.3.4). */
const isAlias = (alias: string): boolean =>
  alias.length <= 253 && /^[a-zA-Z0-9_][a-zA-Z0-9_-]{0,62}(\.[a-zA-Z0-9_-]{1,63})*$/.test(alias);

/** Names that the kernel keeps for itself. */
const KEPT_IFNAMES = ['.', '..', 'lo', 'all', 'default'];

/** The kernel's rule (dev_valid_name), and nothing that a shell would split. */
export const isIfname = (name: string): boolean => /^[a-zA-Z0-9_.@-]{1,15}$/.test(name) && !KEPT_IFNAMES.includes(name);

function checkHostAddress(text: string, family: 4 | 6, problems: Problem[]): Address | undefined {
  const address = tryAddress(text);
  if (
    address === undefined ||
    familyOf(address) !== family ||
    /^(0\.0\.0\.0|::)$/.test(address) ||
    unmapped(address) !== undefined ||
    isMulticast(address)
  ) {
    problems.push({
      code: 'bad_address',
      text: `invalid IPv${family} address: ${shown(text)}; use one plain IPv${family} address of a host`,
    });
    return undefined;
  }
  return address;
}

function checkLinkLocal(text: string, problems: Problem[]): Prefix | undefined {
  const address = tryAddress(text);
  const length = address !== undefined && familyOf(address) === 4 ? 16 : 64;
  const prefix = address === undefined ? undefined : tryPrefix(`${address}/${length}`);
  const parent = (length === 16 ? '169.254.0.0/16' : 'fe80::/64') as Prefix;
  if (address === undefined || prefix === undefined || !prefixContains(parent, address)) {
    problems.push({
      code: 'bad_address',
      text: `invalid link-local IP address: ${shown(text)}; use one of 169.254.0.0/16 or fe80::/64`,
    });
    return undefined;
  }
  return prefix;
}

function attempt<T>(work: () => T, code: ErrorCode, problems: Problem[]): T | undefined {
  try {
    return work();
  } catch (error) {
    problems.push({ code, text: messageOf(error) });
    return undefined;
  }
}
