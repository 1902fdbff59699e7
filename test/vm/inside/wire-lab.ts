/**
 * Drivers of networks on a parent without a daemon around them: a host with `lan0`, which is plugged into a switch outside with a
 * router on it. No keeper and no tool of the packet filter, which take their time on emulated processors.
 */

import { onTestFinished } from 'vitest';
import { createIpvlanDriver } from '../../../drivers/ipvlan/driver.ts';
import { createMacvlanDriver } from '../../../drivers/macvlan/driver.ts';
import { ParentUsers } from '../../../drivers/shared/parent.ts';
import {
  type Address,
  type EndpointId,
  type Mac,
  type NetworkId,
  type Prefix,
  type SandboxId,
  codeOf,
  messageOf,
  silentLogger,
} from '../../../src/base/index.ts';
import type {
  Ctx,
  Driver,
  DriverEndpoint,
  DriverNetwork,
  DriverOptions,
  JoinPlace,
  JoinResult,
  RestoreNetwork,
} from '../../../src/driver/index.ts';
import { createReaper, markOf, newInstanceId, type Mark, type Reaper } from '../../../src/kernel/index.ts';
import { LAN, plugLan } from '../../kernel/parent-lab.ts';
import { type TestHost, hostAt, testHosts } from '../../kernel/support.ts';

const ctx: Ctx = { signal: new AbortController().signal };

/** A pool with a gateway where one is named: `10.0.0.0/24 10.0.0.1`. */
const poolOf = (text: string): DriverNetwork['v4'][number] => {
  const [prefix = '', gateway, host] = text.split(' ');
  return {
    prefix: prefix as Prefix,
    ...(gateway !== undefined && gateway !== '-' && { gateway: gateway as Address }),
    aux: host === undefined ? {} : { host: host as Address },
  };
};

export interface Box {
  readonly ep: DriverEndpoint;
  readonly place: JoinPlace;
  readonly inside: TestHost;
  readonly result: JoinResult;
}

export class WireLab {
  readonly host: TestHost;
  readonly outside: TestHost;
  readonly #mark: Mark = markOf(newInstanceId());
  readonly #reaper: Reaper;
  drivers!: Readonly<Record<'macvlan' | 'ipvlan', Driver>>;
  #made = 0;

  private constructor(host: TestHost, outside: TestHost) {
    this.host = host;
    this.outside = outside;
    this.#reaper = createReaper(host.host, this.#mark, silentLogger);
    this.restart();
  }

  static async open(): Promise<WireLab> {
    const hosts = await testHosts(2);
    const lab = new WireLab(hostAt(hosts, 0), hostAt(hosts, 1));
    onTestFinished(() => lab.#reaper.close());
    await plugLan(lab.host, lab.outside);
    return lab;
  }

  /** Drivers that remember nothing, as of a new process. */
  restart(): void {
    const parts = { host: this.host.host, mark: this.#mark, reaper: this.#reaper, env: { log: silentLogger, now: Date.now } };
    const users = new ParentUsers();
    this.drivers = { macvlan: createMacvlanDriver(parts, users), ipvlan: createIpvlanDriver(parts, users) };
  }

  async network(
    driver: 'macvlan' | 'ipvlan',
    options: DriverOptions,
    v4: readonly string[] = [`${LAN.v4} ${LAN.router} 10.30.0.200`],
    v6: readonly string[] = [`${LAN.v6} ${LAN.router6} fd30::200`],
  ): Promise<DriverNetwork> {
    const net: DriverNetwork = {
      id: String(++this.#made).padEnd(64, 'c') as NetworkId,
      name: `net${this.#made}`,
      internal: false,
      enableIPv4: v4.length > 0,
      enableIPv6: v6.length > 0,
      options,
      v4: v4.map(poolOf),
      v6: v6.map(poolOf),
      state: null,
    };
    this.drivers[driver].validateNetwork?.(net);
    return { ...net, state: (await this.drivers[driver].createNetwork(ctx, net)).state };
  }

  deleteNetwork(driver: 'macvlan' | 'ipvlan', net: DriverNetwork): Promise<void> {
    return this.drivers[driver].deleteNetwork(ctx, net);
  }

  /** An endpoint in a sandbox of its own, with the default route that its join leads to. */
  async join(driver: 'macvlan' | 'ipvlan', net: DriverNetwork, v4: string, v6?: string, mac?: string): Promise<Box> {
    const id = String(++this.#made).padEnd(64, 'e') as EndpointId;
    const iface = {
      v4: v4 as Prefix,
      ...(v6 !== undefined && { v6: v6 as Prefix }),
      ...(mac !== undefined && { mac: mac as Mac }),
    };
    const request = { id, name: `ep${this.#made}`, iface, linkLocal: [], options: {} };
    const made = await this.drivers[driver].createEndpoint(ctx, net, request);
    const ep: DriverEndpoint = { ...request, iface: made.iface, state: made.state };
    const inside = hostAt(await testHosts(1), 0);
    const place: JoinPlace = { sandbox: String(this.#made).padEnd(64, 's') as SandboxId, netns: inside.host, ifname: 'eth0' };
    const result = await this.drivers[driver].join(ctx, net, ep, place);
    for (const [family, gateway, way] of [
      ['-4', result.gateway, result.wayOut?.v4],
      ['-6', result.gateway6, result.wayOut?.v6],
    ] as const) {
      const to = gateway === undefined ? [] : ['via', gateway];
      if (gateway !== undefined || way === 'link')
        await inside.exec('ip', [family, 'route', 'add', 'default', ...to, 'dev', 'eth0']);
    }
    return { ep, place, inside, result };
  }

  async leave(driver: 'macvlan' | 'ipvlan', net: DriverNetwork, { ep, place }: Box): Promise<void> {
    await this.drivers[driver].leave(ctx, net, ep, place);
    await this.drivers[driver].deleteEndpoint(ctx, net, ep);
  }

  /** Problem of a restore, if any. */
  async restore(driver: 'macvlan' | 'ipvlan', net: DriverNetwork, boxes: readonly Box[] = []): Promise<string | undefined> {
    const [report] = (await this.drivers[driver].restorer?.restore(ctx, [wishOf(net, boxes)])) ?? [];
    return report?.problem;
  }

  /** Whether a look finds something wrong. */
  async isWrong(driver: 'macvlan' | 'ipvlan', net: DriverNetwork, boxes: readonly Box[] = []): Promise<boolean> {
    return ((await this.drivers[driver].restorer?.observe([wishOf(net, boxes)])) ?? []).length > 0;
  }

  /** Names and kinds of links on the host besides `lan0`, when nothing waits for its deletion. */
  async links(): Promise<string[]> {
    this.#reaper.kick();
    await this.#reaper.idle();
    const links = await this.host.host.rtnl().link.list();
    return links.filter(({ name }) => !['lo', 'lan0'].includes(name)).map(({ name, kind }) => `${name} ${kind}`);
  }
}

const wishOf = (net: DriverNetwork, boxes: readonly Box[]): RestoreNetwork => ({
  net,
  endpoints: boxes.map(({ ep, place }) => ({ ep, place, roles: { v4: false, v6: false }, ports: [] })),
});

/** Code and words of a refusal. */
export async function refusal(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    return `${codeOf(error)}: ${messageOf(error)}`;
  }
  throw new Error('it was not refused');
}
