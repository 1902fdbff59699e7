/**
 * A key for each commit, which must not be there yet: it tells one whose answer was lost from one that did not happen, and while it
 * is there the same commit is not done again. A member of etcd that hung does what it was asked before also when nobody waits for that any more,
 * and nobody else has it by then: such a commit's marker stays for a while.
 */

/** How long a member may hang and be told of a commit all the same, milliseconds. */
const KEPT_MS = 600_000;

export class Markers {
  readonly #prefix: string;
  #commits = 0;
  /** Of commits that nobody repeats: the next commit takes them away. */
  readonly #settled: Buffer[] = [];
  /** Of commits that may still be done: they are not there, as far as is known. */
  readonly #doubtful: Buffer[] = [];
  /** Of commits that may still be repeated; the oldest ones first. */
  readonly #kept: { readonly marker: Buffer; readonly until: number }[] = [];

  constructor(prefix: string) {
    this.#prefix = prefix;
  }

  next(): Buffer {
    return Buffer.from(`${this.#prefix}/${this.#commits++}`);
  }

  settle(markers: readonly Buffer[]): void {
    this.#settled.push(...markers);
  }

  doubt(marker: Buffer): void {
    this.#doubtful.push(marker);
  }

  get isDoubtful(): boolean {
    return this.#doubtful.length > 0;
  }

  /** They are there, and stay so. */
  keep(markers: readonly Buffer[]): void {
    const until = performance.now() + KEPT_MS;
    this.#kept.push(...markers.map((marker) => ({ marker, until })));
  }

  /** Hands out some to be put there, and forgets them. */
  doubtful(most: number): Buffer[] {
    return this.#doubtful.splice(0, most);
  }

  /** Hands out some to be taken away, and forgets them. */
  settled(most: number): Buffer[] {
    const now = performance.now();
    while ((this.#kept[0]?.until ?? Infinity) <= now) this.#settled.push(...this.#kept.splice(0, 1).map(({ marker }) => marker));
    return this.#settled.splice(0, Math.max(0, most));
  }

  /** Some of all that may be there. */
  all(most: number): readonly Buffer[] {
    return [...this.#settled, ...this.#doubtful, ...this.#kept.map(({ marker }) => marker)].slice(0, most);
  }
}
