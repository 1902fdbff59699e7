import { describe, expect, test } from 'vitest';
import { codeOf, messageOf, prefixAddress, prefixesOverlap, type Address, type Prefix } from '../../src/base/index.ts';
import {
  GATEWAY_REQUEST,
  GLOBAL_SPACE,
  LOCAL_SPACE,
  REQUEST_ADDRESS_TYPE,
  SERIAL_OPTION,
  createDefaultIpam,
  type AddressPool,
  type IpamDriver,
  type Pool,
  type PoolRequest,
} from '../../src/ipam/index.ts';

const p = (text: string): Prefix => text as Prefix;
const a = (text: string): Address => text as Address;

/** The reference's list, by which its 31 networks are counted. */
const REFERENCE: readonly AddressPool[] = [
  { base: p('172.17.0.0/16'), size: 16 },
  { base: p('172.18.0.0/16'), size: 16 },
  { base: p('172.19.0.0/16'), size: 16 },
  { base: p('172.20.0.0/14'), size: 16 },
  { base: p('172.24.0.0/14'), size: 16 },
  { base: p('172.28.0.0/14'), size: 16 },
  { base: p('192.168.0.0/16'), size: 20 },
];

const pool = (ipam: IpamDriver, owner: string, rest: Partial<PoolRequest> = {}): Promise<Pool> =>
  ipam.requestPool({ owner, space: LOCAL_SPACE, family: 4, ...rest });

const failure = async (work: Promise<unknown>): Promise<{ code: string | undefined; message: string }> => {
  try {
    await work;
  } catch (error) {
    return { code: codeOf(error), message: messageOf(error) };
  }
  return { code: 'none', message: '' };
};

describe('subnets', () => {
  test('512 networks fit into our pools, from the lowest up, none overlapping; the 513th is refused', async () => {
    const ipam = createDefaultIpam({ hostId: 'h' });
    const subnets: Prefix[] = [];
    for (let i = 0; i < 512; i++) subnets.push((await pool(ipam, `n${i}`)).prefix);
    expect(subnets.slice(0, 2)).toEqual(['172.16.0.0/20', '172.16.16.0/20']);
    expect([subnets[255], subnets[256], subnets[511]]).toEqual(['172.31.240.0/20', '192.168.0.0/24', '192.168.255.0/24']);
    expect(new Set(subnets).size).toBe(512);
    expect((await failure(pool(ipam, 'n512'))).code).toBe('pools_exhausted');
  });

  test("the reference's pools give its 31 networks", async () => {
    const ipam = createDefaultIpam({ hostId: 'h', pools: REFERENCE });
    const subnets: Prefix[] = [];
    for (let i = 0; i < 31; i++) subnets.push((await pool(ipam, `n${i}`)).prefix);
    expect(subnets[0]).toBe('172.17.0.0/16');
    expect(subnets[14]).toBe('172.31.0.0/16');
    expect(subnets[30]).toBe('192.168.240.0/20');
    expect((await failure(pool(ipam, 'n31'))).code).toBe('pools_exhausted');
  });

  test('an automatic choice avoids the excluded prefixes of any size, and only these', async () => {
    const ipam = createDefaultIpam({ hostId: 'h', pools: REFERENCE });
    const exclude = [
      { prefix: p('172.18.0.0/16'), reason: 'route on eth0' },
      { prefix: p('172.19.3.4/32'), reason: 'nameserver' },
    ];
    expect((await pool(ipam, 'n1', { exclude })).prefix).toBe('172.17.0.0/16');
    expect((await pool(ipam, 'n2', { exclude })).prefix).toBe('172.20.0.0/16');
    expect((await pool(ipam, 'n3')).prefix).toBe('172.18.0.0/16');
    expect((await pool(ipam, 'n4', { subnet: p('172.19.0.0/16'), exclude })).prefix).toBe('172.19.0.0/16');
  });

  test('the gap that a removed network leaves is filled first', async () => {
    const ipam = createDefaultIpam({ hostId: 'h', pools: REFERENCE });
    await pool(ipam, 'n1');
    const second = await pool(ipam, 'n2');
    await pool(ipam, 'n3');
    await ipam.releasePool(second.id, 'n2');
    expect((await pool(ipam, 'n4')).prefix).toBe('172.18.0.0/16');
  });

  test('a subnet of a wished length is cut from a pool that holds it, beside odd-sized neighbours', async () => {
    const ipam = createDefaultIpam({ hostId: 'h' });
    await pool(ipam, 'n1', { subnet: p('172.16.0.128/25') });
    expect((await pool(ipam, 'n2', { subnet: p('0.0.0.0/24') })).prefix).toBe('172.16.1.0/24');
    expect((await pool(ipam, 'n3', { subnet: p('0.0.0.0/26') })).prefix).toBe('172.16.0.0/26');
    expect((await pool(ipam, 'n4', { subnet: p('0.0.0.0/0') })).prefix).toBe('172.16.16.0/20');
    expect((await pool(ipam, 'n5', { subnet: p('0.0.0.0/14') })).prefix).toBe('172.20.0.0/14');
    const tooBig = await failure(pool(ipam, 'n6', { subnet: p('0.0.0.0/8') }));
    expect(tooBig).toMatchObject({
      code: 'pools_exhausted',
      message: expect.stringContaining('large enough for a /8') as string,
    });
  });

  test('host bits of a wished subnet are masked, and every overlap is refused by name', async () => {
    const ipam = createDefaultIpam({ hostId: 'h' });
    expect((await pool(ipam, 'a'.repeat(64), { subnet: p('10.1.2.3/16') })).prefix).toBe('10.1.0.0/16');
    for (const subnet of ['10.1.0.0/16', '10.0.0.0/8', '10.1.4.0/24']) {
      const refused = await failure(pool(ipam, 'n2', { subnet: p(subnet) }));
      expect(refused.code).toBe('pool_overlap');
      expect(refused.message).toContain('Pool overlaps with other one on this address space');
      expect(refused.message).toContain('10.1.0.0/16 of network aaaaaaaaaaaa');
    }
  });

  test('a range must lie in a subnet of its family; one that covers the subnet means the subnet', async () => {
    const ipam = createDefaultIpam({ hostId: 'h' });
    const code = async (rest: Partial<PoolRequest>): Promise<string | undefined> => (await failure(pool(ipam, 'n', rest))).code;
    expect(await code({ range: p('10.0.0.0/24') })).toBe('bad_ip_range');
    expect(await code({ subnet: p('0.0.0.0/24'), range: p('10.0.0.0/25') })).toBe('bad_ip_range');
    expect(await code({ subnet: p('10.0.0.0/24'), range: p('10.0.1.0/25') })).toBe('bad_ip_range');
    expect(await code({ subnet: p('10.0.0.0/24'), range: p('fd00::/72') })).toBe('bad_ip_range');
    expect(await code({ subnet: p('fd00::/64') })).toBe('bad_subnet');
    expect((await pool(ipam, 'n', { subnet: p('10.0.0.0/24'), range: p('10.0.0.0/16') })).id).toBe('LocalDefault/10.0.0.0/24');
  });

  test('the same range of one subnet is refused to a second network', async () => {
    const ipam = createDefaultIpam({ hostId: 'h' });
    const shared = { subnet: p('10.0.0.0/24'), range: p('10.0.0.32/27') };
    expect((await pool(ipam, 'n1', shared)).id).toBe('LocalDefault/10.0.0.0/24/10.0.0.32/27');
    expect((await failure(pool(ipam, 'n2', shared))).code).toBe('pool_overlap');
  });

  test('IPv6 subnets come from a /48 that is the same for the same host and differs between hosts', async () => {
    const first = async (hostId: string): Promise<Prefix> =>
      (await pool(createDefaultIpam({ hostId }), 'n1', { family: 6 })).prefix;
    expect(await first('one')).toBe(await first('one'));
    expect(await first('one')).not.toBe(await first('two'));
    // SHA-256('one') begins 7692c3ad3540bb80; its low 40 bits follow fd.
    expect(await first('one')).toBe('fdad:3540:bb80::/64');
    const ipam = createDefaultIpam({ hostId: 'one' });
    await pool(ipam, 'n1', { family: 6 });
    expect((await pool(ipam, 'n2', { family: 6 })).prefix).toBe('fdad:3540:bb80:1::/64');
  });

  test('own pools replace ours as a whole, but an IPv4 list keeps the unique local IPv6 pool', async () => {
    const six = createDefaultIpam({ hostId: 'h', pools: [{ base: p('2001:db8::/56'), size: 64 }] });
    expect((await pool(six, 'n1', { family: 6 })).prefix).toBe('2001:db8::/64');
    expect(await failure(pool(six, 'n2'))).toMatchObject({
      code: 'pools_exhausted',
      message: expect.stringContaining('no IPv4 address pool is configured') as string,
    });
    const four = createDefaultIpam({ hostId: 'h', pools: [{ base: p('10.9.0.0/16'), size: 24 }] });
    expect((await pool(four, 'n1')).prefix).toBe('10.9.0.0/24');
    expect((await pool(four, 'n2', { family: 6 })).prefix).toMatch(/^fd.*\/64$/);
  });

  test('own pools are used in rising order and overlapping ones once', async () => {
    const pools = [
      { base: p('10.9.128.0/17'), size: 18 },
      { base: p('10.8.0.0/24'), size: 24 },
      { base: p('10.9.0.0/16'), size: 17 },
    ];
    const ipam = createDefaultIpam({ hostId: 'h', pools });
    const got = [await pool(ipam, 'n1'), await pool(ipam, 'n2'), await pool(ipam, 'n3')].map((one) => one.prefix);
    expect(got).toEqual(['10.8.0.0/24', '10.9.0.0/17', '10.9.128.0/17']);
    expect((await failure(pool(ipam, 'n4'))).code).toBe('pools_exhausted');
  });

  test('spaces are independent: a subnet used locally is free globally', async () => {
    const ipam = createDefaultIpam({ hostId: 'h' });
    await pool(ipam, 'n1', { subnet: p('10.0.0.0/24') });
    expect((await pool(ipam, 'n2', { space: GLOBAL_SPACE })).prefix).toBe('10.0.0.0/24');
  });

  test('an exhausted error names each pool, what it collided with, how many more, and what helps', async () => {
    const ipam = createDefaultIpam({ hostId: 'h', pools: [{ base: p('10.7.0.0/21'), size: 24 }] });
    const exclude = [{ prefix: p('10.7.0.0/23'), reason: 'route on tun0' }];
    for (let i = 0; i < 6; i++) await pool(ipam, `${i}`.repeat(64), { exclude });
    const { code, message } = await failure(pool(ipam, 'n9', { exclude }));
    expect(code).toBe('pools_exhausted');
    expect(message).toContain('all predefined address pools have been fully subnetted');
    expect(message).toContain('10.7.0.0/21 in /24s is taken by 10.7.0.0/23 (route on tun0), 10.7.2.0/24 (network 000000000000)');
    expect(message).toContain('and 3 more');
    expect(message).toContain('--default-address-pool base=');
  });

  test('an exhausted error names a network once whose subnet is a route of the host too', async () => {
    const ipam = createDefaultIpam({ hostId: 'h', pools: [{ base: p('10.7.0.0/24'), size: 24 }] });
    await pool(ipam, '1'.repeat(64));
    const exclude = [{ prefix: p('10.7.0.0/24'), reason: 'route on br-1' }];
    const { message } = await failure(pool(ipam, 'n2', { exclude }));
    expect(message).toContain('10.7.0.0/24 in /24s is taken by 10.7.0.0/24 (network 111111111111);');
  });

  test('random requests never yield overlapping subnets', async () => {
    const ipam = createDefaultIpam({ hostId: 'h', pools: [{ base: p('10.7.0.0/22'), size: 26 }] });
    const held: Pool[] = [];
    const overlaps: Pool[] = [];
    let made = 0;
    let seed = 12345;
    const random = (limit: number): number => (seed = (seed * 1103515245 + 12345) & 0x7fffffff) % limit;
    for (let i = 0; i < 200; i++) {
      if (random(3) === 0 && held.length > 0) {
        const [gone] = held.splice(random(held.length), 1);
        await ipam.releasePool(gone!.id, gone!.id);
      } else {
        const got = await pool(ipam, `o${i}`, { subnet: p(`0.0.0.0/${24 + random(6)}`) }).catch(() => undefined);
        if (got === undefined) continue;
        overlaps.push(...held.filter((other) => prefixesOverlap(other.prefix, got.prefix)));
        await ipam.releasePool(got.id, `o${i}`);
        held.push(await pool(ipam, got.id, { subnet: got.prefix }));
        made++;
      }
    }
    expect(overlaps).toEqual([]);
    expect(made).toBeGreaterThan(50);
  });
});

describe('addresses', () => {
  const gatewayOption = { [REQUEST_ADDRESS_TYPE]: GATEWAY_REQUEST };

  test('five endpoints fill a /29 behind its gateway; a freed address is the next one given', async () => {
    const ipam = createDefaultIpam({ hostId: 'h' });
    const { id } = await pool(ipam, 'n', { subnet: p('10.0.0.0/29') });
    expect(await ipam.requestAddress(id, { owner: 'n', options: gatewayOption })).toBe('10.0.0.1/29');
    const got: Prefix[] = [];
    for (let i = 2; i <= 6; i++) got.push(await ipam.requestAddress(id, { owner: `e${i}` }));
    expect(got.map(prefixAddress)).toEqual(['10.0.0.2', '10.0.0.3', '10.0.0.4', '10.0.0.5', '10.0.0.6']);
    expect((await failure(ipam.requestAddress(id, { owner: 'e7' }))).code).toBe('no_free_address');
    await ipam.releaseAddress(id, a('10.0.0.4'), 'e4');
    expect(await ipam.requestAddress(id, { owner: 'e7' })).toBe('10.0.0.4/29');
  });

  test('a /31 holds two addresses and a /32 one', async () => {
    const ipam = createDefaultIpam({ hostId: 'h' });
    for (const [subnet, expected] of [
      ['10.0.0.0/31', ['10.0.0.0/31', '10.0.0.1/31']],
      ['10.0.1.7/32', ['10.0.1.7/32']],
    ] as const) {
      const { id } = await pool(ipam, subnet, { subnet: p(subnet) });
      for (const [i, address] of expected.entries()) expect(await ipam.requestAddress(id, { owner: `e${i}` })).toBe(address);
      expect((await failure(ipam.requestAddress(id, { owner: 'last' }))).code).toBe('no_free_address');
    }
  });

  test('IPv6 reserves only the all-zero host; the last address is usable', async () => {
    const ipam = createDefaultIpam({ hostId: 'h' });
    const { id } = await pool(ipam, 'n', { family: 6, subnet: p('fd00::/64') });
    expect(await ipam.requestAddress(id, { owner: 'e1' })).toBe('fd00::1/64');
    expect(await ipam.requestAddress(id, { owner: 'e2', address: a('fd00::ffff:ffff:ffff:ffff') })).toBe(
      'fd00::ffff:ffff:ffff:ffff/64',
    );
    expect(await failure(ipam.requestAddress(id, { owner: 'e3', address: a('fd00::') }))).toMatchObject({
      code: 'address_in_use',
      message: expect.stringContaining('reserved') as string,
    });
  });

  test('a range limits automatic choice only: gateway from its base, named addresses from the whole subnet', async () => {
    const ipam = createDefaultIpam({ hostId: 'h' });
    const { id } = await pool(ipam, 'n', { subnet: p('10.0.0.0/24'), range: p('10.0.0.32/31') });
    expect(await ipam.requestAddress(id, { owner: 'n', options: gatewayOption })).toBe('10.0.0.32/24');
    expect(await ipam.requestAddress(id, { owner: 'e1' })).toBe('10.0.0.33/24');
    expect((await failure(ipam.requestAddress(id, { owner: 'e2' }))).code).toBe('no_free_address');
    expect(await ipam.requestAddress(id, { owner: 'e2', address: a('10.0.0.200') })).toBe('10.0.0.200/24');
  });

  test('the serial option hands out rising addresses and wraps', async () => {
    const ipam = createDefaultIpam({ hostId: 'h' });
    const { id } = await pool(ipam, 'n', { subnet: p('10.0.0.0/29'), options: { [SERIAL_OPTION]: 'true' } });
    const next = async (owner: string): Promise<string> => prefixAddress(await ipam.requestAddress(id, { owner }));
    expect([await next('e1'), await next('e2')]).toEqual(['10.0.0.1', '10.0.0.2']);
    await ipam.releaseAddress(id, a('10.0.0.1'), 'e1');
    expect([await next('e3'), await next('e4'), await next('e5'), await next('e6')]).toEqual([
      '10.0.0.3',
      '10.0.0.4',
      '10.0.0.5',
      '10.0.0.6',
    ]);
    expect(await next('e7')).toBe('10.0.0.1');
  });

  test("an owner's repeated request is the same lease; its gateway and its auxiliary address stay two", async () => {
    const ipam = createDefaultIpam({ hostId: 'h' });
    const { id } = await pool(ipam, 'n', { subnet: p('10.0.0.0/24') });
    const gateway = await ipam.requestAddress(id, { owner: 'n', options: gatewayOption });
    expect(await ipam.requestAddress(id, { owner: 'n', options: gatewayOption })).toBe(gateway);
    expect(await ipam.requestAddress(id, { owner: 'e1' })).toBe('10.0.0.2/24');
    expect(await ipam.requestAddress(id, { owner: 'e1' })).toBe('10.0.0.2/24');
    expect((await failure(ipam.requestAddress(id, { owner: 'n', address: prefixAddress(gateway) }))).code).toBe('address_in_use');
  });

  test('after a restart the replayed addresses are not handed out again', async () => {
    const ipam = createDefaultIpam({ hostId: 'h' });
    const { id } = await pool(ipam, 'n', { subnet: p('10.0.0.0/24') });
    await ipam.requestAddress(id, { owner: 'n', options: gatewayOption, address: a('10.0.0.1') });
    await ipam.requestAddress(id, { owner: 'e1', address: a('10.0.0.2') });
    expect(await ipam.requestAddress(id, { owner: 'e2' })).toBe('10.0.0.3/24');
  });

  test('usage counts reserved, gateway and endpoint addresses, and what is free in the range', async () => {
    const ipam = createDefaultIpam({ hostId: 'h' });
    const four = await pool(ipam, 'n', { subnet: p('10.0.0.0/24'), range: p('10.0.0.16/28') });
    await ipam.requestAddress(four.id, { owner: 'n', options: gatewayOption });
    await ipam.requestAddress(four.id, { owner: 'e1', address: a('10.0.0.200') });
    expect(await ipam.usage?.(four.id)).toEqual({ prefix: '10.0.0.0/24', inUse: 4n, available: 15n });
    const six = await pool(ipam, 'n', { family: 6, subnet: p('fd00::/64') });
    expect(await ipam.usage?.(six.id)).toEqual({ prefix: 'fd00::/64', inUse: 1n, available: (1n << 64n) - 1n });
  });

  test('releasing outside the subnet is refused', async () => {
    const ipam = createDefaultIpam({ hostId: 'h' });
    const { id } = await pool(ipam, 'n', { subnet: p('10.0.0.0/24') });
    expect((await failure(ipam.releaseAddress(id, a('10.0.1.1'), 'n'))).code).toBe('address_out_of_range');
  });

  test('an address of a pool that nobody leased is refused', async () => {
    const ipam = createDefaultIpam({ hostId: 'h' });
    expect((await failure(ipam.requestAddress('LocalDefault/10.0.0.0/24', { owner: 'e' }))).code).toBe('unknown_address_space');
  });
});

test('a router outside is named by networks that share its subnet, is nobody else’s, and is free after the last of them', async () => {
  const ipam = createDefaultIpam({ hostId: 'h' });
  const subnet = p('10.0.0.0/24');
  const one = await pool(ipam, 'n1', { subnet, range: p('10.0.0.0/29') });
  const two = await pool(ipam, 'n2', { subnet, range: p('10.0.0.64/27') });
  const router = a('10.0.0.1');
  const ask = (id: string, owner: string, isOutside = false) =>
    ipam.requestAddress(id, { owner, address: router, ...(isOutside && { isOutside }) });
  for (const [id, owner] of [
    [one.id, 'n1'],
    [two.id, 'n2'],
    [two.id, 'n2'],
  ] as const)
    expect(await ask(id, owner, true)).toBe('10.0.0.1/24');
  const taken = async (): Promise<void> => {
    expect((await failure(ask(two.id, 'e1'))).code).toBe('address_in_use');
    expect(prefixAddress(await ipam.requestAddress(one.id, { owner: 'e2' }))).toBe('10.0.0.2');
  };
  await taken();
  await ipam.releaseAddress(one.id, router, 'n1');
  await ipam.releaseAddress(one.id, router, 'e1');
  await taken();
  await ipam.releaseAddress(two.id, router, 'n2');
  expect(await ask(two.id, 'e1')).toBe('10.0.0.1/24');
  // What a sandbox has is no router.
  expect((await failure(ask(one.id, 'n1', true))).code).toBe('address_in_use');
});
