/**
 * As cnm-undo and cnm-crash, for networks that hosts share, on a real etcd: whichever call fails or is the last one before a
 * kill, kernel, records and the cluster's records are as they were, or as they were to be.
 */

import { randomBytes } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { EtcdCluster } from '../contract/etcd.ts';
import { arm } from './fault-modules.ts';
import { Faults, type Moment } from './faults.ts';
import { House, type HouseOptions, type World, summary } from './house-lab.ts';
import { sharedCreations, sharedRemovals } from './shared-cases.ts';
import { FAULT_STEP, KILL_STEP, eachCall, isWhole } from './shares.ts';
import { breakable } from './use-cases.ts';

vi.mock(import('../../src/kernel/index.ts'), async (original) =>
  (await import('./fault-modules.ts')).kernelWithFaults(await original()),
);
vi.mock(import('../../src/cnm/files.ts'), async (original) =>
  (await import('./fault-modules.ts')).filesWithFaults(await original()),
);
vi.mock(import('../../src/cnm/shared/shared.ts'), async (original) =>
  (await import('./fault-modules.ts')).sharedWithFaults(await original()),
);

/** More than any of the use cases has. */
const MOST_CALLS = 90;
/** The cluster tells of a change in milliseconds; what it owes is paid after a second. */
const SETTLED = { timeout: 20_000, interval: 50 };

let etcd: EtcdCluster;
beforeAll(async () => {
  etcd = await EtcdCluster.start(1);
});
afterAll(async () => {
  await etcd.close();
});

const inCluster = (): HouseOptions => ({ cluster: etcd.address(`/h-${randomBytes(4).toString('hex')}`) });
const broken = new Set<string>();
const noted = ({ broke }: Faults): void => void (/^(shared|ipam)\./.test(broke ?? '') && broken.add(broke ?? ''));

const ROUNDS = [
  ...sharedCreations.map((one) => ({ ...one, makes: true })),
  ...sharedRemovals.map((one) => ({ ...one, makes: false })),
];
const MOMENTS = ['before', 'after'] as const;

test.each(ROUNDS)('$title: whichever call fails, before its work or after it', { timeout: 480_000 }, async (round) => {
  const { act, revert, prepare, makes, keeps } = round;
  const form = (world: World): unknown => (makes ? world : summary(world));
  const faults = new Faults({ losesAnswers: true });
  arm(faults);
  const house = await House.open({ ...inCluster(), ...breakable(faults) });
  await prepare(house);
  if (!makes) await act(house);
  let wanted = form(await house.world());
  const isWanted = (where: string): Promise<void> =>
    vi.waitFor(async () => expect(form(await house.world()), where).toEqual(wanted), SETTLED);
  /** Whether there is such a call. */
  const failsAt = async (n: number, moment: Moment): Promise<boolean> => {
    if (!makes) await revert(house);
    faults.breakAt(n, moment);
    const error = await act(house).then(
      () => undefined,
      (e: unknown) => e,
    );
    const { broke } = faults;
    noted(faults);
    faults.reset();
    if (broke === undefined) {
      expect(n).toBeGreaterThan(1);
      expect(error).toBeUndefined();
      if (makes) await revert(house);
      if (keeps === true) wanted = form(await house.world());
      else await isWanted('made and removed');
      return false;
    }
    const where = `call ${n} ${moment} its work, ${broke}`;
    expect(String(error), where).toContain('broken on purpose');
    expect((error as { undoFailures?: unknown }).undoFailures, where).toBeUndefined();
    if (!makes) await act(house);
    await isWanted(where);
    return true;
  };
  for (const moment of MOMENTS) await eachCall(MOST_CALLS, moment, FAULT_STEP, failsAt);
});

test.each(ROUNDS)(
  '$title: killed before or after any call, the next start puts it right',
  { timeout: 480_000 },
  async (round) => {
    const { act, revert, prepare, makes, keeps } = round;
    const form = (world: World): unknown => (makes ? world : summary(world));
    const cluster = inCluster();
    const house = await House.open(cluster);
    await prepare(house);
    const before = form(await house.world());
    let wanted = before;
    if (!makes) {
      await act(house);
      wanted = form(await house.world());
      await revert(house);
    }
    /** Whether there is such a call. */
    const endsAt = async (n: number, moment: Moment): Promise<boolean> => {
      const faults = new Faults({ losesAnswers: true });
      arm(faults);
      await house.start({ ...cluster, ...breakable(faults) });
      const death = faults.dieAt(n, moment);
      const isDone = await Promise.race([death.then(() => false), act(house).then(() => true)]);
      noted(faults);
      arm(new Faults());
      await house.start(cluster);
      if (isDone) {
        expect(n).toBeGreaterThan(1);
        await revert(house);
        return false;
      }
      // A removal that had done nothing yet has not begun; one that the cluster knows of has.
      const worlds = makes ? [wanted] : [wanted, before];
      await vi.waitFor(async () => {
        const now = form(await house.world());
        const meant = worlds.find((one) => isDeepStrictEqual(one, now)) ?? wanted;
        expect(now, `killed ${moment} call ${n}, ${faults.broke}`).toEqual(meant);
      }, SETTLED);
      const isAsBefore = !makes && isDeepStrictEqual(form(await house.world()), before);
      if (isAsBefore) await act(house);
      if (!makes) await revert(house);
      return true;
    };
    for (const moment of MOMENTS) {
      await eachCall(MOST_CALLS, moment, KILL_STEP, endsAt);
      if (makes && keeps === true) wanted = form(await house.world());
    }
  },
);

test('every call to the cluster was among those that were broken', () => {
  const all = [
    ...['releaseAddress', 'releaseAll', 'requestAddress', 'requestPool'].map((name) => `ipam.${name}`),
    ...['endpoints.withdraw', 'endpoints.write', 'endpoints.writeWaiting', 'enter', 'exit']
      .concat('networks.claim', 'networks.publish', 'networks.remove')
      .map((name) => `shared.${name}`),
  ];
  if (isWhole) expect([...broken].sort()).toEqual(all);
  // A share meets most of them, and none that is not known.
  expect(all).toEqual(expect.arrayContaining([...broken]));
  expect(broken.size).toBeGreaterThan(all.length / 2);
});
