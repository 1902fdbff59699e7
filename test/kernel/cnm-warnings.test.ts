/** What a network's creation says of the host beside what it does. */

import { expect, test } from 'vitest';
import { House, WIRE } from './house-lab.ts';

test('a subnet that the host reaches elsewhere is told; a bridge that is adopted with it is not elsewhere', async () => {
  const house = await House.open();
  await house.host.exec('sh', [
    '-ec',
    'ip link add theirs0 type bridge; ip addr add 10.77.0.1/24 dev theirs0; ip link set theirs0 up',
  ]);
  const warningOf = async (name: string, subnet: string, bridge?: string): Promise<string> => {
    const options = bridge === undefined ? {} : { options: { 'com.docker.network.bridge.name': bridge } };
    const { warning } = await house.controller.createNetwork({ name, ipam: { config: [{ subnet }] }, ...options });
    await house.controller.deleteNetwork(name);
    return warning;
  };
  expect(await warningOf('adopted', '10.77.0.0/24', 'theirs0')).toBe('');
  expect(await warningOf('beside', '10.77.0.0/24')).toBe(
    'subnet 10.77.0.0/24 overlaps route 10.77.0.0/24 dev theirs0 of the host',
  );
  const wire = `${WIRE.host}/32`;
  expect(await warningOf('both', wire, 'theirs0')).toMatch(
    /^subnet 198\.51\.100\.1\/32 overlaps route 198\.51\.100\.\d+\/\d+ dev \w+ of the host$/,
  );
});
