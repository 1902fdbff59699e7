/** Set of numbers kept as sorted runs: an IPv6 /64 with a few leases costs a few entries. */

interface Run {
  first: bigint;
  last: bigint;
}

export class RunSet {
  readonly #runs: Run[] = [];

  has(value: bigint): boolean {
    const run = this.#runs[this.#indexBefore(value)];
    return run !== undefined && value <= run.last;
  }

  /** False when `value` was in the set already. */
  add(value: bigint): boolean {
    const at = this.#indexBefore(value);
    const before = this.#runs[at];
    const after = this.#runs[at + 1];
    if (before !== undefined && value <= before.last) return false;
    const joinsBefore = before !== undefined && before.last + 1n === value;
    const joinsAfter = after !== undefined && after.first - 1n === value;
    if (joinsBefore && joinsAfter) {
      before.last = after.last;
      this.#runs.splice(at + 1, 1);
    } else if (joinsBefore) before.last = value;
    else if (joinsAfter) after.first = value;
    else this.#runs.splice(at + 1, 0, { first: value, last: value });
    return true;
  }

  /** False when `value` was not in the set. */
  remove(value: bigint): boolean {
    const at = this.#indexBefore(value);
    const run = this.#runs[at];
    if (run === undefined || value > run.last) return false;
    const left = { first: run.first, last: value - 1n };
    const right = { first: value + 1n, last: run.last };
    this.#runs.splice(at, 1, ...[left, right].filter((part) => part.first <= part.last));
    return true;
  }

  /** Lowest number of `from`…`to` (both included) that is not in the set. */
  firstFree(from: bigint, to: bigint): bigint | undefined {
    const run = this.#runs[this.#indexBefore(from)];
    const candidate = run !== undefined && from <= run.last ? run.last + 1n : from;
    return candidate <= to ? candidate : undefined;
  }

  /** How many numbers of `from`…`to` (both included) are in the set. */
  countIn(from: bigint, to: bigint): bigint {
    let count = 0n;
    for (let i = Math.max(this.#indexBefore(from), 0); i < this.#runs.length; i++) {
      const run = this.#runs[i];
      if (run === undefined || run.first > to) break;
      const first = run.first > from ? run.first : from;
      const last = run.last < to ? run.last : to;
      if (first <= last) count += last - first + 1n;
    }
    return count;
  }

  /** Number of runs: what the set costs. */
  get runs(): number {
    return this.#runs.length;
  }

  /** Index of the last run that starts at or before `value`; -1 when there is none. */
  #indexBefore(value: bigint): number {
    let low = 0;
    let high = this.#runs.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const run = this.#runs[middle];
      if (run !== undefined && run.first <= value) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }
}
