/** What a removal that failed has left is gone after a while by itself, and its name is free. */

import { expect, test } from 'vitest';
import { Faults } from './faults.ts';
import { House } from './house-lab.ts';
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
