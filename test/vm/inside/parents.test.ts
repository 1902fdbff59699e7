/** Parents that are made with their network: VLANs of a link, and dummies. */

import { expect, test } from 'vitest';
import { comes, linksIn, plugIn } from '../../kernel/parent-lab.ts';
import { WireLab, refusal } from './wire-lab.ts';

const LIMIT_MS = 200_000;
const on = (parent: string) => ({ parent });

test(
  'a VLAN is made with the first network on it, bears tags, comes back, and goes with the last',
  { timeout: LIMIT_MS },
  async () => {
    const lab = await WireLab.open();
    await lab.outside.exec('sh', [
      '-ec',
      'ip link add link switch0 name switch0.50 type vlan id 50; ip addr add 10.50.0.254/24 dev switch0.50; ip link set switch0.50 up',
    ]);
    const one = await lab.network('macvlan', on('lan0.50'), ['10.50.0.0/24'], []);
    expect(await lab.links()).toEqual(['lan0.50 vlan']);
    expect((await lab.host.host.rtnl().link.get({ name: 'lan0.50' })).up).toBe(true);
    const two = await lab.network('macvlan', on('lan0.50'), ['10.51.0.0/24'], []);
    const a = await lab.join('macvlan', one, '10.50.0.5/24');
    const b = await lab.join('macvlan', one, '10.50.0.6/24');
    const links = await linksIn(a.inside);
    const works = async (): Promise<void> => {
      expect(await lab.isWrong('macvlan', one, [a, b])).toBe(false);
      // The wire without tags has no such address.
      expect(await comes(a.inside, '10.50.0.254')).toBe(true);
      expect(await comes(a.inside, '10.50.0.6')).toBe(true);
      expect(await linksIn(a.inside)).toEqual(links);
    };
    await works();
    for (const loss of [
      ['del', 'lan0.50'],
      ['set', 'lan0.50', 'down'],
    ]) {
      await lab.host.exec('ip', ['link', ...loss]);
      expect(await lab.isWrong('macvlan', one, [a, b])).toBe(true);
      expect(await lab.restore('macvlan', one, [a, b])).toBeUndefined();
      await works();
    }
    await lab.host.exec('ip', ['link', 'del', 'lan0']);
    expect(await lab.restore('macvlan', one, [a, b])).toMatch(/^parent lan0.50 is not there/);
    await plugIn(lab);
    lab.restart();
    expect(await lab.restore('macvlan', one, [a, b])).toBeUndefined();
    expect(await lab.restore('macvlan', two)).toBeUndefined();
    await works();
    for (const box of [a, b]) await lab.leave('macvlan', one, box);
    await lab.deleteNetwork('macvlan', one);
    expect(await lab.links()).toEqual(['lan0.50 vlan']);
    await lab.deleteNetwork('macvlan', two);
    // Its number is free at once.
    const again = await lab.network('macvlan', on('lan0.50'), ['10.50.0.0/24'], []);
    await lab.deleteNetwork('macvlan', again);
    expect(await lab.links()).toEqual([]);
  },
);

test.each([
  ['macvlan', 'ipvlan'],
  ['ipvlan', 'macvlan'],
] as const)(
  'a VLAN of a %s network is refused to %s, and goes with its last network',
  { timeout: LIMIT_MS },
  async (first, second) => {
    const lab = await WireLab.open();
    const one = await lab.network(first, on('lan0.50'));
    const wanted = `parent_in_use: cannot create network net2: network net1 is already using parent interface lan0.50, and it is of driver ${first}`;
    expect(await refusal(lab.network(second, on('lan0.50')))).toContain(wanted);
    lab.restart();
    expect(await lab.restore(first, one)).toBeUndefined();
    expect(await refusal(lab.network(second, on('lan0.50')))).toContain(wanted.replace('net2', 'net3'));
    expect(await lab.links()).toEqual(['lan0.50 vlan']);
    await lab.deleteNetwork(first, one);
    expect(await lab.links()).toEqual([]);
  },
);

test('a VLAN of somebody else is used as it is and stays; what cannot be made is told', { timeout: LIMIT_MS }, async () => {
  const lab = await WireLab.open();
  await lab.host.exec('ip', ['link', 'add', 'link', 'lan0', 'name', 'lan0.60', 'type', 'vlan', 'id', '60']);
  const net = await lab.network('macvlan', on('lan0.60'));
  expect((await lab.host.host.rtnl().link.get({ name: 'lan0.60' })).up).toBe(false);
  lab.restart();
  await lab.deleteNetwork('macvlan', net);
  expect(await lab.links()).toEqual(['lan0.60 vlan']);
  await lab.host.exec('ip', ['link', 'set', 'lan0.60', 'name', 'own60']);
  expect(await refusal(lab.network('macvlan', on('lan0.60')))).toContain(
    'bad_option: the VLAN of lan0.60 is there under another name: give that name as parent',
  );
  await lab.host.exec('ip', ['link', 'set', 'lan0', 'down']);
  expect(await refusal(lab.network('macvlan', on('lan0.61')))).toContain('bad_option: lan0 is down');
  expect(await lab.links()).toEqual(['own60 vlan']);
});

test.each(['macvlan', 'ipvlan'] as const)(
  '%s without a parent: a dummy, and sandboxes that reach each other and nothing else',
  { timeout: LIMIT_MS },
  async (driver) => {
    const lab = await WireLab.open();
    const net = await lab.network(driver, {});
    const dummy = `d${driver[0]}-${net.id.slice(0, 12)}`;
    expect(await lab.links()).toEqual([`${dummy} dummy`]);
    const a = await lab.join(driver, net, '10.30.0.5/24', 'fd30::5/64');
    const b = await lab.join(driver, net, '10.30.0.6/24', 'fd30::6/64');
    expect(a.result).not.toHaveProperty('gateway');
    expect(a.result).not.toHaveProperty('wayOut');
    for (const to of ['10.30.0.6', 'fd30::6']) expect(await comes(a.inside, to), to).toBe(true);
    await lab.host.exec('ip', ['link', 'del', dummy]);
    expect(await lab.isWrong(driver, net)).toBe(true);
    expect(await lab.restore(driver, net, [a, b])).toBeUndefined();
    for (const to of ['10.30.0.6', 'fd30::6']) expect(await comes(a.inside, to), to).toBe(true);
    for (const box of [a, b]) await lab.leave(driver, net, box);
    await lab.deleteNetwork(driver, net);
    expect(await lab.links()).toEqual([]);
  },
);
