/** Remembers which upstreams keep silent, so that one dead server costs its delay once and not once a question. Pure but for the clock. */

/** How long an upstream may be silent before the next one is asked beside it, milliseconds. */
const PATIENCE_MS = 1000;
/** The same for one that was silent the last time. */
const SHORT_PATIENCE_MS = 200;
/** Silences in a row after which an upstream is asked last. */
const SILENCES_TO_DEMOTE = 2;
/** A demoted upstream is tried beside the others at most this often, so that its return is noticed. */
const PROBE_INTERVAL_MS = 1000;
/** Upstreams remembered; the longest unused one is forgotten first. */
const MAX_REMEMBERED = 4096;

interface State {
  silences: number;
  lastProbe: number;
}

export class UpstreamHealth {
  readonly #states = new Map<string, State>();
  readonly #now: () => number;
  readonly #changed: (key: string, isDemoted: boolean) => void;
  readonly #counted: (silent: number) => void;

  /**
   * `now` counts milliseconds and never goes back. `changed` hears when an upstream falls silent for good or is back, `counted` how many
   * were silent the last time.
   */
  constructor(
    now: () => number,
    changed: (key: string, isDemoted: boolean) => void = () => {},
    counted: (silent: number) => void = () => {},
  ) {
    this.#now = now;
    this.#changed = changed;
    this.#counted = counted;
  }

  /** Reports any sound reply, also an error code. */
  answered(key: string): void {
    const wasDemoted = this.isDemoted(key);
    if (this.#states.delete(key)) this.#counted(this.#states.size);
    if (wasDemoted) this.#changed(key, false);
  }

  /** Reports that its patience passed, or its whole time, without a word. */
  silent(key: string): void {
    const state = this.#states.get(key) ?? { silences: 0, lastProbe: this.#now() };
    this.#states.delete(key);
    if (this.#states.size >= MAX_REMEMBERED) {
      for (const oldest of this.#states.keys()) {
        this.#states.delete(oldest);
        break;
      }
    }
    this.#states.set(key, { ...state, silences: state.silences + 1 });
    this.#counted(this.#states.size);
    if (state.silences + 1 === SILENCES_TO_DEMOTE) this.#changed(key, true);
  }

  isDemoted(key: string): boolean {
    return (this.#states.get(key)?.silences ?? 0) >= SILENCES_TO_DEMOTE;
  }

  /** True when a demoted upstream is due for a try; counts as that try. */
  takeProbe(key: string): boolean {
    const state = this.#states.get(key);
    if (state === undefined || this.#now() - state.lastProbe < PROBE_INTERVAL_MS) return false;
    state.lastProbe = this.#now();
    return true;
  }

  /** Milliseconds to wait for it before the next one is asked too. */
  patienceMs(key: string): number {
    return this.#states.has(key) ? SHORT_PATIENCE_MS : PATIENCE_MS;
  }
}
