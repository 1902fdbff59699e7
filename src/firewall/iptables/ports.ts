/**
 * Rules of one endpoint's published ports, per family (spec 04 §6). Pure. Neighbouring ports become one rule; host ports are
 * found through blocks of 256, so that neither a lookup nor a removal walks all published ports of the host.
 */

import { familyOf, isLoopback, isUnspecified, type Address, type IpFamily } from '../../base/index.ts';
import type { PortRule, PortsIntent } from '../contract.ts';
import type { RuleSet, SharedRule } from '../diff.ts';
import { addressText, portText, type ChainNames, type TableName } from './names.ts';

/** An endpoint's wish in one family; undefined where it has none. */
export function compilePorts(
  owner: string,
  intent: PortsIntent,
  family: IpFamily,
  names: ChainNames,
): RuleSet<TableName> | undefined {
  const rules = intent.rules.filter((rule) => familyOf(rule.address) === family && rule.mode !== 'isolated');
  if (rules.length === 0) return undefined;
  const chain = names.endpoint(owner);
  const accepts = acceptRules(rules);
  const translations = translationRules(rules);
  return {
    own: [
      ...(accepts.length > 0 ? [{ table: 'filter' as const, chain, rules: accepts }] : []),
      ...(translations.length > 0 ? [{ table: 'nat' as const, chain, rules: translations }] : []),
    ],
    shared: [
      ...(accepts.length > 0
        ? destinations(rules).map((to) => sharedFilter(names.published(intent.bridge), `-d ${to} -j ${chain}`))
        : []),
      ...blockRules(rules, chain, names),
      ...loopbackRules(rules, names),
    ],
    uses: [],
    translated: rules.filter(({ hostPort }) => hostPort !== 0),
  };
}

const sharedFilter = (chain: string, rule: string): SharedRule<TableName> => ({ table: 'filter', chain, rule });

const isFiltered = (rule: PortRule): boolean => rule.mode !== 'nat-unprotected';

const destinations = (rules: readonly PortRule[]): readonly string[] =>
  [...new Set(rules.filter(isFiltered).map((rule) => rule.address))].map(hostText);

const hostText = (address: Address): string => `${addressText(address)}/${familyOf(address) === 4 ? 32 : 128}`;

interface Run<T> {
  readonly item: T;
  readonly from: number;
  to: number;
}

/** Runs of neighbouring ports among items with the same key, in rising order; `next` says whether one continues another. */
function runs<T>(items: readonly T[], port: (item: T) => number, key: (item: T) => string): readonly Run<T>[] {
  const open = new Map<string, Run<T>>();
  const all: Run<T>[] = [];
  for (const item of [...items].sort((a, b) => port(a) - port(b))) {
    const at = port(item);
    const run = open.get(key(item));
    if (run !== undefined && at <= run.to + 1) run.to = Math.max(run.to, at);
    else {
      const fresh = { item, from: at, to: at };
      open.set(key(item), fresh);
      all.push(fresh);
    }
  }
  return all;
}

const portMatch = (protocol: 'tcp' | 'udp', from: number, to: number): string =>
  `-p ${protocol} -m ${protocol} --dport ${portText(from, to)}`;

function acceptRules(rules: readonly PortRule[]): readonly string[] {
  const found = runs(
    rules.filter(isFiltered),
    (rule) => rule.port,
    (rule) => `${rule.protocol} ${rule.address}`,
  );
  return found.map(({ item, from, to }) => `-d ${hostText(item.address)} ${portMatch(item.protocol, from, to)} -j ACCEPT`);
}

function translationRules(rules: readonly PortRule[]): readonly string[] {
  const translated = rules.filter((rule) => rule.hostPort !== 0);
  // A run needs no port of its own in its target only where the numbers stay the same.
  const key = (rule: PortRule): string =>
    [rule.protocol, rule.hostAddress, rule.address, rule.hostPort === rule.port ? 'same' : `${rule.hostPort} ${rule.port}`].join(
      ' ',
    );
  return runs(translated, (rule) => rule.hostPort, key).map(({ item, from, to }) => {
    const to4 = addressText(item.address);
    const target =
      item.hostPort === item.port ? to4 : familyOf(item.address) === 6 ? `[${to4}]:${item.port}` : `${to4}:${item.port}`;
    const destination = isUnspecified(item.hostAddress) ? '' : `-d ${hostText(item.hostAddress)} `;
    return `${destination}${portMatch(item.protocol, from, to)} -j DNAT --to-destination ${target}`;
  });
}

/** Leads from the instance's DNAT chain through a block to the endpoint's chain. */
function blockRules(rules: readonly PortRule[], chain: string, names: ChainNames): readonly SharedRule<TableName>[] {
  const spans = new Map<string, { readonly protocol: 'tcp' | 'udp'; from: number; to: number }>();
  for (const { protocol, hostPort } of rules) {
    if (hostPort === 0) continue;
    const key = `${protocol} ${hostPort >> 8}`;
    const span = spans.get(key);
    if (span === undefined) spans.set(key, { protocol, from: hostPort, to: hostPort });
    else {
      span.from = Math.min(span.from, hostPort);
      span.to = Math.max(span.to, hostPort);
    }
  }
  return [...spans.values()].flatMap(({ protocol, from, to }) => {
    const block = names.block(from);
    const first = Math.max(from & 0xff00, 1);
    return [
      { table: 'nat' as const, chain: names.dnat, rule: `${portMatch(protocol, first, from | 0xff)} -j ${block}` },
      { table: 'nat' as const, chain: block, rule: `${portMatch(protocol, from, to)} -j ${chain}` },
    ];
  });
}

/** A port on the host's loopback is for the host alone, also where another link has route_localnet. */
function loopbackRules(rules: readonly PortRule[], names: ChainNames): readonly SharedRule<TableName>[] {
  const local = rules.filter((rule) => rule.hostPort !== 0 && familyOf(rule.hostAddress) === 4 && isLoopback(rule.hostAddress));
  const found = runs(
    local,
    (rule) => rule.hostPort,
    (rule) => `${rule.protocol} ${rule.hostAddress}`,
  );
  return found.map(({ item, from, to }) => ({
    table: 'raw',
    chain: names.loopback,
    rule: `-d ${hostText(item.hostAddress)} ${portMatch(item.protocol, from, to)} -j DROP`,
  }));
}
