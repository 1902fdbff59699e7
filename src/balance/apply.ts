/** Brings a table to what it should hold, and says what has changed in it. What it should hold is table.ts. */

import { errnoOf } from '../base/index.ts';
import {
  changeTable,
  nextNftGeneration,
  type Netns,
  nft,
  nftGeneration,
  readTable,
  removeTable,
  type TableContents,
  TableWriter,
} from '../kernel/index.ts';
import { refuseTooMany } from './bounds.ts';
import type { Known, TableMemory } from './memory.ts';
import {
  baseOf,
  changes,
  contentsOf,
  type Group,
  hasBase,
  isThere,
  type Message,
  type Scheme,
  turned,
  wantedIn,
} from './table.ts';

/** Tries while others change rules of the namespace; the last one asks nothing of them. */
const MAX_TRIES = 5;

export interface Changes {
  /** Groups that were not there, or not so. */
  readonly changed: readonly Group[];
  /** Those of them that somebody may have connections by who has no business there: not all are only more than before. */
  readonly less: readonly Group[];
  /** Keys that mean nothing any more, by map. */
  readonly gone: ReadonlyMap<string, readonly Buffer[]>;
}

const EMPTY: TableContents = { rules: new Map(), elements: new Map() };
const NOTHING: Changes = { changed: [], less: [], gone: new Map() };

/**
 * Lets the table have exactly these groups; without any there is no table. What `memory` knows is not read: the kernel refuses the
 * change where that is not so any more. Throws too_many_members before anything is changed, kernel_lacks, KernelError.
 */
export async function applyGroups(
  netns: Netns,
  table: string,
  scheme: Scheme,
  groups: readonly Group[],
  memory: TableMemory,
): Promise<Changes> {
  if (groups.length === 0) {
    memory.forget();
    await removeTable(netns, nft.FAMILY.inet, table);
    return NOTHING;
  }
  refuseTooMany(groups);
  for (let tries = 1; ; tries++) {
    const remembered = memory.recall(netns);
    const isLast = tries >= MAX_TRIES;
    const known = isLast ? { ...look(netns, table, scheme), generation: undefined } : (remembered ?? look(netns, table, scheme));
    try {
      const { isWritten, ...changes } = await bring(netns, table, scheme, groups, known);
      const isSure = isLast || isWritten || remembered === undefined || nftGeneration(netns) === known.generation;
      if (isSure) {
        remember(memory, netns, known, contentsOf(scheme, groups), groups, isWritten);
        return changes;
      }
      memory.forget();
    } catch (error) {
      memory.forget();
      if (isLast || (remembered === undefined && errnoOf(error) !== 'ERESTART')) throw error;
    }
  }
}

/** What somebody may have changed meanwhile is not remembered. */
function remember(
  memory: TableMemory,
  netns: Netns,
  { generation }: Known,
  contents: TableContents,
  groups: readonly Group[],
  isWritten: boolean,
): void {
  if (generation === undefined) return memory.forget();
  memory.keep(netns, {
    generation: isWritten ? nextNftGeneration(generation) : generation,
    contents,
    groups: new Map(groups.map((group) => [group.chain, group])),
  });
}

function look(netns: Netns, table: string, scheme: Scheme): Known {
  // Asked for first: a change while it is read makes the writing fail.
  const generation = nftGeneration(netns);
  return { generation, contents: readTable(netns, nft.FAMILY.inet, table, Object.keys(scheme.maps)), groups: new Map() };
}

async function bring(
  netns: Netns,
  table: string,
  scheme: Scheme,
  groups: readonly Group[],
  { generation, contents, groups: before }: Known,
): Promise<Changes & { readonly isWritten: boolean }> {
  const writer = new TableWriter(nft.FAMILY.inet, table);
  const isWhole = contents !== undefined && hasBase(contents, scheme);
  const now = isWhole ? contents : EMPTY;
  const changed = groups.filter((group) => !isThere(now, group));
  const messages = changes(writer, now, Object.keys(scheme.maps), groups, changed, (group) => turned(netns, group));
  const isWritten = !isWhole || messages.length > 0;
  if (isWhole) {
    if (isWritten) await changeTable(netns, table, messages, generation);
  } else {
    const all = [...baseOf(writer, scheme), ...messages];
    // Laid anew as a whole where something of it is gone: connections do not notice. A removal takes the kernel some 12 ms more.
    const anew = [writer.addTable(), writer.deleteTable(), writer.addTable()];
    const isNew = contents === undefined && (await addedTable(netns, table, [writer.addNewTable(), ...all], generation));
    if (!isNew) await changeTable(netns, table, [...anew, ...all], generation);
  }
  return {
    isWritten,
    changed,
    less: changed.filter((group) => !isMore(before.get(group.chain), group)),
    gone: goneFrom(contents ?? EMPTY, groups),
  };
}

/** False where there is a table of the name, of which something is missing. */
async function addedTable(
  netns: Netns,
  table: string,
  messages: readonly Message[],
  generation: number | undefined,
): Promise<boolean> {
  try {
    await changeTable(netns, table, messages, generation);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return false;
    throw error;
  }
}

/** Whether the same keys lead to all that they have led to before. */
function isMore(before: Group | undefined, after: Group): boolean {
  if (before === undefined) return false;
  const keys = ({ keys }: Group): string =>
    Object.entries(keys)
      .map(([map, all]) => `${map} ${all.map((key) => key.toString('hex')).join()}`)
      .join(' ');
  const keeping = new Set(after.keeping);
  return keys(before) === keys(after) && before.keeping.every((address) => keeping.has(address));
}

function goneFrom({ elements }: TableContents, groups: readonly Group[]): ReadonlyMap<string, readonly Buffer[]> {
  const gone = new Map<string, Buffer[]>();
  for (const [map, there] of elements) {
    const wanted = wantedIn(map, groups);
    const keys = [...there.keys()].filter((key) => !wanted.has(key));
    if (keys.length > 0)
      gone.set(
        map,
        keys.map((key) => Buffer.from(key, 'hex')),
      );
  }
  return gone;
}
