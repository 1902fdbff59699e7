/** Walks our own source: files, and what each one imports. */

import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';

export const ROOT = new URL('../..', import.meta.url).pathname;

export interface SourceFile {
  /** Relative to the project, with slashes. */
  readonly path: string;
  readonly text: string;
  readonly imports: readonly { readonly target: string; readonly line: number }[];
}

export function filesUnder(folder: string, ending = '.ts'): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith(ending))
    .map((name) => join(folder, name))
    .sort();
}

/** Static and dynamic imports and re-exports; type-only ones count. */
const IMPORT =
  /(?:^|\n)\s*(?:import|export)\b[^'";]*?\bfrom\s*['"]([^'"]+)['"]|(?:^|\n)\s*import\s*['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]\s*\)/g;

export function readSource(path: string): SourceFile {
  const text = readFileSync(join(ROOT, path), 'utf8');
  const imports = [...text.matchAll(IMPORT)].map((match) => {
    const target = match[1] ?? match[2] ?? match[3] ?? '';
    const resolved = target.startsWith('.') ? relative('', normalize(join(dirname(path), target))) : target;
    return { target: resolved, line: text.slice(0, match.index).split('\n').length };
  });
  return { path, text, imports };
}

export const productFiles = (): SourceFile[] => [...filesUnder('src'), ...filesUnder('drivers')].map(readSource);
