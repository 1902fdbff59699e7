/** Taking and printing figures. */

export interface Figure {
  readonly name: string;
  /** Of `value`, `floor` and `peer`. */
  readonly unit: 'ms' | '/s' | 'MB' | 'µs' | '%' | 'Mbit/s' | '×';
  /** Median. */
  readonly value: number;
  /** The bare sequence of the same run, and what it is. */
  readonly floor?: number;
  readonly what?: string;
  /** What the figure is meant to be, at most or at least. */
  readonly goal?: string;
}

/** The same work of somebody else's program in the same run. */
export interface PeerFigure {
  readonly name: string;
  readonly peer: string;
  readonly value: number;
}

export async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = process.hrtime.bigint();
  await work();
  return Number(process.hrtime.bigint() - start) / 1e6;
}

/** Milliseconds of each of `rounds` rounds. */
export async function series(rounds: number, work: (round: number) => Promise<unknown>): Promise<number[]> {
  const all: number[] = [];
  for (let i = 0; i < rounds; i++) all.push(await timed(() => work(i)));
  return all;
}

export const median = (values: readonly number[]): number => quantile(values, 0.5);

/** By nearest rank: the least value that so large a part of all does not exceed. */
export function quantile(values: readonly number[], at: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * at) - 1)] ?? Number.NaN;
}

function shown(value: number | undefined, unit: Figure['unit']): string {
  if (value === undefined) return '';
  if (unit === '/s') return `${Math.round(value).toLocaleString('en')}/s`;
  return `${value.toFixed(value < 100 ? 2 : 0)} ${unit}`;
}

export function print(figures: readonly Figure[]): void {
  table(
    ['work', 'here', 'goal', 'floor', 'ratio', 'what the floor is'],
    figures.map((f) => [
      f.name,
      shown(f.value, f.unit),
      f.goal ?? '',
      shown(f.floor, f.unit),
      f.floor === undefined ? '' : (f.value / f.floor).toFixed(2),
      f.what ?? '',
    ]),
  );
}

export function printPeers(figures: readonly Figure[], peers: readonly PeerFigure[]): void {
  table(
    ['work', 'here', 'peer', 'its figure', 'ratio'],
    peers.flatMap(({ name, peer, value }) => {
      const ours = figures.find((f) => f.name === name);
      return ours === undefined
        ? []
        : [[name, shown(ours.value, ours.unit), peer, shown(value, ours.unit), (ours.value / value).toFixed(2)]];
    }),
  );
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): void {
  const all = [head, ...rows];
  const widths = head.map((_, i) => Math.max(...all.map((row) => row[i]?.length ?? 0)));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd();
  process.stdout.write(`\n${all.map(line).join('\n')}\n`);
}
