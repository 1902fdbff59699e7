/** The ipvlan driver: an endpoint is a link with addresses of its own behind its parent's MAC (spec 06). */

import { CnmError, shown } from '../../src/base/index.ts';
import { type Driver, type DriverOptions, labels } from '../../src/driver/index.ts';
import { badOption } from '../shared/options.ts';
import { ParentUsers } from '../shared/parent.ts';
import type { ParentedKind, ParentedMode } from '../shared/parented-options.ts';
import { createParentedDriver } from '../shared/parented.ts';
import type { LinkParts } from '../shared/parts.ts';

const MODES = ['l2', 'l3', 'l3s'] as const;
const FLAGS = ['bridge', 'private', 'vepa'] as const;

function choice<T extends string>(options: DriverOptions, key: string, words: readonly [T, ...T[]], what: string): T {
  const text = options[key] || words[0];
  const found = words.find((one) => one === text);
  if (found !== undefined) return found;
  throw badOption(
    key,
    text,
    `requested ipvlan ${what} '${shown(text)}' is not valid, '${words[0]}' ${what} is the ipvlan driver default; use ${words.join(', ')}`,
  );
}

function parseMode(options: DriverOptions): ParentedMode {
  const mode = choice(options, labels.ipvlanMode, MODES, 'mode');
  const flag = choice(options, labels.ipvlanFlag, FLAGS, 'flag');
  return {
    kind: 'ipvlan',
    ipvlan: { mode, flag },
    isPassthru: false,
    isAlone: true,
    isLayer3: mode !== 'l2',
    keepsApart: flag === 'private',
  };
}

const ipvlan: ParentedKind = {
  name: 'ipvlan',
  ownMac: false,
  parseMode,
  chooseMac({ iface }) {
    if (iface.mac === undefined) return undefined;
    throw new CnmError(
      'driver_lacks',
      'ipvlan interfaces do not support custom mac address assignment: leave the MAC out, or use macvlan',
    );
  },
};

/** `users`: of all drivers of this host whose networks hang on parents. */
export const createIpvlanDriver = (parts: LinkParts, users: ParentUsers = new ParentUsers()): Driver =>
  createParentedDriver(ipvlan, parts, users);
