/** Connects to a network of macvlan, one after the other, back to back. */

import type { Mac, Prefix } from '../../src/base/index.ts';
import { type Netns, openNetns } from '../../src/kernel/index.ts';
import type { Lab } from '../e2e/lab.ts';
import type { Client } from './client.ts';
import { type Figure, median, timed } from './figures.ts';

export async function macvlan(lab: Lab, client: Client, rounds: number): Promise<Figure[]> {
  await lab.in('host', 'sh', '-c', 'ip link add lan0 type veth peer name lan1; ip link set lan0 up; ip link set lan1 up');
  await client.call('POST', '/networks/create', { Name: 'beside' });
  const IPAM = { Config: [{ Subnet: '10.254.0.0/24', Gateway: '10.254.0.254' }] };
  await client.call('POST', '/networks/create', { Name: 'lan', Driver: 'macvlan', Options: { parent: 'lan0' }, IPAM });
  await client.call('POST', '/sandboxes/create', { Name: 'lanbox', Networks: { beside: {} } });
  const connect: number[] = [];
  const disconnect: number[] = [];
  for (let i = 0; i < rounds; i++) {
    connect.push(await timed(() => client.call('POST', '/networks/lan/connect', { Container: 'lanbox' })));
    disconnect.push(await timed(() => client.call('POST', '/networks/lan/disconnect', { Container: 'lanbox' })));
  }
  await client.call('DELETE', '/sandboxes/lanbox');
  using host = openNetns(`/run/netns/${lab.host}`);
  using outside = openNetns(`/run/netns/${lab.outside}`);
  const floor = await macvlanFloor(host, outside, rounds);
  const what = 'macvlan in the sandbox, address, up';
  return [
    { name: 'connect to macvlan', unit: 'ms', value: median(connect), floor: median(floor.attach), what },
    { name: 'disconnect from macvlan', unit: 'ms', value: median(disconnect), floor: median(floor.detach), what: 'link deleted' },
  ];
}

async function macvlanFloor(host: Netns, sandbox: Netns, rounds: number): Promise<{ attach: number[]; detach: number[] }> {
  const [outer, inner] = [host.rtnl(), sandbox.rtnl()];
  const [attach, detach]: [number[], number[]] = [[], []];
  const { index: parent } = await outer.link.get({ name: 'lan0' });
  const mac = '02:00:00:00:00:fe' as Mac;
  for (let i = 0; i < rounds; i++) {
    const index = 630_000 + i;
    attach.push(
      await timed(async () => {
        await outer.batch([
          {
            op: 'link.add',
            spec: { kind: 'macvlan', name: 'eth8', index, parent, netns: sandbox, mac, macvlan: { mode: 'bridge' } },
          },
        ]);
        await inner.batch([
          { op: 'address.add', spec: { link: index, prefix: '10.249.0.2/24' as Prefix } },
          { op: 'link.set', at: { index }, change: { up: true } },
        ]);
      }),
    );
    detach.push(await timed(() => inner.batchOffThread([{ op: 'link.remove', at: { index } }])));
  }
  return { attach, detach };
}
