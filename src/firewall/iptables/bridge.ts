/** Rules of one bridge network and of the instance itself, per family (spec 04 §6). Pure. */

import { isLinkLocal, prefixAddress, type IpFamily } from '../../base/index.ts';
import type { BridgeFamily, BridgeIntent } from '../contract.ts';
import type { RuleSet, SharedRule } from '../diff.ts';
import { addressText, linkText, prefixText, type ChainNames, type TableName } from './names.ts';

/**
 * Chains that every instance has. Shared ones that only collect networks' rules are named in `uses`. What needs an extension
 * of iptables is laid here once, and networks jump to it: the kernel lets no rule with an extension in until all that was
 * deleted before is out of use everywhere, so that a network made just after another was removed would wait 16 ms and more.
 */
export function compileBase(family: IpFamily, names: ChainNames): RuleSet<TableName> {
  const shared: SharedRule<TableName>[] = [];
  if (family === 4) shared.push({ table: 'raw', chain: names.raw, rule: `-d 127.0.0.0/8 ! -i lo -j ${names.loopback}` });
  else {
    // A link-local client's answer could not find its way back through the translation.
    shared.push({ table: 'nat', chain: names.dnat, rule: '-s fe80::/10 -j RETURN' });
    // Nor could an answer to ::1: IPv6 has no route_localnet, its input routing takes ::1 from lo alone. Untranslated, the
    // connection is refused at once and the caller goes on to 127.0.0.1.
    shared.push({ table: 'nat', chain: names.dnat, rule: '-d ::1/128 -j RETURN' });
  }
  return {
    own: [
      {
        table: 'filter',
        chain: names.forward,
        // What an internal network may not reach is decided before another network's published ports accept it.
        rules: [names.internal, names.incoming, names.outgoing].map((chain) => `-j ${chain}`),
      },
      { table: 'filter', chain: names.answers, rules: ['-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT'] },
      { table: 'filter', chain: names.direct, rules: ['-m conntrack ! --ctstate DNAT -j DROP'] },
      { table: 'nat', chain: names.masquerade, rules: ['-j MASQUERADE'] },
      { table: 'nat', chain: names.hairpin, rules: ['-m conntrack --ctstate DNAT -j MASQUERADE'] },
      { table: 'nat', chain: names.local, rules: ['-m addrtype --src-type LOCAL -j MASQUERADE'] },
    ],
    shared,
    uses: [
      { table: 'filter', chain: names.internal },
      { table: 'filter', chain: names.incoming },
      { table: 'filter', chain: names.outgoing },
      { table: 'raw', chain: names.raw },
      ...(family === 4 ? [{ table: 'raw' as const, chain: names.loopback }] : []),
      { table: 'nat', chain: names.dnat },
      { table: 'nat', chain: names.snat },
    ],
  };
}

/** A network's wish in one family; undefined where it has none. */
export function compileBridge(intent: BridgeIntent, family: IpFamily, names: ChainNames): RuleSet<TableName> | undefined {
  const side = family === 4 ? intent.v4 : intent.v6;
  if (side === undefined) return undefined;
  const link = linkText(intent.bridge);
  const incoming = { table: 'filter', chain: names.bridge(link) } as const;
  const closed = rawRules(intent, side, family);
  const raw = { table: 'raw', chain: names.closed(link) } as const;
  return {
    own: [
      { ...incoming, rules: intent.internal ? internalRules(intent) : incomingRules(intent, side, family, names) },
      ...(closed === undefined ? [] : [{ ...raw, rules: closed }]),
    ],
    shared: [
      { table: 'filter', chain: names.incoming, rule: `-o ${link} -j ${incoming.chain}` },
      intent.internal
        ? { table: 'filter', chain: names.internal, rule: `-i ${link} ! -o ${link} -j DROP` }
        : { table: 'filter', chain: names.outgoing, rule: `-i ${link} -j ACCEPT` },
      ...(closed === undefined ? [] : [rawRule(names, `-d ${prefixText(side.subnet)} -j ${raw.chain}`)]),
      // route_localnet, by which the host's 127.0.0.1 leads to published ports, must not lead endpoints to the host's own.
      ...(family === 4 ? [rawRule(names, `-d 127.0.0.0/8 -i ${link} -j DROP`)] : []),
      ...(intent.internal ? [] : sourceRules(link, side, names)),
    ],
    uses: intent.internal ? [] : [{ table: 'filter', chain: names.published(link) }],
  };
}

const rawRule = (names: ChainNames, rule: string): SharedRule<TableName> => ({ table: 'raw', chain: names.raw, rule });

function internalRules({ bridge, icc }: BridgeIntent): readonly string[] {
  return [`-i ${linkText(bridge)} -j ${icc ? 'ACCEPT' : 'DROP'}`, '-j DROP'];
}

/** What reaches the bridge: answers, its own endpoints, published ports; the last rule also keeps networks apart. */
function incomingRules(intent: BridgeIntent, side: BridgeFamily, family: IpFamily, names: ChainNames): readonly string[] {
  const link = linkText(intent.bridge);
  const published = `-j ${names.published(link)}`;
  const own = intent.icc
    ? [`-i ${link} -j ACCEPT`]
    : [`-i ${link} -j ${names.direct}`, `-i ${link} ${published}`, `-i ${link} -j DROP`];
  const rules = [`-j ${names.answers}`, ...own];
  switch (side.mode) {
    case 'nat':
      return [
        ...rules,
        ...intent.trustedInterfaces.map((name) => `-i ${linkText(name)} ${published}`),
        // An endpoint's published port is open through the host port alone, not under the endpoint's own address.
        `-j ${names.direct}`,
        published,
        '-j DROP',
      ];
    case 'nat-unprotected':
      return [...rules, '-j ACCEPT'];
    case 'routed':
      return [...rules, `-p ${family === 4 ? 'icmp' : 'ipv6-icmp'} -j ACCEPT`, published, '-j DROP'];
    case 'isolated':
      return [...rules, '-j DROP'];
  }
}

/**
 * The endpoints' addresses are for the bridge alone, whatever accept rules others put before ours; the bridge's own address
 * stays reachable. Undefined where nobody is kept out, or where answers come back to the endpoints' own addresses because
 * nothing is masqueraded.
 */
function rawRules(
  { bridge, internal, trustedInterfaces }: BridgeIntent,
  side: BridgeFamily,
  family: IpFamily,
): readonly string[] | undefined {
  const isClosed = internal || (side.mode === 'nat' && side.masquerade);
  // Every link has link-local addresses; they are the bridge's alone nowhere.
  if (!isClosed || isLinkLocal(prefixAddress(side.subnet))) return undefined;
  const links = [bridge, ...(internal ? [] : trustedInterfaces)].map(linkText);
  return [
    ...(side.gateway === undefined ? [] : [`-d ${addressText(side.gateway)}/${family === 4 ? 32 : 128} -j RETURN`]),
    ...links.map((link) => `-i ${link} -j RETURN`),
    '-j DROP',
  ];
}

function sourceRules(link: string, side: BridgeFamily, names: ChainNames): readonly SharedRule<TableName>[] {
  if (side.mode === 'routed' || side.mode === 'isolated') return [];
  const subnet = prefixText(side.subnet);
  const rules: string[] = [];
  if (side.masquerade) {
    const target = side.snatTo === undefined ? names.masquerade : `SNAT --to-source ${addressText(side.snatTo)}`;
    rules.push(`-s ${subnet} ! -o ${link} -j ${target}`);
  }
  // Through a host port back onto the same bridge: the answer must pass the host, else it has the wrong sender.
  rules.push(`-s ${subnet} -o ${link} -j ${names.hairpin}`);
  // From the host's own addresses, 127.0.0.1 among them, to an endpoint.
  rules.push(`-o ${link} -j ${names.local}`);
  return rules.map((rule) => ({ table: 'nat', chain: names.snat, rule }));
}
