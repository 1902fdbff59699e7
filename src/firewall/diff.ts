/**
 * What each owner wants of one family's tables, and the smallest change from one wish to the next. Pure: it knows rules as
 * text and no tool.
 *
 * An owner has chains of its own, written as a whole, and single rules in chains that owners share. Shared rules and shared
 * chains are counted: the first owner brings them, the last one takes them away.
 */

import type { PortRule } from './contract.ts';

export interface ChainAt<Table extends string> {
  readonly table: Table;
  readonly chain: string;
}

interface OwnChain<Table extends string> extends ChainAt<Table> {
  readonly rules: readonly string[];
}

export interface SharedRule<Table extends string> extends ChainAt<Table> {
  readonly rule: string;
}

/** One owner's whole wish. */
export interface RuleSet<Table extends string> {
  readonly own: readonly OwnChain<Table>[];
  /** None may depend on its place, except rules of an owner that comes first and stays. */
  readonly shared: readonly SharedRule<Table>[];
  /** Shared chains that must exist for this owner, beside those of its shared rules. */
  readonly uses: readonly ChainAt<Table>[];
  /** Ports of the host that these rules lead elsewhere. */
  readonly translated?: readonly PortRule[];
}

/** One table's part of a change. */
export interface TableEdit {
  /** Chains to make, or to empty when they exist, with all their rules. */
  readonly write: readonly { readonly chain: string; readonly rules: readonly string[] }[];
  readonly remove: readonly { readonly chain: string; readonly rule: string }[];
  readonly add: readonly { readonly chain: string; readonly rule: string }[];
  /** Chains to empty and delete. */
  readonly drop: readonly string[];
}

export type Edit<Table extends string> = ReadonlyMap<Table, TableEdit>;

export type OwnerChange<Table extends string> = readonly [owner: string, wish: RuleSet<Table> | undefined];

interface MutableEdit {
  write: { chain: string; rules: readonly string[] }[];
  remove: { chain: string; rule: string }[];
  add: { chain: string; rule: string }[];
  drop: string[];
}

/** The wishes of all owners in one family. */
export class RuleBook<Table extends string> {
  readonly #wishes = new Map<string, RuleSet<Table>>();
  readonly #rules = new Map<string, { readonly at: SharedRule<Table>; count: number }>();
  readonly #chains = new Map<string, { readonly at: ChainAt<Table>; count: number }>();

  get owners(): readonly string[] {
    return [...this.#wishes.keys()];
  }

  get(owner: string): RuleSet<Table> | undefined {
    return this.#wishes.get(owner);
  }

  /** Ports of the host that the rules of all owners lead elsewhere. */
  translated(): readonly PortRule[] {
    return [...this.#wishes.values()].flatMap(({ translated }) => translated ?? []);
  }

  /** The change that `set` of the same would need; nothing is stored. An owner may be named once. */
  plan(changes: readonly OwnerChange<Table>[]): Edit<Table> {
    const edits = new Map<Table, MutableEdit>();
    const edit = (table: Table): MutableEdit => {
      const present = edits.get(table) ?? { write: [], remove: [], add: [], drop: [] };
      edits.set(table, present);
      return present;
    };
    const rules = new Map<string, { readonly at: SharedRule<Table>; by: number }>();
    const chains = new Map<string, { readonly at: ChainAt<Table>; by: number }>();
    for (const [owner, wish] of changes) {
      const old = this.#wishes.get(owner);
      if (old === wish) continue;
      planOwn(old?.own ?? [], wish?.own ?? [], edit);
      for (const at of sharedRules(old)) shift(rules, ruleKey(at), at, -1);
      for (const at of sharedRules(wish)) shift(rules, ruleKey(at), at, 1);
      for (const at of sharedChains(old)) shift(chains, chainKey(at), at, -1);
      for (const at of sharedChains(wish)) shift(chains, chainKey(at), at, 1);
    }
    for (const [key, { at, by }] of rules) {
      const before = this.#rules.get(key)?.count ?? 0;
      if (before === 0 && by > 0) edit(at.table).add.push({ chain: at.chain, rule: at.rule });
      if (before > 0 && before + by === 0) edit(at.table).remove.push({ chain: at.chain, rule: at.rule });
    }
    for (const [key, { at, by }] of chains) {
      const before = this.#chains.get(key)?.count ?? 0;
      if (before === 0 && by > 0) edit(at.table).write.unshift({ chain: at.chain, rules: [] });
      if (before > 0 && before + by === 0) edit(at.table).drop.push(at.chain);
    }
    return edits;
  }

  /** Stores wishes; undefined forgets the owner. */
  set(changes: readonly OwnerChange<Table>[]): void {
    for (const [owner, wish] of changes) {
      const old = this.#wishes.get(owner);
      if (old === wish) continue;
      for (const at of sharedRules(wish)) count(this.#rules, ruleKey(at), at, 1);
      for (const at of sharedChains(wish)) count(this.#chains, chainKey(at), at, 1);
      for (const at of sharedRules(old)) count(this.#rules, ruleKey(at), at, -1);
      for (const at of sharedChains(old)) count(this.#chains, chainKey(at), at, -1);
      if (wish === undefined) this.#wishes.delete(owner);
      else this.#wishes.set(owner, wish);
    }
  }

  /** Every chain of every table with its rules, shared ones in the order in which they came. */
  whole(): ReadonlyMap<Table, ReadonlyMap<string, readonly string[]>> {
    const tables = new Map<Table, Map<string, string[]>>();
    const chain = ({ table, chain: name }: ChainAt<Table>): string[] => {
      const all = tables.get(table) ?? new Map<string, string[]>();
      tables.set(table, all);
      const list = all.get(name) ?? [];
      all.set(name, list);
      return list;
    };
    for (const { at } of this.#chains.values()) chain(at);
    for (const wish of this.#wishes.values()) for (const own of wish.own) chain(own).push(...own.rules);
    for (const { at } of this.#rules.values()) chain(at).push(at.rule);
    return tables;
  }
}

const chainKey = ({ table, chain }: ChainAt<string>): string => `${table} ${chain}`;
const ruleKey = (at: SharedRule<string>): string => `${chainKey(at)} ${at.rule}`;
const sharedRules = <T extends string>(wish: RuleSet<T> | undefined): readonly SharedRule<T>[] => wish?.shared ?? [];
const sharedChains = <T extends string>(wish: RuleSet<T> | undefined): readonly ChainAt<T>[] =>
  wish === undefined ? [] : [...wish.uses, ...wish.shared];

function shift<A>(map: Map<string, { readonly at: A; by: number }>, key: string, at: A, by: number): void {
  const present = map.get(key);
  if (present === undefined) map.set(key, { at, by });
  else present.by += by;
}

function count<A>(map: Map<string, { readonly at: A; count: number }>, key: string, at: A, by: number): void {
  const present = map.get(key);
  if (present === undefined) map.set(key, { at, count: by });
  else {
    present.count += by;
    if (present.count === 0) map.delete(key);
  }
}

function planOwn<T extends string>(
  old: readonly OwnChain<T>[],
  wish: readonly OwnChain<T>[],
  edit: (table: T) => MutableEdit,
): void {
  const before = new Map(old.map((own) => [chainKey(own), own]));
  for (const own of wish) {
    const present = before.get(chainKey(own));
    before.delete(chainKey(own));
    if (present === undefined || !sameRules(present.rules, own.rules))
      edit(own.table).write.push({ chain: own.chain, rules: own.rules });
  }
  for (const own of before.values()) edit(own.table).drop.push(own.chain);
}

const sameRules = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && a.every((rule, i) => rule === b[i]);
