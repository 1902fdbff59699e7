/**
 * Reads what iptables-save prints, and decides what a rewrite must do around our chains: jumps from the built-in chains, the
 * administrator's chain, chains left over. Other people's rules are never touched. Pure.
 */

import { createHash } from 'node:crypto';
import { TABLES, USER_CHAIN, isForwardChain, type ChainNames, type TableName } from './names.ts';
import type { Surroundings } from './text.ts';

interface SavedTable {
  /** Chains that are not built in. */
  readonly chains: readonly string[];
  /** Rules as printed, without `-A CHAIN `, by chain. */
  readonly rules: ReadonlyMap<string, readonly string[]>;
}

export type Saved = ReadonlyMap<TableName, SavedTable>;

export function parseSaved(text: string): Saved {
  const tables = new Map<TableName, { chains: string[]; rules: Map<string, string[]> }>();
  let table: { chains: string[]; rules: Map<string, string[]> } | undefined;
  for (const line of text.split('\n')) {
    if (line.startsWith('*')) {
      const name = TABLES.find((known) => line === `*${known}`);
      table = name === undefined ? undefined : { chains: [], rules: new Map() };
      if (name !== undefined && table !== undefined) tables.set(name, table);
    } else if (line.startsWith(':')) {
      const [name = '', policy] = line.slice(1).split(' ');
      if (policy === '-') table?.chains.push(name);
    } else if (line.startsWith('-A ')) {
      const end = line.indexOf(' ', 3);
      const chain = line.slice(3, end);
      const rules = table?.rules.get(chain) ?? [];
      table?.rules.set(chain, rules);
      rules.push(line.slice(end + 1));
    }
  }
  return tables;
}

/** One of our jumps, and where in its chain it belongs. */
interface Jump {
  readonly chain: string;
  readonly rule: string;
  readonly place: 'top' | 'end';
}

const LOCAL = '-m addrtype --dst-type LOCAL';

function jumps(names: ChainNames): Readonly<Record<TableName, readonly Jump[]>> {
  return {
    // Last line first: each is put at the top, so that the administrator's chain comes before ours.
    filter: [
      { chain: 'FORWARD', rule: `-j ${names.forward}`, place: 'top' },
      { chain: 'FORWARD', rule: `-j ${USER_CHAIN}`, place: 'top' },
    ],
    raw: [{ chain: 'PREROUTING', rule: `-j ${names.raw}`, place: 'top' }],
    nat: [
      { chain: 'PREROUTING', rule: `${LOCAL} -j ${names.dnat}`, place: 'end' },
      { chain: 'OUTPUT', rule: `${LOCAL} -j ${names.dnat}`, place: 'end' },
      { chain: 'POSTROUTING', rule: `-j ${names.snat}`, place: 'top' },
    ],
  };
}

/** Where a rule leads; what stands in quotes is somebody's comment. */
const targetOf = (rule: string): string | undefined =>
  / -[jg] (\S+)/.exec(` ${rule.replaceAll(/"(?:\\.|[^"\\])*"/g, '""')}`)?.[1];

/** True when FORWARD begins with the administrator's chain, then chains of ours and of other instances, each once. */
function isForwardInOrder(rules: readonly string[], names: ChainNames): boolean {
  const targets = rules.map((rule) => (rule.startsWith('-j ') ? targetOf(rule) : undefined));
  const ours = targets.indexOf(names.forward);
  return (
    targets[0] === USER_CHAIN &&
    ours > 0 &&
    targets.slice(1, ours).every((target) => target !== undefined && isForwardChain(target)) &&
    targets.filter((target) => target === USER_CHAIN).length === 1 &&
    targets.filter((target) => target === names.forward).length === 1
  );
}

/** Lines that give each of our jumps its place once; none when all is as it should be. */
function jumpLines(
  table: TableName,
  saved: SavedTable | undefined,
  names: ChainNames,
): { readonly before: string[]; readonly after: string[] } {
  const before: string[] = [];
  const after: string[] = [];
  for (const { chain, rule, place } of jumps(names)[table]) {
    const present = saved?.rules.get(chain) ?? [];
    const target = targetOf(rule);
    const ours = present.filter((line) => targetOf(line) === target);
    const isRight = chain === 'FORWARD' ? isForwardInOrder(present, names) : ours.length === 1 && ours[0] === rule;
    if (isRight) continue;
    before.push(...ours.map((line) => `-D ${chain} ${line}`));
    after.push(place === 'top' ? `-I ${chain} 1 ${rule}` : `-A ${chain} ${rule}`);
  }
  return { before, after };
}

/** Chains of this instance that rules outside of it lead to: they cannot be deleted. */
function heldFromOutside(saved: SavedTable | undefined, names: ChainNames): ReadonlySet<string> {
  const held = new Set<string>();
  for (const [chain, rules] of saved?.rules ?? []) {
    if (names.isOurs(chain)) continue;
    for (const rule of rules) {
      const target = targetOf(rule);
      if (target !== undefined && names.isOurs(target)) held.add(target);
    }
  }
  return held;
}

/** What goes around the rewrite of `wanted` chains in one table. */
export function surround(
  table: TableName,
  saved: SavedTable | undefined,
  wanted: ReadonlySet<string>,
  names: ChainNames,
): Surroundings {
  const { before, after } = jumpLines(table, saved, names);
  const left = (saved?.chains ?? []).filter((chain) => names.isOurs(chain) && !wanted.has(chain));
  const held = heldFromOutside(saved, names);
  const needsUserChain = table === 'filter' && !(saved?.chains ?? []).includes(USER_CHAIN);
  return {
    before: [...(needsUserChain ? [`-N ${USER_CHAIN}`] : []), ...before],
    after: [...after, ...left.filter((chain) => !held.has(chain)).map((chain) => `-X ${chain}`)],
    empty: left,
  };
}

/** True when a rewrite has to lay jumps, hence must look again afterwards. */
export const needsJumps = (saved: Saved, names: ChainNames): boolean =>
  TABLES.some((table) => jumpLines(table, saved.get(table), names).after.length > 0);

/** A chain as it was wanted and printed at one look. */
interface Print {
  readonly wanted: string;
  readonly printed: string;
}

/** By table and chain. */
export type Prints = ReadonlyMap<string, Print>;

type Wanted = ReadonlyMap<TableName, ReadonlyMap<string, readonly string[]>>;

/**
 * What this look leaves for the next one; undefined when something is not as it should be: a jump of ours, the number of rules
 * in a chain, or, where the same rules were wanted at the last look, what is printed of them. The tool prints rules otherwise
 * than it reads them, hence prints are compared with prints.
 */
export function holds(saved: Saved, wanted: Wanted, names: ChainNames, last: Prints): Prints | undefined {
  if (needsJumps(saved, names)) return undefined;
  const prints = new Map<string, Print>();
  for (const [table, chains] of wanted) {
    const there = saved.get(table);
    const known = new Set(there?.chains);
    for (const [chain, rules] of chains) {
      const found = there?.rules.get(chain) ?? [];
      if (!known.has(chain) || found.length !== rules.length) return undefined;
      const key = `${table} ${chain}`;
      const digestOf = names.isOrdered(chain) ? digestInOrder : digestOfSet;
      const print = { wanted: digestOf(rules), printed: digestOf(found) };
      const before = last.get(key);
      if (before?.wanted === print.wanted && before.printed !== print.printed) return undefined;
      prints.set(key, print);
    }
  }
  return prints;
}

const digestInOrder = (rules: readonly string[]): string => createHash('sha1').update(rules.join('\n')).digest('base64');
/** Rules that come and go one by one have no order, hence a print has none either. */
const digestOfSet = (rules: readonly string[]): string => digestInOrder(rules.toSorted());

/** Lines that take everything of this instance away, and the administrator's chain when it is empty and the last of us goes. */
export function removalLines(table: TableName, saved: SavedTable | undefined, names: ChainNames): readonly string[] {
  const ours = (saved?.chains ?? []).filter((chain) => names.isOurs(chain));
  const others = (saved?.chains ?? []).filter((chain) => isForwardChain(chain) && chain !== names.forward);
  const isLast =
    table === 'filter' && (saved?.chains ?? []).includes(USER_CHAIN) && others.length === 0 && !saved?.rules.has(USER_CHAIN);
  const gone = new Set([...ours, ...(isLast ? [USER_CHAIN] : [])]);
  const jumpsToGone = [...(saved?.rules ?? [])]
    .filter(([chain]) => !gone.has(chain))
    .flatMap(([chain, rules]) => rules.filter((rule) => gone.has(targetOf(rule) ?? '')).map((rule) => `-D ${chain} ${rule}`));
  return [...ours.map((chain) => `:${chain} - [0:0]`), ...jumpsToGone, ...[...gone].map((chain) => `-X ${chain}`)];
}
