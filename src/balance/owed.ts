/** Flows of a namespace that are to be deleted, and are owed until that has been done. Pure. */

import type { ConntrackMatch } from '../kernel/index.ts';

/** What the flows were sent to, whoever answers. */
const keyOf = ({ family, protocol, originalDestination, originalDestinationPort }: ConntrackMatch): string =>
  [family, protocol, originalDestination, originalDestinationPort].join(' ');

export class OwedFlows {
  readonly #matches = new Map<string, ConntrackMatch>();

  get matches(): readonly ConntrackMatch[] {
    return [...this.#matches.values()];
  }

  /**
   * Owes these too. Of what leads to one place the last word counts, and `now` has it for what is owed already: who has become a
   * member since keeps its connections.
   */
  add(flows: readonly ConntrackMatch[], now: () => readonly ConntrackMatch[]): void {
    if (this.#matches.size > 0)
      for (const match of now()) if (this.#matches.has(keyOf(match))) this.#matches.set(keyOf(match), match);
    for (const match of flows) this.#matches.set(keyOf(match), match);
  }

  clear(): void {
    this.#matches.clear();
  }
}
