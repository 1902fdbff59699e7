/** Owners that have something of the cluster on this host since the start, or ask for it: a sweep that comes late leaves them alone. Pure. */

/** Begins the name of what is asked for. */
const ASKED = 'asked for ';

export class Served {
  /** By owner: pools and addresses, and what is asked for. */
  readonly #things = new Map<string, Set<string>>();
  #asked = 0;

  get size(): number {
    return this.#things.size;
  }

  has(owner: string): boolean {
    return this.#things.has(owner);
  }

  /** Does what gives the owner the thing that `nameOf` its result; where it fails, the owner has what it had. */
  async give<T>(owner: string, nameOf: (result: T) => string, work: () => Promise<T>): Promise<T> {
    const asked = `${ASKED}${++this.#asked}`;
    this.#add(owner, asked);
    try {
      const result = await work();
      this.#add(owner, nameOf(result));
      return result;
    } finally {
      this.take(owner, asked);
    }
  }

  /** Undoes give(). */
  take(owner: string, name: string): void {
    const things = this.#things.get(owner);
    things?.delete(name);
    if (things?.size === 0) this.#things.delete(owner);
  }

  /** Undoes what was given to an owner and is named so; what is asked for stays so. */
  takeAll(owner: string, isNamed: (name: string) => boolean): void {
    for (const name of this.#things.get(owner) ?? []) if (!name.startsWith(ASKED) && isNamed(name)) this.take(owner, name);
  }

  #add(owner: string, name: string): void {
    const things = this.#things.get(owner);
    if (things === undefined) this.#things.set(owner, new Set([name]));
    else things.add(name);
  }
}
