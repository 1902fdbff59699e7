/** Parents that are made and go, on a host that keeps the number of a VLAN for a link until that is deleted, as the kernel does. */

import { describe, expect, test } from 'vitest';
import { createMacvlanDriver } from '../../drivers/macvlan/driver.ts';
import { KernelError, type NetworkId, type Prefix, silentLogger } from '../../src/base/index.ts';
import type { Driver, DriverNetwork } from '../../src/driver/index.ts';
import { type Link, type LinkAt, type Netns, type RtnlOp, markOf, newInstanceId } from '../../src/kernel/index.ts';

const ctx = { signal: new AbortController().signal };
const mark = markOf(newInstanceId());

interface HostLink extends Link {
  /** Another name that it has. */
  readonly alt?: string;
  readonly vlan?: number;
}

class Host {
  links: HostLink[] = [];
  readonly driver: Driver;

  constructor() {
    this.#add({ name: 'eth0', kind: '', up: true, group: 0 });
    const rtnl = {
      link: {
        find: async (at: LinkAt) => this.#at(at),
        get: async (at: LinkAt) => this.#at(at),
        list: async () => this.links,
      },
      address: { list: async () => [] },
      batch: async (ops: readonly RtnlOp[]) => ops.forEach((op) => this.#do(op)),
      batchOffThread: async (ops: readonly RtnlOp[]) => ops.forEach((op) => this.#do(op)),
    };
    const host = { rtnl: () => rtnl } as unknown as Netns;
    const reaper = { kick: () => {}, idle: async () => {}, close: async () => {} };
    this.driver = createMacvlanDriver({ host, mark, reaper, env: { log: silentLogger, now: Date.now } });
  }

  #at = (at: LinkAt): HostLink | undefined =>
    this.links.find((link) => ('index' in at ? link.index === at.index : link.name === at.name || link.alt === at.name));

  #add(link: Pick<HostLink, 'name' | 'kind' | 'up' | 'group' | 'parent' | 'vlan'>): void {
    this.links.push({ index: 100 + this.links.length, mtu: 1500, carrier: true, ...link });
  }

  /** Somebody changes a link. */
  change(name: string, change: Partial<HostLink>): void {
    this.links = this.links.map((link) => (link.name === name ? { ...link, ...change } : link));
  }

  #do(op: RtnlOp): void {
    if (op.op === 'link.add') {
      const { name, kind, parent, group = 0, vlan } = op.spec;
      if (vlan !== undefined && this.links.some((link) => link.parent === parent && link.vlan === vlan.id))
        throw new KernelError('link.add', name, 'EEXIST');
      this.#add({ name, kind, up: false, group, ...(parent && { parent }), ...(vlan && { vlan: vlan.id }) });
    } else if (op.op === 'link.set') {
      const link = this.#at(op.at);
      const below = link?.parent === undefined ? undefined : this.#at({ index: link.parent });
      if (op.change.up === true && link?.kind === 'vlan' && below?.up === false)
        throw new KernelError('link.set', link.name, 'ENETDOWN');
      const { name, group, up } = op.change;
      if (link !== undefined)
        this.change(link.name, { ...(name && { name }), ...(group && { group }), ...(up !== undefined && { up }) });
    } else if (op.op === 'link.remove') {
      const gone = this.#at(op.at);
      this.links = this.links.filter((link) => link !== gone);
    }
  }

  get names(): string[] {
    return this.links.map(({ name }) => name);
  }
}

let made = 0;
const network = (parent: string): DriverNetwork => ({
  id: String(++made).padStart(64, 'a') as NetworkId,
  name: `net${made}`,
  internal: false,
  enableIPv4: true,
  enableIPv6: false,
  options: parent === '' ? {} : { parent },
  v4: [{ prefix: `10.${made}.0.0/24` as Prefix, aux: {} }],
  v6: [],
  state: null,
});

async function created(host: Host, parent: string): Promise<DriverNetwork> {
  const net = network(parent);
  await host.driver.createNetwork(ctx, net);
  return net;
}

describe.each(['eth0.50', ''])('a parent that we made for %j', (parent) => {
  test('is gone with its last network, and can be made again at once', async () => {
    const host = new Host();
    for (let times = 0; times < 3; times++) {
      const net = await created(host, parent);
      expect(host.links).toHaveLength(2);
      await host.driver.deleteNetwork(ctx, net);
      expect(host.names).toEqual(['eth0']);
    }
  });
});

test('a VLAN goes when its networks are deleted at the same time', async () => {
  const host = new Host();
  const nets = [await created(host, 'eth0.50'), await created(host, 'eth0.50'), await created(host, 'eth0.50')];
  await Promise.all(nets.map((net) => host.driver.deleteNetwork(ctx, net)));
  expect(host.names).toEqual(['eth0']);
});

test('a VLAN that networks name by several names of it goes with the last of them, after a start too', async () => {
  for (const names of [
    ['eth0.50', 'fifty'],
    ['fifty', 'eth0.50'],
  ]) {
    const host = new Host();
    const first = await created(host, 'eth0.50');
    host.change('eth0.50', { alt: 'fifty' });
    const nets: DriverNetwork[] = [];
    for (const name of names) nets.push(await created(host, name));
    const wanted = nets.flatMap(
      (net) => host.driver.restorer?.linksOf({ net: { ...net, state: { parent: 'eth0.50' } }, endpoints: [] }) ?? [],
    );
    expect(wanted).toContain('eth0.50');
    await host.driver.deleteNetwork(ctx, first);
    for (const net of nets) {
      expect(host.names).toEqual(['eth0', 'eth0.50']);
      await host.driver.deleteNetwork(ctx, net);
    }
    expect(host.names).toEqual(['eth0']);
  }
});

test('a VLAN of ours that is down with its base says what to set up', async () => {
  const host = new Host();
  const net = await created(host, 'eth0.50');
  for (const name of ['eth0', 'eth0.50']) host.change(name, { up: false });
  await expect(created(host, 'eth0.50')).rejects.toMatchObject({
    code: 'bad_option',
    message: expect.stringContaining('ip link set eth0 up'),
  });
  const [report] = (await host.driver.restorer?.restore(ctx, [{ net, endpoints: [] }])) ?? [];
  expect(report?.problem).toContain('ip link set eth0 up');
});

test.each(['bridge', 'macvlan', 'veth'])(
  'a %s of ours for something else is no parent of ours: it is left as it is',
  async (kind) => {
    const host = new Host();
    host.change('eth0', { kind, group: mark.liveGroup, up: false });
    const net = await created(host, 'eth0');
    expect(await host.driver.restorer?.observe([{ net, endpoints: [] }])).toEqual([]);
    await host.driver.deleteNetwork(ctx, net);
    expect(host.links).toMatchObject([{ name: 'eth0', group: mark.liveGroup, up: false }]);
  },
);
