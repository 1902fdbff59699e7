/** Reading driver options, and what options of all drivers with links have in common. Pure. */

import { CnmError, parseTruth, quoted } from '../../src/base/index.ts';
import { type DriverOptions, labels } from '../../src/driver/index.ts';

/** Names that the kernel keeps for itself, and paths. */
export const KEPT = ['.', '..', 'all', 'default'];
export const isLinkName = (name: string): boolean => /^[a-zA-Z0-9_.][a-zA-Z0-9_.-]{0,14}$/.test(name) && !KEPT.includes(name);

export const badOption = (key: string, text: string, works: string): CnmError =>
  new CnmError('bad_option', `invalid value ${quoted(text)} for ${key}: ${works}`);

export function truthOption(options: DriverOptions, key: string, otherwise: boolean): boolean {
  const text = options[key];
  if (text === undefined || text === '') return otherwise;
  const truth = parseTruth(text);
  if (truth !== undefined) return truth;
  throw badOption(key, text, 'use true or false');
}

export function wholeOption(options: DriverOptions, key: string, from: number, to: number, otherwise: number): number {
  const text = options[key];
  if (text === undefined || text === '') return otherwise;
  const value = /^\d{1,7}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= from && value <= to)) throw badOption(key, text, `use a whole number from ${from} to ${to}`);
  return value;
}

/** A number is put behind it, and the whole is at most 15 characters. */
export function checkIfacePrefix(options: DriverOptions): void {
  const prefix = options[labels.ifacePrefix] ?? '';
  if (!/^[a-zA-Z0-9_.-]{0,12}$/.test(prefix))
    throw badOption(labels.ifacePrefix, prefix, 'use up to 12 of the characters [a-zA-Z0-9_.-]');
}

/** How often an endpoint announces its addresses, and the pause between. */
export interface Advertise {
  readonly count: number;
  readonly intervalMs: number;
}

export const advertiseOptions = (options: DriverOptions): Advertise => ({
  count: wholeOption(options, labels.advertiseCount, 0, 3, 3),
  intervalMs: wholeOption(options, labels.advertiseIntervalMs, 100, 2000, 1000),
});
