/**
 * As cnm-undo and cnm-crash, for services: whichever call fails or is the last one before a kill, kernel, records, names and the
 * cluster's records are as they were, or as they were to be.
 */

import { randomBytes } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { EtcdCluster } from '../contract/etcd.ts';
import { arm } from './fault-modules.ts';
import { Faults } from './faults.ts';
import { House, type HouseOptions, type World, summary } from './house-lab.ts';
import { serviceCreations, serviceRemovals } from './services-cases.ts';
import { NotedBalancer } from './services-lab.ts';
import { breakable } from './use-cases.ts';

vi.mock(import('../../src/kernel/index.ts'), async (original) =>
  (await import('./fault-modules.ts')).kernelWithFaults(await original()),
);
vi.mock(import('../../src/cnm/shared/shared.ts'), async (original) =>
  (await import('./fault-modules.ts')).sharedWithFaults(await original()),
);

/** More than any of the use cases has. */
const MOST_CALLS = 90;
/** What is owed to the cluster is paid after a second. */
const SETTLED = { timeout: 20_000, interval: 50 };

let etcd: EtcdCluster;
beforeAll(async () => {
  etcd = await EtcdCluster.start(1);
});
afterAll(async () => {
  await etcd.close();
});

const placeOf = (isShared: boolean): HouseOptions =>
  isShared ? { cluster: etcd.address(`/s-${randomBytes(4).toString('hex')}`) } : {};

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

const ROUNDS = [false, true].flatMap((isShared) =>
  [
    ...serviceCreations(isShared).map((one) => ({ ...one, makes: true })),
    ...serviceRemovals(isShared).map((one) => ({ ...one, makes: false })),
  ].flatMap((one) =>
    (['before', 'after'] as const).map((moment) => ({ ...one, isShared, where: isShared ? 'all hosts' : 'one host', moment })),
  ),
);

test.each(ROUNDS)('$title of $where: whichever call fails $moment its work', { timeout: 240_000 }, async (round) => {
  const { act, revert, prepare, makes, moment, isShared } = round;
  const balancer = new NotedBalancer();
  const faults = new Faults();
  arm(faults);
  const house = await House.open(options(placeOf(isShared), balancer, faults));
  const look = async () => formOf(makes, await house.world(), balancer);
  await prepare(house);
  if (!makes) await act(house);
  const wanted = await look();
  const isWanted = (where: string): Promise<void> => vi.waitFor(async () => expect(await look(), where).toEqual(wanted), SETTLED);
  for (let n = 1; n <= MOST_CALLS; n++) {
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
      return isWanted('made and removed');
    }
    const where = `call ${n}, ${broke}`;
    // What the cluster tells of our own doing is taken up beside it, and tried again by itself.
    if (error === undefined) {
      expect(isShared, where).toBe(true);
      if (makes) await revert(house);
    } else {
      expect(String(error), where).toContain('broken on purpose');
      expect((error as { undoFailures?: unknown }).undoFailures, where).toBeUndefined();
      if (!makes) await act(house);
    }
    await isWanted(where);
  }
  throw new Error(`more than ${MOST_CALLS} calls`);
});

test.each(ROUNDS)(
  '$title of $where: killed $moment any call, the next start puts it right',
  { timeout: 240_000 },
  async (round) => {
    const { act, revert, prepare, makes, moment, isShared } = round;
    const balancer = new NotedBalancer();
    const place = placeOf(isShared);
    const house = await House.open(options(place, balancer));
    const look = async () => formOf(makes, await house.world(), balancer);
    await prepare(house);
    const before = await look();
    let wanted = before;
    if (!makes) {
      await act(house);
      wanted = await look();
      await revert(house);
    }
    for (let n = 1; n <= MOST_CALLS; n++) {
      const faults = new Faults();
      arm(faults);
      await house.start(options(place, balancer, faults));
      const death = faults.dieAt(n, moment);
      const isDone = await Promise.race([death.then(() => false), act(house).then(() => true)]);
      arm(new Faults());
      await house.start(options(place, balancer));
      if (isDone) return expect(n).toBeGreaterThan(1);
      // A removal that had done nothing yet has not begun; what was made and told to all already is there, whole.
      if (makes && (await isMade(look, wanted))) await revert(house);
      const worlds = makes ? [wanted] : [wanted, before];
      await vi.waitFor(async () => {
        const now = await look();
        const meant = worlds.find((one) => isDeepStrictEqual(one, now)) ?? wanted;
        expect(now, `call ${n}, ${faults.broke}`).toEqual(meant);
      }, SETTLED);
      const isAsBefore = !makes && isDeepStrictEqual(await look(), before);
      if (isAsBefore) await act(house);
      if (!makes) await revert(house);
    }
    throw new Error(`more than ${MOST_CALLS} calls`);
  },
);

/** How long a start is given to take back what was half made, before it is taken for made, milliseconds. */
const TAKEN_BACK_MS = 1500;
async function isMade(look: () => Promise<unknown>, wanted: unknown): Promise<boolean> {
  const until = performance.now() + TAKEN_BACK_MS;
  do {
    if (isDeepStrictEqual(await look(), wanted)) return false;
  } while (performance.now() < until);
  return true;
}

/** Things that are made again have other ids; what no sandbox of now has is nobody's. */
function formOf(makes: boolean, world: World, balancer: NotedBalancer): unknown {
  const told = [...balancer.told.values()].map((services) => services.map(({ vips, members }) => [vips.length, members.length]));
  // What the host has learned of neighbours comes and goes by itself.
  const kernel = Object.fromEntries(
    Object.entries(world.kernel).map(([place, { neighbours: _learned, ...tables }]) => [place, tables]),
  );
  const steady = { ...world, kernel };
  return makes ? { ...steady, told } : [summary(steady), told];
}
