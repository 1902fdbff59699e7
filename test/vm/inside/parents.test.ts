/** Parents that are made with their network: VLANs of a link, and dummies. */

import { describe, expect, test } from 'vitest';
import { codeOf, messageOf } from '../../../src/base/index.ts';
import { createMacvlanDriver } from '../../../drivers/macvlan/driver.ts';
import { driverContract } from '../../contract/driver.ts';
import { stageOf } from '../../contract/stage.ts';
import { Faults } from '../../kernel/faults.ts';
import type { House } from '../../kernel/house-lab.ts';
import { comes, lanHouse, linksIn, onLan, plugIn } from '../../kernel/parent-lab.ts';
import { breakable } from '../../kernel/use-cases.ts';

const LIMIT_MS = 240_000;

const kinds = async (house: House): Promise<string[]> =>
  (await linksIn(house.host)).map((line) => line.split(' ').slice(0, 2).join(' ')).filter((line) => !/^(lan0|wire0) /.test(line));

async function refusal(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    return `${codeOf(error)}: ${messageOf(error)}`;
  }
  throw new Error('it was not refused');
}

/** Settings of a network on a VLAN, with a subnet of its own. */
const onVlan = (parent: string, n: number, rest = {}) =>
  onLan({ parent }, { enableIPv6: false, ipam: { config: [{ subnet: `10.${n}.0.0/24`, gateway: `10.${n}.0.254` }] }, ...rest });

describe('a VLAN', { timeout: LIMIT_MS }, () => {
  test('is made with the first network on it, bears tags, and goes with the last', async () => {
    const house = await lanHouse();
    await house.outside.exec('sh', [
      '-ec',
      'ip link add link switch0 name switch0.50 type vlan id 50; ip addr add 10.50.0.254/24 dev switch0.50; ip link set switch0.50 up',
    ]);
    const before = await house.world();
    await house.network('one', onVlan('lan0.50', 50));
    expect(await kinds(house)).toEqual(['lan0.50 vlan']);
    expect((await house.host.host.rtnl().link.get({ name: 'lan0.50' })).up).toBe(true);
    await house.network('two', onVlan('lan0.50', 51));
    const a = await house.sandbox('a', [['one', {}]]);
    // The untagged wire has no such address.
    expect(await comes(a, '10.50.0.254')).toBe(true);
    await house.controller.deleteSandbox('a', true);
    await house.controller.deleteNetwork('one');
    expect(await kinds(house)).toEqual(['lan0.50 vlan']);
    await house.controller.deleteNetwork('two');
    expect(await house.world()).toEqual(before);
  });

  test('of somebody else is used as it is and stays', async () => {
    const house = await lanHouse();
    await house.host.exec('ip', ['link', 'add', 'link', 'lan0', 'name', 'lan0.60', 'type', 'vlan', 'id', '60']);
    await house.network('one', onVlan('lan0.60', 60));
    expect((await house.host.host.rtnl().link.get({ name: 'lan0.60' })).up).toBe(false);
    await house.start();
    await house.controller.deleteNetwork('one');
    expect(await kinds(house)).toEqual(['lan0.60 vlan']);
    expect(await refusal(house.network('one', onVlan('lan0.4095', 60)))).toContain('vlan id must be between 1-4094');
    await house.host.exec('ip', ['link', 'set', 'lan0.60', 'name', 'own60']);
    expect(await refusal(house.network('one', onVlan('lan0.60', 60)))).toContain(
      'bad_option: the VLAN of lan0.60 is there under another name: give that name as parent',
    );
    await house.host.exec('ip', ['link', 'set', 'lan0', 'down']);
    expect(await refusal(house.network('one', onVlan('lan0.61', 60)))).toContain('bad_option: lan0 is down');
    expect(await kinds(house)).toEqual(['own60 vlan']);
  });

  test('comes back after a restart, when somebody deletes it, and with the link below', async () => {
    const house = await lanHouse();
    await house.network('one', onVlan('lan0.50', 50));
    const a = await house.sandbox('a', [['one', {}]]);
    await house.sandbox('b', [['one', {}]]);
    const links = await linksIn(a);
    const works = async (): Promise<void> => {
      expect(await comes(a, house.address('b', 'one'))).toBe(true);
      expect(await linksIn(a)).toEqual(links);
      expect(house.controller.network('one').record.degraded).toBeUndefined();
    };
    await works();
    for (const again of [() => house.controller.mend(), () => house.start()]) {
      await house.host.exec('ip', ['link', 'del', 'lan0.50']);
      await again();
      await works();
      await house.host.exec('ip', ['link', 'set', 'lan0.50', 'down']);
      await again();
      await works();
    }
    await house.host.exec('ip', ['link', 'del', 'lan0']);
    await house.controller.mend();
    expect(house.controller.network('one').record.degraded).toMatch(/^parent lan0.50 is not there/);
    await plugIn(house);
    await house.controller.mend();
    await works();
    for (const name of ['a', 'b']) await house.controller.deleteSandbox(name, true);
    await house.controller.deleteNetwork('one');
    expect(await kinds(house)).toEqual([]);
  });

  test.each(['before', 'after'] as const)('is not left by a creation that fails or dies %s any call', async (moment) => {
    const house = await lanHouse();
    let calls = 0;
    for (let n = 1; n < 60; n++) {
      const faults = new Faults();
      await house.start(breakable(faults));
      faults.breakAt(n, moment);
      const isDone = await house.network('one', onVlan('lan0.50', 50)).then(
        () => true,
        () => false,
      );
      if (isDone) break;
      calls++;
      await house.world();
      expect(await kinds(house), `call ${n}, ${faults.broke}`).toEqual([]);
    }
    expect(calls).toBeGreaterThan(5);
    await house.controller.deleteNetwork('one');
    for (let n = 1; n <= calls; n++) {
      const faults = new Faults();
      await house.start(breakable(faults));
      const death = faults.dieAt(n, moment);
      const isDone = await Promise.race([death.then(() => false), house.network('one', onVlan('lan0.50', 50)).then(() => true)]);
      if (isDone) break;
      await house.start();
      await house.world();
      expect(await kinds(house), `death at ${n}, ${faults.broke}`).toEqual([]);
    }
  });
});

describe('without a parent', { timeout: LIMIT_MS }, () => {
  test.each(['macvlan', 'ipvlan'])('%s: a dummy, and sandboxes that reach each other and nothing else', async (driver) => {
    const house = await lanHouse();
    const before = await house.world();
    const id = await house.network('inner', { driver, enableIPv6: true });
    expect(await kinds(house)).toEqual([`d${driver[0]}-${id.slice(0, 12)} dummy`]);
    const a = await house.sandbox('a', [['inner', {}]]);
    await house.sandbox('b', [['inner', {}]]);
    expect(await comes(a, house.address('b', 'inner'))).toBe(true);
    expect(await comes(a, house.address('b', 'inner', 6))).toBe(true);
    expect((await a.exec('ip', ['route', 'show', 'default'])).stdout).toBe('');
    const names = await a.exec('dig', ['+short', '+timeout=5', '@127.0.0.11', 'b']);
    expect(names.stdout).toBe(house.address('b', 'inner'));
    await house.host.exec('ip', ['link', 'del', `d${driver[0]}-${id.slice(0, 12)}`]);
    await house.controller.mend();
    expect(await comes(a, house.address('b', 'inner'))).toBe(true);
    for (const name of ['a', 'b']) await house.controller.deleteSandbox(name, true);
    await house.controller.deleteNetwork('inner');
    expect(await house.world()).toEqual(before);
  });
});

driverContract('macvlan on a VLAN', { open: () => stageOf(createMacvlanDriver, true, { parent: 'lan0.7' }) });
driverContract('macvlan without a parent', { open: () => stageOf(createMacvlanDriver, true) });
