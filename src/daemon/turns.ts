/** Requests of one connection, begun one after the other, in the order in which they came. */

import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** Requests of all connections that may wait for the one before them. */
const MAX_WAITING = 4096;

interface State {
  /** Of the request that came last. */
  last: ServerResponse;
  waiting: number;
  /** Whether what waits is forgotten with the connection. */
  isWatched: boolean;
  /** Whether the connection ends after the last answer. */
  isEnding: boolean;
}

/**
 * A client need not wait for an answer before it sends its next request; only safe ones might be worked on at once (RFC 9112
 * §9.3.2). What waits when its client goes is never begun.
 */
export class Turns {
  readonly #states = new WeakMap<Socket, State>();
  #waiting = 0;

  /** Calls `begin` when all answers before this one are over, at once where there are none. False, and no call: too many wait. */
  take(socket: Socket, response: ServerResponse, begin: () => void): boolean {
    const state = this.#states.get(socket) ?? this.#first(socket, response);
    if (state.last === response || state.last.closed) {
      state.last = response;
      begin();
      return true;
    }
    if (this.#waiting >= MAX_WAITING) return false;
    const before = state.last;
    state.last = response;
    state.waiting++;
    this.#waiting++;
    if (!state.isWatched) this.#forgetWith(socket, state);
    before.once('close', () => {
      if (socket.destroyed) return;
      state.waiting--;
      this.#waiting--;
      begin();
    });
    return true;
  }

  /** Calls `end` once, when the answers under way are over; at once where the last request is not whole, which is never answered then. */
  endAfter(socket: Socket, end: () => void): void {
    const state = this.#states.get(socket);
    if (state === undefined || state.last.closed || !state.last.req.complete) return end();
    if (state.isEnding) return;
    state.isEnding = true;
    state.last.once('close', end);
  }

  #first(socket: Socket, response: ServerResponse): State {
    const state = { last: response, waiting: 0, isWatched: false, isEnding: false };
    this.#states.set(socket, state);
    return state;
  }

  #forgetWith(socket: Socket, state: State): void {
    state.isWatched = true;
    socket.once('close', () => {
      this.#waiting -= state.waiting;
      state.waiting = 0;
    });
  }
}
