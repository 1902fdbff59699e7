/** What the option `parent` names: a link of the host, a VLAN of one, or nothing. Pure. */

import { type NetworkId, CnmError, shortId } from '../../src/base/index.ts';
import { type DriverNetwork, labels } from '../../src/driver/index.ts';
import { badOption, isLinkName } from './options.ts';

/** Kinds of links that hang on a parent, and names of their drivers. */
export type SublinkKind = 'macvlan' | 'ipvlan';

/** The parent of a network. */
export interface ParentName {
  readonly name: string;
  /** No link of the user's: made with the network, and it leads nowhere. */
  readonly isDummy: boolean;
}

/** A VLAN of a link: `eth0.100`. */
export interface VlanName {
  readonly base: string;
  readonly id: number;
}

/** Links that we make for a network bear its driver, their purpose and its id: they are found without a record. */
export const ownLinkName = (driver: SublinkKind, purpose: 'dummy' | 'probe' | 'host', id: NetworkId): string =>
  `${purpose.slice(0, 1)}${driver.slice(0, 1)}-${shortId(id)}`;

/** Name of the link that a network hangs on, whatever else its options are. */
export const parentLinkOf = (driver: SublinkKind, { id, options }: DriverNetwork): string =>
  options[labels.parent] || ownLinkName(driver, 'dummy', id);

/** Longest name of a link, octets. */
const MAX_NAME = 15;

/** Throws bad_option for what no link can be called, and for the loopback. */
export function parseParent(driver: SublinkKind, { id, options }: DriverNetwork): ParentName {
  const name = options[labels.parent];
  if (name === undefined || name === '') return { name: ownLinkName(driver, 'dummy', id), isDummy: true };
  if (name === 'lo') throw badOption(labels.parent, name, `loopback interface is not a valid ${driver} parent link`);
  if (name.length > MAX_NAME)
    throw badOption(labels.parent, name, `a link's name has at most ${MAX_NAME} characters, with its VLAN; rename the link`);
  if (!isLinkName(name)) throw badOption(labels.parent, name, 'name a link of this host, such as eth0, or a VLAN of it, eth0.10');
  return { name, isDummy: false };
}

/** Longest list of links in a message. */
const MAX_LISTED = 8;

const listed = (names: readonly string[]): string =>
  `${names.slice(0, MAX_LISTED).join(', ')}${names.length > MAX_LISTED ? ` and ${names.length - MAX_LISTED} more` : ''}`;

/** Reads a parent that is not there as a VLAN to be made; `present` are links to choose from. Throws bad_option. */
export function parseVlan(name: string, present: readonly string[]): VlanName {
  const there = present.length === 0 ? 'no link' : listed(present);
  const [base = '', id = '', ...rest] = name.split('.');
  if (base === '' || id === '' || rest.length > 0) {
    throw new CnmError(
      'bad_option',
      `invalid subinterface vlan name ${name}, example formatting is eth0.10: there is no link ${name}; this host has ${there}`,
    );
  }
  const number = /^\d{1,4}$/.test(id) ? Number(id) : 0;
  if (number < 1 || number > 4094) throw new CnmError('bad_option', `vlan id must be between 1-4094: ${name} has ${id}`);
  if (!present.includes(base)) {
    throw new CnmError('bad_option', `-o parent interface was not found on the host: ${base}; this host has ${there}`);
  }
  return { base, id: number };
}
