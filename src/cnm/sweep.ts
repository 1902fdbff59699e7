/** Removes what carries our mark and is wanted by nobody: links, namespace pins, files, the keeper's entries, leases elsewhere. */

import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { errnoOf, ignoring, shortId } from '../base/index.ts';
import { removeNetnsPin } from '../kernel/index.ts';
import type { Cnm } from './context.ts';
import type { Hosting } from './guests/context.ts';
import { holderOf } from './guests/records.ts';
import { guestLinks } from './guests/restore.ts';
import { memberById } from './lodgers.ts';
import { wishOf } from './restore.ts';

/** Names that we give to pins and folders: what is called otherwise in a folder of ours is somebody else's. */
const PIN = /^(?:(?:overlay-)?[0-9a-f]{12}|overlay-wireguard)$/;
const FOLDER = /^[0-9a-f]{12}$/;

export async function sweep(hosting: Hosting): Promise<void> {
  const { cnm } = hosting;
  await sweepLinks(cnm, new Set([...wantedLinks(cnm), ...guestLinks(hosting)]));
  const known = new Set(cnm.state.allSandboxes().map((s) => shortId(s.id)));
  const pins = new Set([...known, ...wantedPins(cnm)]);
  for (const name of entries(join(cnm.runDir, 'netns')))
    if (PIN.test(name) && !pins.has(name)) sweepPin(cnm, join(cnm.runDir, 'netns', name));
  for (const name of entries(join(cnm.runDir, 'sandboxes'))) {
    if (FOLDER.test(name) && !known.has(name)) rmSync(join(cnm.runDir, 'sandboxes', name), { recursive: true, force: true });
  }
  await sweepKeeper(hosting);
  const owners = new Set(
    [...cnm.state.allEndpoints(), ...cnm.state.allNetworks(), ...cnm.state.allServices()].map(({ id }) => id as string),
  );
  for (const owner of cnm.lodgers?.owners() ?? []) owners.add(owner);
  for (const ipam of cnm.ipams.all()) await ipam.sweep?.(owners);
}

/** Also those of networks that could not be restored: a later try needs them. */
export function wantedLinks(cnm: Cnm): string[] {
  return cnm.state.networks().flatMap((net) => cnm.drivers.find(net.driver)?.restorer?.linksOf(wishOf(cnm, net)) ?? []);
}

/** Of namespaces that networks have for themselves. */
function wantedPins(cnm: Cnm): string[] {
  return cnm.state.networks().flatMap((net) => cnm.drivers.find(net.driver)?.restorer?.pinsOf?.(wishOf(cnm, net)) ?? []);
}

/** What is no pin is somebody else's; it must not keep the daemon from starting. */
function sweepPin(cnm: Cnm, path: string): void {
  try {
    removeNetnsPin(path);
  } catch (error) {
    cnm.env.log.warn({ path, err: error }, 'not one of our pins: it is left where it is');
  }
}

async function sweepLinks(cnm: Cnm, wanted: ReadonlySet<string>): Promise<void> {
  const rtnl = cnm.host.rtnl();
  for (const link of await rtnl.link.list({ group: cnm.mark.liveGroup })) {
    if (wanted.has(link.name)) continue;
    cnm.env.log.warn({ link: link.name }, 'a link of ours is wanted by nobody: it is removed');
    await ignoring(['ENODEV'], () =>
      rtnl.batch([
        { op: 'link.set', at: { index: link.index }, change: { up: false } },
        { op: 'link.set', at: { index: link.index }, change: { group: cnm.mark.deadGroup } },
      ]),
    );
  }
  cnm.reaper.kick();
}

async function sweepKeeper({ cnm, state }: Hosting): Promise<void> {
  const guests = new Set([...state.endpoints.values()].filter((ep) => ep.held.length > 0).map((ep) => holderOf(ep.id)));
  const { sandboxes, endpoints, peers, holds, conflicts } = await cnm.keeper.inventory();
  for (const id of endpoints) if (memberById(cnm, id)?.phase !== 'joined') await cnm.keeper.names(id, null);
  for (const id of peers) {
    if (cnm.shared?.keeps(id) !== true && cnm.services?.keeps(id) !== true) await cnm.keeper.peers(id, null);
  }
  const resolvers = cnm.lodgers?.resolvers();
  for (const id of sandboxes)
    if (cnm.state.sandboxById(id)?.resolver === undefined && resolvers?.has(id) !== true) await cnm.keeper.sandbox(id, null);
  for (const owner of new Set([...holds, ...conflicts].map((hold) => hold.owner))) {
    if (!guests.has(owner) && (cnm.state.sandboxById(owner)?.held.length ?? 0) === 0) await cnm.keeper.holds(owner, []);
  }
}

function entries(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}
