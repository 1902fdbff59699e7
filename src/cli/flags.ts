/** Flag values: what the reference's own flag types accept, refused early with its words. */

import { BlockList, isIP } from 'node:net';
import { type EndpointSettingsJson, type IpamConfigJson, parseTruth } from '../base/index.ts';
import { UsageError } from './client.ts';

/** Collects a repeatable flag; commas split only where the reference splits them. */
export const collect = (value: string, all: string[] | undefined): string[] => [...(all ?? []), value];

/** `k=v` texts to a map; a bare `k` means `k=""`. */
export function keyValues(texts: readonly string[] | undefined): Record<string, string> {
  return Object.fromEntries(
    (texts ?? []).map((text) => {
      const at = text.indexOf('=');
      return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
    }),
  );
}

/** Flags before the command whose value is the next word. */
const GLOBAL_FLAGS = ['--host', '--tlscacert', '--tlscert', '--tlskey'];

/** Index of the first word that is no flag of ours: behind `--`, or of the command that `run` and `exec` start. */
function endOfOurs(args: readonly string[], booleans: readonly string[]): number {
  const dashes = args.indexOf('--');
  const end = dashes < 0 ? args.length : dashes;
  const verb = args.findIndex((arg, i) => !arg.startsWith('-') && !GLOBAL_FLAGS.includes(args[i - 1] ?? ''));
  if (args[verb] !== 'run' && args[verb] !== 'exec') return end;
  for (let i = verb + 1; i < end; i++) {
    const arg = args[i] ?? '';
    if (!arg.startsWith('-')) return i;
    // Its value is the next word: a long flag that is not boolean, or -p at the end of a cluster.
    const isLong = arg.startsWith('--');
    if (isLong ? !arg.includes('=') && !booleans.includes(arg.slice(2)) : /^-[^p]*p$/.test(arg)) i++;
  }
  return end;
}

/** Boolean flags that take a value, as `--ipv6=false`; commander knows them without only. */
export function rewriteBooleans(args: readonly string[], flags: readonly string[]): { args: string[]; no: Set<string> } {
  const no = new Set<string>();
  const rewritten: string[] = [];
  const end = endOfOurs(args, flags);
  args.forEach((arg, i) => {
    const match = i >= end ? null : /^--([a-z0-9-]+)=(.*)$/.exec(arg);
    const [, name, value] = match ?? [];
    if (name === undefined || value === undefined || !flags.includes(name)) return void rewritten.push(arg);
    const truth = parseTruth(value);
    if (truth === undefined)
      throw new UsageError(`invalid argument ${JSON.stringify(value)} for "--${name}" flag: use true or false`);
    if (truth) rewritten.push(`--${name}`);
    else no.add(name);
  });
  return { args: rewritten, no };
}

export interface IpamFlags {
  readonly subnet?: readonly string[];
  readonly ipRange?: readonly string[];
  readonly gateway?: readonly string[];
  readonly auxAddress?: readonly string[];
}

interface Subnet {
  readonly text: string;
  readonly address: string;
  contains(address: string): boolean;
}

function subnetOf(text: string): Subnet {
  const [address = '', length = '', ...more] = text.split('/');
  const family = isIP(address);
  if (
    family === 0 ||
    more.length > 0 ||
    address.includes('%') ||
    !/^\d{1,3}$/.test(length) ||
    Number(length) > (family === 4 ? 32 : 128)
  ) {
    throw new UsageError(`invalid CIDR address: ${text}`);
  }
  const list = new BlockList();
  list.addSubnet(address, Number(length), family === 4 ? 'ipv4' : 'ipv6');
  return {
    text,
    address,
    contains: (other) => isIP(other) === family && list.check(other, family === 4 ? 'ipv4' : 'ipv6'),
  };
}

/** A name without an address, or with two of them, is a slip: one address would be handed out that should not. */
function auxAddresses(texts: readonly string[]): [name: string, address: string][] {
  const named = new Map<string, string>();
  for (const text of texts) {
    const at = text.indexOf('=');
    const name = text.slice(0, Math.max(at, 0));
    if (name === '' || named.has(name))
      throw new UsageError(
        `invalid argument ${JSON.stringify(text)} for "--aux-address" flag: ${name === '' ? 'use name=address' : `${name} is given twice`}`,
      );
    named.set(name, text.slice(at + 1));
  }
  return [...named];
}

/** Sorts ranges, gateways and auxiliary addresses to their subnets (spec 02 §5). Throws UsageError. */
export function ipamConfig(flags: IpamFlags): IpamConfigJson[] {
  const [ranges, gateways, auxes] = [flags.ipRange ?? [], flags.gateway ?? [], auxAddresses(flags.auxAddress ?? [])];
  const subnets = (flags.subnet ?? []).map(subnetOf);
  if (subnets.length < ranges.length || subnets.length < gateways.length) {
    throw new UsageError('every ip-range or gateway must have a corresponding subnet');
  }
  subnets.forEach((a, i) => {
    if (subnets.slice(0, i).some((b) => a.contains(b.address) || b.contains(a.address)))
      throw new UsageError('multiple overlapping subnet configuration is not supported');
  });
  const configs = subnets.map((subnet) => ({ subnet, json: { Subnet: subnet.text } as IpamConfigJson }));
  const home = (what: string, address: string, text: string) => {
    const found = configs.find(({ subnet }) => subnet.contains(address));
    if (found === undefined) throw new UsageError(`no matching subnet for ${what} ${text}`);
    return found;
  };
  for (const range of ranges) {
    const { subnet, json } = home('range', subnetOf(range).address, range);
    if (json.IPRange !== undefined)
      throw new UsageError(`cannot configure multiple ranges (${range}, ${json.IPRange}) on the same subnet (${subnet.text})`);
    json.IPRange = range;
  }
  for (const gateway of gateways) {
    const { subnet, json } = home('gateway', gateway, gateway);
    if (json.Gateway !== undefined)
      throw new UsageError(
        `cannot configure multiple gateways (${gateway}, ${json.Gateway}) for the same subnet (${subnet.text})`,
      );
    json.Gateway = gateway;
  }
  for (const [name, address] of auxes) {
    const { json } = home('aux-address', address, address);
    json.AuxiliaryAddresses = { ...json.AuxiliaryAddresses, [name]: address };
  }
  return configs.map(({ json }) => json);
}

export interface EndpointFlags {
  readonly ip?: string;
  readonly ip6?: string;
  readonly alias?: readonly string[];
  readonly macAddress?: string;
  readonly link?: readonly string[];
  readonly linkLocalIp?: readonly string[];
  readonly driverOpt?: readonly string[];
  readonly gwPriority?: string;
}

/** Settings of one connection. Throws UsageError. */
export function endpointSettings(flags: EndpointFlags): EndpointSettingsJson {
  if (flags.ip !== undefined && isIP(flags.ip) !== 4)
    throw new UsageError(`invalid argument ${JSON.stringify(flags.ip)} for "--ip" flag: use an IPv4 address`);
  if (flags.ip6 !== undefined && isIP(flags.ip6) !== 6)
    throw new UsageError(`invalid argument ${JSON.stringify(flags.ip6)} for "--ip6" flag: use an IPv6 address`);
  return {
    IPAMConfig: {
      ...(flags.ip !== undefined && { IPv4Address: flags.ip }),
      ...(flags.ip6 !== undefined && { IPv6Address: flags.ip6 }),
      ...(flags.linkLocalIp && { LinkLocalIPs: [...flags.linkLocalIp] }),
    },
    ...(flags.alias && { Aliases: [...flags.alias] }),
    ...(flags.link && { Links: [...flags.link] }),
    ...(flags.driverOpt && { DriverOpts: keyValues(flags.driverOpt) }),
    ...(flags.macAddress !== undefined && { MacAddress: flags.macAddress }),
    ...(flags.gwPriority !== undefined && { GwPriority: wholeNumber('gw-priority', flags.gwPriority) }),
  };
}

function wholeNumber(flag: string, text: string): number {
  if (!/^[+-]?\d{1,10}$/.test(text))
    throw new UsageError(`invalid argument ${JSON.stringify(text)} for "--${flag}" flag: use a whole number`);
  return Number(text);
}

const LONG_KEYS = ['name', 'ip', 'ip6', 'alias', 'mac', 'mac-address', 'gw-priority', 'driver-opt', 'link-local-ip'] as const;

/** One `--network`: a name, or `name=NET,ip=…,ip6=…,alias=…,mac=…,gw-priority=N`. Throws UsageError. */
export function networkFlag(text: string): { name: string; settings: EndpointSettingsJson } {
  if (!/^[a-z0-9-]+=/i.test(text)) return { name: text, settings: endpointSettings({}) };
  const values = new Map<string, string[]>();
  for (const part of text.split(',')) {
    const at = part.indexOf('=');
    const key = part.slice(0, Math.max(at, 0)).trim().toLowerCase();
    if (!(LONG_KEYS as readonly string[]).includes(key))
      throw new UsageError(`invalid field ${JSON.stringify(part)} in --network: there are ${LONG_KEYS.join(', ')}`);
    values.set(key, [...(values.get(key) ?? []), part.slice(at + 1)]);
  }
  const one = (key: (typeof LONG_KEYS)[number]): string | undefined => values.get(key)?.at(-1);
  const name = one('name');
  if (name === undefined || name === '') throw new UsageError(`--network ${text}: the field name is missing`);
  const [ip, ip6, mac, priority] = [one('ip'), one('ip6'), one('mac') ?? one('mac-address'), one('gw-priority')];
  const [alias, driverOpt, linkLocalIp] = [values.get('alias'), values.get('driver-opt'), values.get('link-local-ip')];
  return {
    name,
    settings: endpointSettings({
      ...(ip !== undefined && { ip }),
      ...(ip6 !== undefined && { ip6 }),
      ...(mac !== undefined && { macAddress: mac }),
      ...(priority !== undefined && { gwPriority: priority }),
      ...(alias && { alias }),
      ...(driverOpt && { driverOpt }),
      ...(linkLocalIp && { linkLocalIp }),
    }),
  };
}
