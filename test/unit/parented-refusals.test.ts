import { expect, test } from 'vitest';
import { createMacvlanDriver } from '../../drivers/macvlan/driver.ts';
import { refused } from '../../drivers/shared/sublink.ts';
import { KernelError, type NetworkId, type Prefix, silentLogger } from '../../src/base/index.ts';
import type { DriverNetwork } from '../../src/driver/index.ts';
import { type Link, type Netns, markOf, newInstanceId } from '../../src/kernel/index.ts';

const parent: Link = { index: 7, name: 'eth0', kind: '', up: true, group: 0, mtu: 1500, carrier: true };
const link = (kind: 'macvlan' | 'ipvlan') => ({ kind, isPassthru: false }) as const;

test.each(['EPERM', 'EADDRNOTAVAIL', 'EOVERFLOW', 'EOPNOTSUPP'])(
  'a parent that refuses promiscuous mode or another MAC, by %s, is told with what would work',
  (errno) => {
    const error = refused(new KernelError('link.set', 'link 9', errno), parent, link('macvlan'));
    expect(error).toMatchObject({
      code: 'parent_refuses',
      message: expect.stringMatching(/parent eth0 .*promiscuous mode.*forged transmits.*ipvlan/),
    });
  },
);

test('what is no such refusal stays what it is', () => {
  const other = new KernelError('address.add', '10.0.0.1/24', 'EBUSY');
  expect(refused(other, parent, link('macvlan'))).toBe(other);
  const busy = new KernelError('link.set', 'link 9', 'EBUSY');
  expect(refused(busy, parent, link('macvlan'))).toBe(busy);
  expect(refused(busy, parent, { ...link('macvlan'), isPassthru: true })).toMatchObject({ code: 'parent_refuses' });
  const ipvlan = new KernelError('link.set', 'link 9', 'EPERM');
  expect(refused(ipvlan, parent, link('ipvlan'))).toBe(ipvlan);
});

const driver = createMacvlanDriver({
  host: {} as Netns,
  mark: markOf(newInstanceId()),
  reaper: { kick: () => {}, idle: async () => {}, close: async () => {} },
  env: { log: silentLogger, now: Date.now },
});
const network = (options: Record<string, string>, internal = false): DriverNetwork => ({
  id: 'a'.repeat(64) as NetworkId,
  name: 'lan',
  internal,
  enableIPv4: true,
  enableIPv6: false,
  options,
  v4: [{ prefix: '10.0.0.0/24' as Prefix, aux: {} }],
  v6: [],
  state: null,
});

test('whoever makes a network that the host does not reach is told so, and of the way', () => {
  expect(driver.warning?.(network({ parent: 'eth0' }))).toContain('-o host_access=true');
  expect(driver.warning?.(network({ parent: 'eth0', macvlan_mode: 'private' }))).toMatch(/do not reach each other.*no mode/);
});

test.each([
  [{ parent: 'eth0', host_access: 'true' }, false],
  [{}, false],
  [{ parent: 'eth0' }, true],
] as const)('nobody is told where the host reaches it, or nothing should: %j, internal %j', (options, internal) => {
  expect(driver.warning?.(network(options, internal))).toBe('');
});

test('host_access without a value is refused where a network is made; one that has it goes on without', () => {
  const net = network({ parent: 'eth0', host_access: '' });
  expect(() => driver.validateNetwork?.(net)).toThrow(/host_access: use true or false/);
  expect(driver.auxAddresses?.(net.options)).toEqual([]);
  expect(driver.warning?.(net)).toContain('-o host_access=true');
});
