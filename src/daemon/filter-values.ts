/**
 * Filters whose values are known beforehand: another value would find nothing, whatever there is, and is a slip. The words
 * of the engine are taken also where nothing here has them, since its clients send them.
 */

import { EVENT_ACTIONS } from '../cnm/index.ts';

/** Told to a client that reads too slowly. */
export const OVERFLOW = 'overflow';

const words = (text: string): string[] => text.split(/\s+/);

/** Scopes that a network of the engine can have. */
export const NETWORK_SCOPES = ['local', 'global', 'swarm'] as const;

/** Values by key; a key that is not here takes any text. */
export type FilterValues = Readonly<Record<string, readonly string[]>>;

export const NETWORK_VALUES = { scope: NETWORK_SCOPES, type: ['custom', 'builtin'] } as const satisfies FilterValues;

export const ENDPOINT_VALUES = {
  state: ['ready', 'joining', 'joined', 'leaving', 'deleting'],
} as const satisfies FilterValues;

/** Our own words, and what the engine tells of things that are not here. */
export const EVENT_VALUES = {
  scope: ['local', 'swarm'],
  type: words('network endpoint sandbox service daemon builder config container image node plugin secret volume'),
  event: [
    ...EVENT_ACTIONS,
    OVERFLOW,
    ...words(`attach checkpoint commit copy delete detach disable enable exec_create exec_detach exec_die exec_start export
      archive-path extract-to-dir health_status import install kill load mount oom pause pull push reload rename resize restart save
      stop tag top unmount unpause untag`),
  ],
} satisfies FilterValues;

/** Whether the values of `key` include `value`. The engine's events may go on behind a colon: `health_status: healthy`. */
export function isPossible(values: FilterValues, key: string, value: string): boolean {
  const possible = values[key];
  return possible === undefined || possible.includes(key === 'event' ? (value.split(':')[0] ?? '') : value);
}

/** The values of `key` in a sentence. */
export function possibleValues(values: FilterValues, key: string): string {
  const all = values[key] ?? [];
  return `${all.slice(0, -1).join(', ')} or ${all.at(-1)}`;
}
