/** Taking and printing figures. */

export interface Figure {
  readonly name: string;
  /** Median, milliseconds. */
  readonly ms?: number;
  /** Median, operations a second. */
  readonly perSecond?: number;
  /** The bare sequence, in the same unit. */
  readonly floor: number;
  /** What the floor is. */
  readonly what: string;
}

export async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = process.hrtime.bigint();
  await work();
  return Number(process.hrtime.bigint() - start) / 1e6;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

export function print(figures: readonly Figure[]): void {
  const rows = figures.map((f) => {
    const value = f.ms ?? f.perSecond ?? Number.NaN;
    const shown = (x: number): string => (f.ms === undefined ? `${Math.round(x).toLocaleString('en')}/s` : `${x.toFixed(2)} ms`);
    return [f.name, shown(value), shown(f.floor), (value / f.floor).toFixed(2), f.what];
  });
  const table = [['work', 'here', 'floor', 'ratio', 'what the floor is'], ...rows];
  const widths = table[0]?.map((_, i) => Math.max(...table.map((row) => row[i]?.length ?? 0))) ?? [];
  for (const row of table)
    process.stdout.write(
      `${row
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd()}\n`,
    );
}
