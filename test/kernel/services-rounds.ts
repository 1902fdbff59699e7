/**
 * Rounds of use cases of services in which one call fails, or is the last one before a kill: kernel, records, names and the cluster's
 * records are as they were, or as they were to be. Only for a test file that leads the calls past the faults (fault-modules.ts).
 */

import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { expect, vi } from 'vitest';
import { openNetns } from '../../src/kernel/index.ts';
import { arm } from './fault-modules.ts';
import { Faults, type Moment } from './faults.ts';
import { House, type HouseOptions, type World, summary } from './house-lab.ts';
import { NotedBalancer } from './services-lab.ts';
import { eachCall } from './shares.ts';
import type { UseCase } from './use-case.ts';
import { breakable, momentsOf } from './use-cases.ts';

/** More than any of the use cases has. */
const MOST_CALLS = 300;
/** What is owed to the cluster is paid after a second. */
const SETTLED = { timeout: 20_000, interval: 50 };

/** The house's parts, led past the faults where there are any. */
function options(place: HouseOptions, balancer: NotedBalancer, faults?: Faults): HouseOptions {
  if (faults === undefined) return { ...place, parts: (parts) => ({ ...parts, balancer: balancer.over(parts.balancer) }) };
  const broken = breakable(faults);
  return {
    ...place,
    ...broken,
    foundation: (parts) => {
      const all = broken.foundation?.(parts) ?? parts;
      return { ...all, keeper: faults.wrap('keeper', all.keeper, ['peers'], ['before', 'after']) };
    },
    parts: (parts) => ({
      ...(broken.parts?.(parts) ?? parts),
      balancer: faults.wrap('balancer', balancer.over(parts.balancer), ['apply', 'clear'], ['before', 'after']),
    }),
  };
}

/** A use case, and where it takes place. */
export interface Round extends UseCase {
  readonly isShared: boolean;
  readonly where: string;
  /** What `act` makes is to be gone when it fails; otherwise it ends something, and is tried again. */
  readonly makes: boolean;
  /** Some of what it does is tried again by the mender, instead of failing it. */
  readonly isMended?: boolean;
  /** As of Faults. */
  readonly losesAnswers?: boolean;
  /** What else is compared, in a form that is the same for things that are made again. */
  readonly alsoLook?: (house: House) => Promise<unknown>;
}

/** These use cases in a network of one host, or of all. */
export const roundsOf = (
  cases: readonly UseCase[],
  rest: Pick<Round, 'isShared' | 'makes' | 'isMended' | 'losesAnswers' | 'alsoLook'>,
): Round[] => cases.map((one) => ({ ...one, ...rest, where: rest.isShared ? 'all hosts' : 'one host' }));

/** What the mender would do by itself. */
const mended = async (house: House, { isMended = false }: Round): Promise<void> => {
  if (isMended) await house.controller.services.audit();
};

/** Each call fails before its work and after it; every `step`-th where that is given. */
export async function eachCallFails(round: Round, place: HouseOptions, step = 1): Promise<void> {
  const { act, revert, prepare, makes, isShared, isMended = false, alsoLook } = round;
  const balancer = new NotedBalancer();
  const faults = new Faults(round);
  arm(faults);
  const house = await House.open(options(place, balancer, faults));
  const look = async () => formOf(makes, await house.world(), [toldNow(house, balancer), await alsoLook?.(house)]);
  await prepare(house);
  if (!makes) await act(house);
  const wanted = await look();
  const isWanted = (where: string): Promise<void> =>
    vi.waitFor(async () => {
      await mended(house, round);
      expect(await look(), where).toEqual(wanted);
    }, SETTLED);
  const failsAt = async (n: number, moment: Moment): Promise<boolean> => {
    if (!makes) await revert(house);
    faults.breakAt(n, moment);
    const error = await act(house).then(
      () => undefined,
      (e: unknown) => e,
    );
    const { broke } = faults;
    faults.reset();
    if (broke === undefined) {
      expect(n).toBeGreaterThan(1);
      expect(error).toBeUndefined();
      if (makes) await revert(house);
      await isWanted('made and removed');
      return false;
    }
    const where = `call ${n} ${moment} its work, ${broke}`;
    // What the cluster tells of our own doing is taken up beside it, and tried again by itself.
    if (error === undefined) {
      expect(isShared || isMended, where).toBe(true);
      if (makes) await revert(house);
    } else {
      expect(String(error), where).toContain('broken on purpose');
      expect((error as { undoFailures?: unknown }).undoFailures, where).toBeUndefined();
      if (!makes) await act(house);
    }
    await isWanted(where);
    return true;
  };
  for (const moment of momentsOf(round)) await eachCall(MOST_CALLS, moment, step, failsAt);
}

/** Each call is the last one of a life, not begun and done; every `step`-th where that is given. */
export async function eachCallIsTheLast(round: Round, place: HouseOptions, step = 1): Promise<void> {
  const { act, revert, prepare, makes, alsoLook } = round;
  const balancer = new NotedBalancer();
  const house = await House.open(options(place, balancer));
  const look = async () => formOf(makes, await house.world(), [toldNow(house, balancer), await alsoLook?.(house)]);
  await prepare(house);
  const before = await look();
  let wanted = before;
  if (!makes) {
    await act(house);
    wanted = await look();
    await revert(house);
  }
  const endsAt = async (n: number, moment: Moment): Promise<boolean> => {
    const faults = new Faults(round);
    arm(faults);
    await house.start(options(place, balancer, faults));
    const death = faults.dieAt(n, moment);
    const isDone = await Promise.race([death.then(() => false), act(house).then(() => true)]);
    arm(new Faults());
    await house.start(options(place, balancer));
    if (isDone) {
      expect(n).toBeGreaterThan(1);
      await revert(house);
      return false;
    }
    // A removal that had done nothing yet has not begun; what was made and told to all already is there, whole.
    const lookMended = async (): Promise<unknown> => {
      await mended(house, round);
      return look();
    };
    if (makes && (await isMade(lookMended, wanted))) await revert(house);
    const worlds = makes ? [wanted] : [wanted, before];
    await vi.waitFor(async () => {
      const now = await lookMended();
      const meant = worlds.find((one) => isDeepStrictEqual(one, now)) ?? wanted;
      expect(now, `killed ${moment} call ${n}, ${faults.broke}`).toEqual(meant);
    }, SETTLED);
    const isAsBefore = !makes && isDeepStrictEqual(await look(), before);
    if (isAsBefore) await act(house);
    if (!makes) await revert(house);
    return true;
  };
  for (const moment of momentsOf(round)) await eachCall(MOST_CALLS, moment, step, endsAt);
}

/** How long a start is given to take back what was half made, before it is taken for made, milliseconds. */
const TAKEN_BACK_MS = 1500;
async function isMade(look: () => Promise<unknown>, wanted: unknown): Promise<boolean> {
  const until = performance.now() + TAKEN_BACK_MS;
  do {
    if (isDeepStrictEqual(await look(), wanted)) return false;
    await sleep(SETTLED.interval);
  } while (performance.now() < until);
  return true;
}

/** By what the namespaces of all sandboxes were told; what is told goes with the namespace. */
function toldNow(house: House, { told }: NotedBalancer): unknown[] {
  return house.controller.sandboxes().flatMap(({ record: { key } }) => {
    if (!existsSync(key)) return [];
    using netns = openNetns(key);
    return told.get(netns.identity)?.map(({ vips, members }) => [vips.length, members.length]) ?? [];
  });
}

/** Things that are made again have other ids. */
function formOf(makes: boolean, world: World, told: readonly unknown[]): unknown {
  // What the host has learned of neighbours comes and goes by itself.
  const kernel = Object.fromEntries(
    Object.entries(world.kernel).map(([place, { neighbours: _learned, ...tables }]) => [place, tables]),
  );
  const steady = { ...world, kernel };
  return makes ? { ...steady, told } : [summary(steady), told];
}
