/**
 * What one run of the lab owns: a folder, and namespaces whose names begin with the run's prefix. Both are recorded before
 * they are made, so that a later run takes away what a killed one left, and nothing else.
 */

import { randomBytes } from 'node:crypto';
import { lstatSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { endGroup } from './groups.ts';
import { beginOf, endProcessesIn } from './processes.ts';
import { RUNS } from './places.ts';

/** `run.json` in the run's folder. */
interface RunRecord {
  readonly pid: number;
  /** Of the process, so that a later one with its pid is not taken for it. */
  readonly begin: string;
  /** Every namespace that the run may make. */
  readonly namespaces: readonly string[];
}

const RUN_ID = /^[0-9a-f]{6}$/;
/** Folders of hosts hold the pins of their sandboxes here. */
const PINS = 'run/netns';

export interface Run {
  readonly id: string;
  /** Everything that the run writes. */
  readonly folder: string;
  /** `pblab-<id>-<place>`. */
  readonly namespaceOf: (place: string) => string;
}

const prefixOf = (id: string): string => `pblab-${id}-`;
const folderOf = (id: string): string => join(RUNS, id);

/** Makes the folder and the record; `places` name the namespaces to come. Call endRun(). */
export function beginRun(places: readonly string[]): Run {
  makeRuns();
  const id = randomBytes(3).toString('hex');
  const namespaceOf = (place: string): string => `${prefixOf(id)}${place}`;
  const record: RunRecord = { pid: process.pid, begin: beginOf(process.pid) ?? '', namespaces: places.map(namespaceOf) };
  // Under another name first: a folder without a record would stay for ever.
  const draft = `${folderOf(id)}.new`;
  mkdirSync(draft, { mode: 0o700 });
  writeFileSync(join(draft, 'run.json'), JSON.stringify(record));
  renameSync(draft, folderOf(id));
  return { id, folder: folderOf(id), namespaceOf };
}

/** Ends the processes of a run, and takes away its mounts, namespaces and files. Repeatable. */
export async function endRun(id: string): Promise<void> {
  const folder = folderOf(id);
  const namespaces = (readRecord(id)?.namespaces ?? []).filter((name) => name.startsWith(prefixOf(id)) && !/[/\s]/.test(name));
  const pins = list(folder).flatMap((place) => list(join(folder, place, PINS)).map((name) => join(folder, place, PINS, name)));
  await endProcessesIn([...namespaces.map((name) => join('/run/netns', name)), ...pins]);
  // What engines have started.
  for (const name of namespaces) await endGroup(name);
  for (const mount of mountsUnder(folder)) await execa('umount', ['-l', mount], { reject: false });
  const there = new Set(list('/run/netns'));
  for (const name of namespaces) if (there.has(name)) await execa('ip', ['netns', 'del', name], { reject: false });
  rmSync(folder, { recursive: true, force: true });
}

/** Ends what killed runs of this user left; answers their ids. */
export async function sweepRuns(): Promise<string[]> {
  makeRuns();
  const dead = list(RUNS).filter((id) => {
    const record = RUN_ID.test(id) ? readRecord(id) : undefined;
    return record !== undefined && beginOf(record.pid) !== record.begin;
  });
  for (const id of dead) await endRun(id);
  return dead;
}

/** In memory that everybody may write to: it must be ours. */
function makeRuns(): void {
  mkdirSync(RUNS, { recursive: true, mode: 0o700 });
  const { uid } = lstatSync(RUNS);
  if (!lstatSync(RUNS).isDirectory() || uid !== process.getuid?.()) throw new Error(`${RUNS} belongs to another user`);
}

/** Undefined when there is none, as in the moment before it is written. */
function readRecord(id: string): RunRecord | undefined {
  try {
    return JSON.parse(readFileSync(join(folderOf(id), 'run.json'), 'utf8')) as RunRecord;
  } catch {
    return undefined;
  }
}

function list(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

const mountsUnder = (folder: string): string[] =>
  readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((target) => target.startsWith(`${folder}/`));
