/** What the keeper shall know, and the words that tell it so again. */

import type { HoldRequest } from './contract.ts';
import type { ChangeRequest, Entry, Table, TableValues } from './protocol.ts';

/** null until the keeper has acknowledged that an entry is gone. */
export interface Wish {
  readonly table: Table;
  readonly id: string;
  readonly entry: Entry | null;
}

/** For a keeper that may have had it before. */
export const wordOf = ({ table, id, entry }: Wish): ChangeRequest =>
  entry === null
    ? { op: 'drop', table, id }
    : { op: 'put', table, id, revision: entry.revision, value: asBefore(table, entry.value) };

/** Host ports that were held are still wished when another process has taken them. */
function asBefore(table: Table, value: TableValues[Table]): TableValues[Table] {
  return table === 'holds' ? (value as readonly HoldRequest[]).map((group) => ({ ...group, isOurs: true })) : value;
}
