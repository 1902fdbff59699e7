/**
 * The Firewall on iptables. It keeps every owner's wish in memory, sends the kernel only what changes, and rewrites all its
 * chains when a change fails, which also mends what others flushed.
 */

import { CnmError, KeyedLock, messageOf, type IpFamily, type Logger } from '../../base/index.ts';
import { nftGeneration, type Mark, type Netns } from '../../kernel/index.ts';
import type { Firewall, FirewallChange, Intent } from '../contract.ts';
import { RuleBook, type OwnerChange, type RuleSet } from '../diff.ts';
import { forgetStrays } from '../strays.ts';
import { compileBase, compileBridge } from './bridge.ts';
import { TABLES, chainNames, type ChainNames, type TableName } from './names.ts';
import { compilePorts } from './ports.ts';
import { type Prints, holds, needsJumps, parseSaved, removalLines, surround } from './saved.ts';
import { editText, wholeText } from './text.ts';
import { Restorer } from './restorer.ts';
import { saveRules, type ToolOptions } from './tool.ts';

export interface IptablesOptions extends ToolOptions {
  readonly host: Netns;
  readonly mark: Mark;
  readonly log: Logger;
}

const FAMILIES: readonly IpFamily[] = [4, 6];
/** Rewrites until our jumps are seen in place while others lay theirs. */
const REWRITE_ATTEMPTS = 5;
/** Looks without a change between two that read all rules all the same. */
const QUIET_CHECKS = 12;
/** Owner of what the instance itself needs. */
const BASE = 'base';
const NO_PRINTS: Prints = new Map();

type Book = RuleBook<TableName>;
type Changes = Readonly<Record<IpFamily, readonly OwnerChange<TableName>[]>>;

/** Changes nothing until the first call. */
export function createIptablesFirewall(options: IptablesOptions): Firewall {
  return new IptablesFirewall(options);
}

class IptablesFirewall implements Firewall {
  readonly backend = 'iptables';
  readonly #options: IptablesOptions;
  readonly #names: ChainNames;
  readonly #lock = new KeyedLock();
  readonly #restorers: Readonly<Record<IpFamily, Restorer>>;
  #books: Readonly<Record<IpFamily, Book>>;
  /** False until our chains have been written as a whole. */
  #isLaid = false;
  /** How our chains were printed at the last look. */
  readonly #prints: Record<IpFamily, Prints> = { 4: NO_PRINTS, 6: NO_PRINTS };
  /** Count of changes at the last look. */
  #seen: number | undefined;
  #quietChecks = 0;

  constructor(options: IptablesOptions) {
    this.#options = options;
    this.#names = chainNames(options.mark.tag);
    this.#restorers = { 4: new Restorer(options, 4), 6: new Restorer(options, 6) };
    this.#books = this.#emptyBooks();
  }

  apply(changes: readonly FirewallChange[]): Promise<void> {
    return this.#alone(() => this.#apply(this.#compile(changes)));
  }

  mend(changes: readonly FirewallChange[]): Promise<void> {
    return this.#alone(async () => {
      const compiled = this.#compile(changes);
      const isNew = FAMILIES.some((family) => this.#books[family].plan(compiled[family]).size > 0);
      await this.#apply(compiled);
      if (isNew) await this.#forgetStrays();
    });
  }

  sync(all: readonly { readonly owner: string; readonly intent: Intent }[]): Promise<void> {
    return this.#alone(async () => {
      const books = this.#emptyBooks();
      const changes = this.#compile(all);
      for (const family of FAMILIES) books[family].set(changes[family]);
      const wasWhole = await this.#rewrite(books);
      this.#books = books;
      this.#isLaid = true;
      if (!wasWhole) await this.#forgetStrays();
    });
  }

  closeForward(family: IpFamily): Promise<void> {
    return this.#alone(() => this.#restore(family, '*filter\n:FORWARD DROP [0:0]\nCOMMIT\n'));
  }

  check(): Promise<boolean> {
    return this.#alone(async () => {
      if (!this.#isLaid || !this.#hasChanged()) return false;
      const isWhole = await this.#isWhole();
      if (!isWhole) await this.#rewrite(this.#books);
      this.#seen = nftGeneration(this.#options.host);
      if (!isWhole) await this.#forgetStrays();
      return !isWhole;
    });
  }

  /** Nothing has changed while the kernel's count of changes stands; rules of iptables-legacy are not in that count. */
  #hasChanged(): boolean {
    const now = nftGeneration(this.#options.host);
    const isQuiet = now !== undefined && now === this.#seen;
    this.#quietChecks = isQuiet ? this.#quietChecks + 1 : 0;
    return !isQuiet || this.#quietChecks % QUIET_CHECKS === 0;
  }

  async #isWhole(): Promise<boolean> {
    for (const family of FAMILIES) {
      const book = this.#books[family];
      try {
        const saved = parseSaved(await saveRules(this.#options, family));
        const prints = holds(saved, book.whole(), this.#names, this.#prints[family]);
        this.#prints[family] = prints ?? NO_PRINTS;
        if (prints === undefined) return false;
      } catch (error) {
        if (family === 4 || book.owners.length > 1) throw error;
      }
    }
    return true;
  }

  reload(): Promise<void> {
    return this.#alone(async () => {
      await this.#rewrite(this.#books);
      this.#isLaid = true;
      await this.#forgetStrays();
    });
  }

  purge(): Promise<void> {
    return this.#alone(async () => {
      for (const family of FAMILIES) await this.#purge(family);
      this.#books = this.#emptyBooks();
      this.#isLaid = false;
    });
  }

  close(): Promise<void> {
    return this.#alone(async () => {
      await Promise.all(FAMILIES.map((family) => this.#restorers[family].close()));
    });
  }

  #alone<T>(work: () => Promise<T>): Promise<T> {
    return this.#lock.run('firewall', work);
  }

  #emptyBooks(): Readonly<Record<IpFamily, Book>> {
    const book = (family: IpFamily): Book => {
      const fresh: Book = new RuleBook();
      fresh.set([[BASE, compileBase(family, this.#names)]]);
      return fresh;
    };
    return { 4: book(4), 6: book(6) };
  }

  /** The last wish of an owner that is named twice counts. */
  #compile(changes: readonly FirewallChange[]): Changes {
    const last = new Map(changes.map(({ owner, intent }) => [owner, intent]));
    const family = (at: IpFamily): readonly OwnerChange<TableName>[] =>
      [...last].map(([owner, intent]) => [`owner ${owner}`, this.#compileOne(owner, intent, at)]);
    return { 4: family(4), 6: family(6) };
  }

  #compileOne(owner: string, intent: Intent | null, family: IpFamily): RuleSet<TableName> | undefined {
    if (intent === null) return undefined;
    if (intent.kind === 'bridge') return compileBridge(intent, family, this.#names);
    return compilePorts(owner, intent, family, this.#names);
  }

  async #apply(changes: Changes): Promise<void> {
    const before = this.#inverse(changes);
    const texts = FAMILIES.map((family) => editText(this.#books[family].plan(changes[family])));
    for (const family of FAMILIES) this.#books[family].set(changes[family]);
    try {
      if (this.#isLaid) await this.#restoreAll(texts);
      else if (!(await this.#rewrite(this.#books))) await this.#forgetStrays();
      this.#isLaid = true;
    } catch (error) {
      await this.#mend(error, before);
    }
  }

  async #restoreAll(texts: readonly string[]): Promise<void> {
    const results = await Promise.allSettled(FAMILIES.map((family, i) => this.#restore(family, texts[i] ?? '')));
    const failed = results.find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  }

  async #restore(family: IpFamily, text: string): Promise<void> {
    if (text !== '') await this.#restorers[family].restore(text);
  }

  #inverse(changes: Changes): Changes {
    const family = (at: IpFamily): readonly OwnerChange<TableName>[] =>
      changes[at].map(([owner]) => [owner, this.#books[at].get(owner)]);
    return { 4: family(4), 6: family(6) };
  }

  /**
   * After a failed change: a rewrite with the new wishes heals when somebody had flushed our chains; when it fails too, the
   * change itself is at fault, and a rewrite with the old wishes restores what was.
   */
  async #mend(error: unknown, before: Changes): Promise<void> {
    if (this.#isLaid) {
      try {
        await this.#rewrite(this.#books);
        await this.#forgetStrays();
        this.#options.log.warn({ error: messageOf(error) }, 'firewall rules were not as left; all were written again');
        return;
      } catch {
        // The first error says more.
      }
    }
    for (const family of FAMILIES) this.#books[family].set(before[family]);
    try {
      if (!(await this.#rewrite(this.#books))) await this.#forgetStrays();
      this.#isLaid = true;
    } catch (failure) {
      this.#isLaid = false;
      if (error instanceof CnmError) error.undoFailures = [{ label: 'firewall rules as before', error: failure }];
    }
    throw error;
  }

  /** Never throws: the rules are what counts. */
  async #forgetStrays(): Promise<void> {
    try {
      await forgetStrays(
        this.#options.host,
        FAMILIES.flatMap((family) => this.#books[family].translated()),
      );
    } catch (error) {
      this.#options.log.warn({ error: messageOf(error) }, 'flows that began without rules of ours were not forgotten');
    }
  }

  /** False when rules or jumps that are wished were not there before. */
  async #rewrite(books: Readonly<Record<IpFamily, Book>>): Promise<boolean> {
    let wasWhole = true;
    for (const family of FAMILIES) {
      try {
        if (!(await this.#rewriteFamily(family, books[family]))) wasWhole = false;
      } catch (error) {
        const isNeeded = family === 4 || books[family].owners.length > 1;
        if (isNeeded) throw error;
        this.#options.log.warn({ error: messageOf(error) }, 'no firewall rules for IPv6, and none is needed yet');
      }
    }
    return wasWhole;
  }

  async #rewriteFamily(family: IpFamily, book: Book): Promise<boolean> {
    const whole = book.whole();
    let wasWhole = true;
    let lastError: unknown;
    for (let attempt = 0; attempt < REWRITE_ATTEMPTS; attempt++) {
      const saved = parseSaved(await saveRules(this.#options, family));
      const areJumpsRight = !needsJumps(saved, this.#names);
      if (attempt === 0) wasWhole = areJumpsRight && holds(saved, whole, this.#names, NO_PRINTS) !== undefined;
      if (attempt > 0 && areJumpsRight && lastError === undefined) return wasWhole;
      const text = wholeText(whole, (table) => surround(table, saved.get(table), new Set(whole.get(table)?.keys()), this.#names));
      try {
        await this.#restorers[family].restore(text);
        lastError = undefined;
      } catch (error) {
        // Another instance may have laid the administrator's chain, or moved a jump, since we looked.
        lastError = error;
        if (attempt > 0 && areJumpsRight) break;
      }
      if (lastError === undefined && areJumpsRight) return wasWhole;
    }
    if (lastError !== undefined) throw lastError;
    throw new CnmError(
      'firewall_failed',
      `the jumps from FORWARD to our chains do not stay in place in ${REWRITE_ATTEMPTS} attempts`,
    );
  }

  async #purge(family: IpFamily): Promise<void> {
    const saved = parseSaved(await saveRules(this.#options, family));
    const text = TABLES.toReversed()
      .map((table) => ({ table, lines: removalLines(table, saved.get(table), this.#names) }))
      .filter(({ lines }) => lines.length > 0)
      .map(({ table, lines }) => ['*' + table, ...lines, 'COMMIT', ''].join('\n'))
      .join('');
    await this.#restore(family, text);
  }
}
