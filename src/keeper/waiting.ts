/** Replies of one upstream that wait for their turn: bounded by number and by octets, since a datagram may be a long one. Pure. */

import type { Pace } from '../dns/index.ts';

/** Replies that may wait; more are dropped. */
const MAX_REPLIES = 64;
/** Octets of them together: two of the longest there are. */
const MAX_OCTETS = 1 << 17;

export class WaitingReplies {
  readonly #pace: Pace;
  #replies = 0;
  #octets = 0;

  constructor(pace: Pace) {
    this.#pace = pace;
  }

  /** Does `work`, for a reply of so many octets, in its turn, or never where too much waits already. */
  add(octets: number, work: () => void): void {
    if (this.#replies >= MAX_REPLIES || this.#octets + octets > MAX_OCTETS) return;
    this.#replies++;
    this.#octets += octets;
    this.#pace(() => {
      this.#replies--;
      this.#octets -= octets;
      work();
    });
  }
}
