/** The macvlan driver: an endpoint is a link with a MAC of its own on a link of the host (spec 06). */

import { randomMac, shown } from '../../src/base/index.ts';
import { type Driver, type DriverOptions, labels } from '../../src/driver/index.ts';
import { badOption } from '../shared/options.ts';
import { ParentUsers } from '../shared/parent.ts';
import type { ParentedKind, ParentedMode } from '../shared/parented-options.ts';
import { createParentedDriver } from '../shared/parented.ts';
import type { LinkParts } from '../shared/parts.ts';

const MODES = ['bridge', 'private', 'vepa', 'passthru'] as const;

function parseMode(options: DriverOptions): ParentedMode {
  const text = options[labels.macvlanMode] || 'bridge';
  const mode = MODES.find((one) => one === text);
  if (mode === undefined) {
    throw badOption(
      labels.macvlanMode,
      text,
      `requested macvlan mode '${shown(text)}' is not valid, 'bridge' mode is the macvlan driver default; use ${MODES.join(', ')}`,
    );
  }
  const isPassthru = mode === 'passthru';
  return {
    kind: 'macvlan',
    macvlan: { mode },
    isPassthru,
    isAlone: isPassthru,
    isLayer3: false,
    keepsApart: isPassthru || mode === 'private',
  };
}

const macvlan: ParentedKind = {
  name: 'macvlan',
  ownMac: true,
  parseMode,
  // In passthru the kernel gives the parent the link's MAC: it keeps its own unless another one is asked for.
  chooseMac: ({ iface }, { isPassthru }, parent) => iface.mac ?? ((isPassthru ? parent?.mac : undefined) || randomMac()),
};

/** `users`: of all drivers of this host whose networks hang on parents. */
export const createMacvlanDriver = (parts: LinkParts, users: ParentUsers = new ParentUsers()): Driver =>
  createParentedDriver(macvlan, parts, users);
