/** What every IpamDriver owes its callers, as a suite to run against an implementation. */

import { describe, expect, test } from 'vitest';
import {
  codeOf,
  prefixAddress,
  prefixContains,
  prefixLength,
  type Address,
  type IpFamily,
  type Prefix,
} from '../../src/base/index.ts';
import { GATEWAY_REQUEST, REQUEST_ADDRESS_TYPE, type IpamDriver } from '../../src/ipam/index.ts';

export interface IpamManifest {
  /** A fresh driver without leases. */
  readonly open: () => Promise<IpamDriver>;
  readonly families: readonly IpFamily[];
  /** Hands out subnets and addresses; false: the driver of networks without addresses. */
  readonly allocates: boolean;
  /** Networks with separate ranges may share one subnet. */
  readonly sharesSubnets?: boolean;
}

const SUBNET: Readonly<Record<IpFamily, Prefix>> = { 4: '10.99.0.0/29' as Prefix, 6: 'fd99::/64' as Prefix };

const codeFrom = async (work: Promise<unknown>): Promise<string | undefined> => {
  try {
    await work;
  } catch (error) {
    return codeOf(error) ?? `foreign error: ${String(error)}`;
  }
  return 'no error';
};

export function ipamContract(name: string, manifest: IpamManifest): void {
  describe(`IPAM contract: ${name}`, () => {
    test('an unknown or empty address space is refused', async () => {
      const ipam = await manifest.open();
      for (const space of ['', 'nowhere']) {
        expect(await codeFrom(ipam.requestPool({ owner: 'n1', space, family: 4 }))).toBe('unknown_address_space');
      }
    });

    test('releasing what is not leased is no error', async () => {
      const ipam = await manifest.open();
      const { local } = await ipam.addressSpaces();
      const pool = await ipam.requestPool({ owner: 'n1', space: local, family: 4 });
      const inside = prefixAddress(pool.prefix);
      await ipam.releaseAddress(pool.id, inside, 'nobody');
      await ipam.releasePool(pool.id, 'nobody');
      await ipam.releasePool(pool.id, 'n1');
      await ipam.releasePool(pool.id, 'n1');
      await ipam.releaseAddress(pool.id, inside, 'n1');
    });

    for (const family of manifest.families) familyContract(family, manifest);
  });
}

function familyContract(family: IpFamily, manifest: IpamManifest): void {
  const start = async (): Promise<{ ipam: IpamDriver; space: string }> => {
    const ipam = await manifest.open();
    return { ipam, space: (await ipam.addressSpaces()).local };
  };

  test(`IPv${family}: the same owner asking the same twice gets the same pool`, async () => {
    const { ipam, space } = await start();
    const first = await ipam.requestPool({ owner: 'n1', space, family });
    expect(await ipam.requestPool({ owner: 'n1', space, family })).toEqual(first);
  });

  if (!manifest.allocates) {
    test(`IPv${family}: a driver without addresses refuses a subnet`, async () => {
      const { ipam, space } = await start();
      expect(await codeFrom(ipam.requestPool({ owner: 'n1', space, family, subnet: SUBNET[family] }))).toBe('bad_subnet');
    });
    return;
  }
  allocatingContract(family, start);
  if (manifest.sharesSubnets === true) sharingContract(family, start);
}

type Start = () => Promise<{ ipam: IpamDriver; space: string }>;

function allocatingContract(family: IpFamily, start: Start): void {
  const subnet = SUBNET[family];

  test(`IPv${family}: automatic pools of different owners do not overlap, and a released one is found again`, async () => {
    const { ipam, space } = await start();
    const pools = await Promise.all(['n1', 'n2', 'n3'].map((owner) => ipam.requestPool({ owner, space, family })));
    expect(new Set(pools.map((pool) => pool.prefix)).size).toBe(3);
    const second = pools[1]!;
    await ipam.releasePool(second.id, 'n2');
    expect((await ipam.requestPool({ owner: 'n4', space, family })).prefix).toBe(second.prefix);
  });

  test(`IPv${family}: asking for the recorded subnet of an owner replays its lease`, async () => {
    const { ipam, space } = await start();
    const before = await ipam.requestPool({ owner: 'n1', space, family });
    const { ipam: later } = await start();
    const replayed = await later.requestPool({ owner: 'n1', space, family, subnet: before.prefix });
    expect(replayed).toEqual(before);
    expect((await later.requestPool({ owner: 'n2', space, family })).prefix).not.toBe(before.prefix);
  });

  test(`IPv${family}: a subnet of another owner is refused and stays its owner's`, async () => {
    const { ipam, space } = await start();
    const pool = await ipam.requestPool({ owner: 'n1', space, family, subnet });
    expect(pool.prefix).toBe(subnet);
    expect(await codeFrom(ipam.requestPool({ owner: 'n2', space, family, subnet }))).toBe('pool_overlap');
    await ipam.releasePool(pool.id, 'n2');
    expect(await codeFrom(ipam.requestPool({ owner: 'n2', space, family, subnet }))).toBe('pool_overlap');
    await ipam.releasePool(pool.id, 'n1');
    expect((await ipam.requestPool({ owner: 'n2', space, family, subnet })).prefix).toBe(subnet);
  });

  test(`IPv${family}: no address is handed out twice, and a released one is`, async () => {
    const { ipam, space } = await start();
    const pool = await ipam.requestPool({ owner: 'n1', space, family, subnet });
    const options = { [REQUEST_ADDRESS_TYPE]: GATEWAY_REQUEST };
    const gateway = await ipam.requestAddress(pool.id, { owner: 'n1', options });
    const owners = ['e1', 'e2', 'e3', 'e4', 'e5'];
    const leased: Prefix[] = [];
    for (const owner of owners) leased.push(await ipam.requestAddress(pool.id, { owner }));
    expect(new Set([gateway, ...leased]).size).toBe(6);
    for (const prefix of leased) {
      expect(prefixContains(subnet, prefixAddress(prefix))).toBe(true);
      expect(prefixLength(prefix)).toBe(prefixLength(subnet));
    }
    const next = await codeFrom(ipam.requestAddress(pool.id, { owner: 'e6' }));
    expect(next).toBe(family === 4 ? 'no_free_address' : 'no error');
    await ipam.releaseAddress(pool.id, prefixAddress(leased[2]!), 'e3');
    expect(await ipam.requestAddress(pool.id, { owner: 'e7', address: prefixAddress(leased[2]!) })).toBe(leased[2]);
  });

  test(`IPv${family}: a named address is leased once, repeats for its owner, and is refused to others and outside`, async () => {
    const { ipam, space } = await start();
    const pool = await ipam.requestPool({ owner: 'n1', space, family, subnet });
    const address = (family === 4 ? '10.99.0.5' : 'fd99::5') as Address;
    const outside = (family === 4 ? '10.99.0.9' : 'fd98::5') as Address;
    const leased = await ipam.requestAddress(pool.id, { owner: 'e1', address });
    expect(prefixAddress(leased)).toBe(address);
    expect(await ipam.requestAddress(pool.id, { owner: 'e1', address })).toBe(leased);
    expect(await codeFrom(ipam.requestAddress(pool.id, { owner: 'e2', address }))).toBe('address_in_use');
    await ipam.releaseAddress(pool.id, address, 'e2');
    expect(await codeFrom(ipam.requestAddress(pool.id, { owner: 'e2', address }))).toBe('address_in_use');
    expect(await codeFrom(ipam.requestAddress(pool.id, { owner: 'e3', address: outside }))).toBe('address_out_of_range');
  });
}

function sharingContract(family: IpFamily, start: Start): void {
  test(`IPv${family}: networks with separate ranges share a subnet and never an address`, async () => {
    const { ipam, space } = await start();
    const subnet = (family === 4 ? '10.98.0.0/24' : 'fd98::/64') as Prefix;
    const ranges = (family === 4 ? ['10.98.0.32/27', '10.98.0.64/27'] : ['fd98::20/123', 'fd98::40/123']) as Prefix[];
    const [left, right] = await Promise.all(
      ranges.map((range, i) => ipam.requestPool({ owner: `n${i}`, space, family, subnet, range })),
    );
    const a = await ipam.requestAddress(left!.id, { owner: 'e1' });
    const b = await ipam.requestAddress(right!.id, { owner: 'e2' });
    expect(prefixAddress(a)).toBe(prefixAddress(ranges[0]!));
    expect(prefixAddress(b)).toBe(prefixAddress(ranges[1]!));
    expect(await codeFrom(ipam.requestAddress(right!.id, { owner: 'e3', address: prefixAddress(a) }))).toBe('address_in_use');
    expect(await codeFrom(ipam.requestPool({ owner: 'n9', space, family, subnet }))).toBe('pool_overlap');
    await ipam.releasePool(left!.id, 'n0');
    expect(await codeFrom(ipam.requestPool({ owner: 'n9', space, family, subnet }))).toBe('pool_overlap');
    await ipam.releasePool(right!.id, 'n1');
    expect((await ipam.requestPool({ owner: 'n9', space, family, subnet })).prefix).toBe(subnet);
  });
}
