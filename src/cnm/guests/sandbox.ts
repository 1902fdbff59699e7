/** The sandboxes of engines: namespaces by the path that the engine names, which may be there, come later, or not be seen by us. */

import { type Stats, statSync } from 'node:fs';
import { isAbsolute, normalize } from 'node:path';
import { CnmError, INVISIBLE, codeOf, errnoOf, messageOf, quoted } from '../../base/index.ts';
import { type Netns, openNetns } from '../../kernel/index.ts';
import { isHostsOwn } from '../callers.ts';
import type { Hosting } from './context.ts';
import type { GuestEndpoint } from './records.ts';

/** Why nothing was opened where there is nothing. */
const ABSENT: ReadonlySet<string> = new Set(['ENOENT', 'ENOTDIR']);

/** Age of a namespace from which on its container counts as running, milliseconds. */
const STARTING_MS = 2000;

/** Longest path that the kernel takes (linux/limits.h). */
const PATH_MAX = 4096;

/**
 * The namespace to make the link in: one that is there and in use. A container that is only starting has its links counted
 * by the engine, which then also moves them: they get the names that its users expect. Throws bad_netns for what can be no
 * sandbox of an engine.
 */
export async function openSandbox({ cnm }: Hosting, key: string): Promise<Netns | undefined> {
  checkPath(key);
  const netns = tryOpenNetns(key);
  if (netns === undefined) return undefined;
  try {
    if (netns.identity === cnm.host.identity || isHostsOwn(netns))
      throw new CnmError('bad_netns', `${quoted(key)} is the namespace of the host: use one of a container`);
    const own = cnm.state.allSandboxes().find(({ identity }) => identity === netns.identity);
    if (own !== undefined)
      throw new CnmError('bad_netns', `${quoted(key)} is the namespace of sandbox ${own.name}: network connect leads there`);
    const stat = statOf(key);
    if (stat !== undefined && hasStarted(stat) && (await netns.rtnl().link.list()).length > 1) return netns;
  } catch (error) {
    netns[Symbol.dispose]();
    throw error;
  }
  netns[Symbol.dispose]();
  return undefined;
}

/** One from a time that is still to come is of before the clock was set back. */
function hasStarted({ ctimeMs }: Stats): boolean {
  const ageMs = Date.now() - ctimeMs;
  return ageMs >= STARTING_MS || ageMs < 0;
}

/** Nothing at the path, or a pin whose mount we do not see, is a sandbox all the same: its engine may see more than we do. */
function checkPath(key: string): void {
  if (!isAbsolute(key) || normalize(key) !== key || key.length >= PATH_MAX || INVISIBLE.test(key))
    throw new CnmError('bad_netns', `sandbox key ${quoted(key)}: use the plain absolute path of a network namespace`);
  const stat = statOf(key);
  if (stat !== undefined && (!stat.isFile() || stat.size !== 0))
    throw new CnmError('bad_netns', `sandbox key ${quoted(key)} is no network namespace`);
}

function statOf(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    throw new CnmError('bad_netns', `sandbox key ${quoted(path)} is no network namespace: ${messageOf(error)}`);
  }
}

/** Undefined when there is no namespace at the path. Throws where that cannot be said, as without a free descriptor. */
function tryOpenNetns(path: string): Netns | undefined {
  try {
    return openNetns(path);
  } catch (error) {
    const why = error instanceof Error ? errnoOf(error.cause) : undefined;
    if (codeOf(error) === 'bad_netns' && (why === undefined || ABSENT.has(why))) return undefined;
    throw error;
  }
}

/** Identity of the namespace at the path, when there is one. */
export function seenAt(key: string): { readonly identity?: string } {
  using netns = tryOpenNetns(key);
  return { ...(netns && { identity: netns.identity }) };
}

/** The namespace that the link was made in; undefined when it is another one now, or the engine moved the link. */
export const placeOf = (ep: GuestEndpoint): Netns | undefined => (ep.join?.isBare === false ? sandboxOf(ep) : undefined);

/** The namespace that the endpoint is joined to; undefined when it was not seen yet, or is another one now. */
export function sandboxOf({ join }: GuestEndpoint): Netns | undefined {
  if (join?.identity === undefined) return undefined;
  const netns = tryOpenNetns(join.key);
  if (netns === undefined || netns.identity === join.identity) return netns;
  netns[Symbol.dispose]();
  return undefined;
}

/** Joined to a namespace that was seen and is not there any more. False where that cannot be said now: a container may run there. */
export function isAbandoned({ join }: GuestEndpoint): boolean {
  if (join?.identity === undefined) return false;
  try {
    return seenAt(join.key).identity !== join.identity;
  } catch {
    return false;
  }
}

/** Notes namespaces that have come since their join: from now on it can be told that they are gone. */
export async function noteSandboxes({ cnm, state }: Hosting): Promise<void> {
  for (const { id, join } of state.endpoints.values()) {
    if (join === undefined || join.identity !== undefined || seenAt(join.key).identity === undefined) continue;
    await cnm.locks.run(`endpoint:${id}`, async () => {
      const ep = state.endpoints.get(id);
      if (ep?.phase !== 'joined' || ep.join === undefined || ep.join.identity !== undefined) return;
      await state.commit({ endpoints: [{ ...ep, join: { ...ep.join, ...seenAt(ep.join.key) } }] });
    });
  }
}
