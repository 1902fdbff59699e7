/** How long things that wait for somebody have been known, by a clock that nobody sets. A start begins anew. */

export class Ages {
  readonly #steady: () => number;
  readonly #known = new Map<string, number>();

  /** `steady`: as of Env. */
  constructor(steady: () => number) {
    this.#steady = steady;
  }

  /** Milliseconds since the first time that this was asked of it. */
  of(id: string): number {
    const now = this.#steady();
    const since = this.#known.get(id) ?? now;
    this.#known.set(id, since);
    return now - since;
  }

  /** Forgets all others. */
  keep(ids: ReadonlySet<string>): void {
    for (const id of this.#known.keys()) if (!ids.has(id)) this.#known.delete(id);
  }
}
