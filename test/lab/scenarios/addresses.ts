/** Addresses from the cluster on networks of several hosts: two hosts never give one. */

import type { Scenario } from '../scenario.ts';
import { must } from '../wait.ts';
import { createBox } from './common.ts';

const SUBNET = '10.77.0.0/24';
const EACH = 8;

export const addresses: Scenario = {
  name: 'addresses',
  about: 'bridge networks of all hosts lease from one subnet at once, and no address is given twice',
  hosts: 2,
  async run({ hosts }) {
    const network = { Name: 'shared', Driver: 'bridge', IPAM: { Driver: 'cluster', Config: [{ Subnet: SUBNET }] } };
    for (const host of hosts) await host.must('POST', '/networks/create', network);
    const begin = performance.now();
    const one = async (index: number): Promise<string[]> =>
      await Promise.all(
        hosts.map(async (host) => {
          const name = `box${index}`;
          const { status, message } = await createBox(host, name, 'shared');
          must(status === 201, `${host.name} gives an address: ${status} ${message}`);
          return await host.ok('sandbox', 'inspect', '--format', '{{.Networks.shared.IPAddress}}', name);
        }),
      );
    const given: string[] = [];
    for (let index = 0; index < EACH; index++) given.push(...(await one(index)));
    const each = (performance.now() - begin) / given.length;
    must(new Set(given).size === given.length, `${given.length} addresses are different: ${given.join(' ')}`);
    return `${given.length} addresses, all different, ${Math.round(each)} ms each`;
  },
};
