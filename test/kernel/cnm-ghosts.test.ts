/** Whatever a failed removal has left in a network keeps nobody from removing the network. */

import { expect, test } from 'vitest';
import { codeOf } from '../../src/base/index.ts';
import { Faults } from './faults.ts';
import { House } from './house-lab.ts';
import { REMOVALS, MOST_CALLS, inhabit } from './removal-cases.ts';
import { breakable } from './use-cases.ts';

test.each(REMOVALS)('%s that failed, at whichever call', { timeout: 120_000 }, async (_what, act) => {
  const faults = new Faults();
  const house = await House.open(breakable(faults));
  const { controller } = house;
  let ended = 0;
  for (let n = 1; n <= MOST_CALLS; n++) {
    await house.network('net');
    await inhabit(house);
    faults.breakAt(n, 'before');
    await act(house).catch(() => undefined);
    const { broke } = faults;
    faults.reset();
    // These are somebody's, and stay; the others have been asked to go.
    const there = controller.endpoints().map(({ record }) => record);
    for (const { id, phase, boundTo } of there)
      if (boundTo === undefined && phase === 'ready') await controller.deleteEndpoint(id, false);
    if (there.some(({ phase }) => phase === 'joined') && controller.sandboxes().length > 0) {
      expect(await controller.deleteNetwork('net').catch(codeOf), `call ${n}, ${broke}`).toBe('network_in_use');
      await controller.disconnect('net', 'box', false);
    }
    if (there.some(({ phase }) => phase === 'leaving' || phase === 'deleting')) ended++;
    await controller.deleteNetwork('net');
    expect([controller.networks().some(({ name }) => name === 'net'), controller.endpoints()]).toEqual([false, []]);
    for (const { phase } of house.controller.sandboxes().map(({ record }) => record)) expect(phase).toBe('ready');
    await controller.deleteSandbox('box', false).catch(() => undefined);
    if (broke === undefined) {
      expect(ended).toBeGreaterThan(2);
      return;
    }
  }
  throw new Error(`more than ${MOST_CALLS} calls`);
});

test('who keeps a network from being removed is said, with what ends that', async () => {
  const house = await House.open();
  const { controller } = house;
  await house.network('net');
  await house.network('more');
  await controller.createSandbox({ name: 'box', networks: [['net', {}]] });
  await controller.createEndpoint('net', 'spare');
  await controller.createEndpoint('net', 'guest');
  await controller.joinEndpoint(
    'guest',
    (await controller.createSandbox({ name: 'other', networks: [['more', {}]] })).sandbox.record.id,
  );
  await expect(controller.deleteNetwork('net')).rejects.toThrow(
    /has active endpoints \(.*\): sandboxes box \(created\), other \(created\): disconnect or remove first; endpoint in no sandbox spare: remove first$/,
  );
});
