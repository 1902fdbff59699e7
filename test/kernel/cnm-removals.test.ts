/** What a removal that failed has left is gone after a while by itself, and its name is free. */

import { expect, test } from 'vitest';
import type { KeeperLink } from '../../src/keeper/index.ts';
import { Faults } from './faults.ts';
import { House } from './house-lab.ts';
import { eventually, parentOf } from './keeper-lab.ts';
import { type Act, MOST_CALLS, REMOVALS, inhabit } from './removal-cases.ts';
import { breakable } from './use-cases.ts';

/** After as many looks each removal that failed has been tried again. */
const LOOKS = 6;

test.each<readonly [what: string, act: Act]>([
  ...REMOVALS,
  ['the removal of a network', ({ controller }) => controller.deleteNetwork('empty')],
])('%s that failed, at whichever call', { timeout: 120_000 }, async (_what, act) => {
  const faults = new Faults();
  const house = await House.open(breakable(faults));
  const { controller } = house;
  await house.network('net');
  const before = await house.world();
  for (let n = 1; n <= MOST_CALLS; n++) {
    await house.network('empty');
    await inhabit(house);
    faults.breakAt(n, 'before');
    await act(house).catch(() => undefined);
    const { broke } = faults;
    faults.reset();
    for (let look = 0; look < LOOKS; look++) await controller.mend();
    const phases = [...house.controller.endpoints(), ...controller.sandboxes()].map(({ record }) => record.phase);
    expect(
      phases.filter((phase) => phase === 'leaving' || phase === 'deleting'),
      `call ${n}, ${broke}`,
    ).toEqual([]);
    // Whatever failed before it was recorded has not begun.
    for (const { record } of controller.endpoints()) await controller.deleteEndpoint(record.id, true);
    for (const { record } of controller.sandboxes()) await controller.deleteSandbox(record.id, true);
    if (controller.networks().some(({ name }) => name === 'empty')) await controller.deleteNetwork('empty');
    expect(await house.world(), `call ${n}, ${broke}`).toEqual(before);
    if (broke === undefined) return;
  }
  throw new Error(`more than ${MOST_CALLS} calls`);
});

test('a disconnect that failed since the keeper was away is finished by the first look after it is back', async () => {
  let keeper: KeeperLink | undefined;
  const house = await House.open({ foundation: (parts) => ({ ...parts, keeper: (keeper = parts.keeper) }) });
  const { controller } = house;
  for (const name of ['net', 'other']) await house.network(name);
  await house.sandbox('box', [
    ['net', {}],
    ['other', {}],
  ]);
  const phases = (): string[] => controller.endpoints().map(({ record }) => record.phase);
  const { pid } = keeper ?? {};
  if (pid === undefined) throw new Error('no keeper');
  const supervisor = parentOf(pid);
  process.kill(supervisor, 'SIGSTOP');
  try {
    process.kill(pid, 'SIGKILL');
    await expect(controller.disconnect('net', 'box', false)).rejects.toMatchObject({ code: 'resolver_unavailable' });
    await controller.mend();
    expect(phases()).toContain('leaving');
  } finally {
    process.kill(supervisor, 'SIGCONT');
  }
  await eventually(() => (keeper?.pid !== undefined && keeper.pid !== pid) || undefined, 'the keeper is back');
  await controller.mend();
  expect(phases()).toEqual(['joined']);
});
