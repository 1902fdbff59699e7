/**
 * Hosts on one underlay, each with an overlay driver of its own, and sandboxes on them. The tests are the cluster: they tell
 * each host of the others' endpoints.
 */

import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { createOverlayDriver } from '../../drivers/overlay/driver.ts';
import { VXLAN_PORT } from '../../drivers/overlay/segments.ts';
import { WIREGUARD_PORT } from '../../drivers/overlay/wireguard.ts';
import {
  type Address,
  type EndpointId,
  type IpFamily,
  type Mac,
  type Prefix,
  type SandboxId,
  newEndpointId,
  newNetworkId,
  prefixAddress,
  silentLogger,
} from '../../src/base/index.ts';
import { createNumbers } from '../../src/cluster/index.ts';
import type {
  ClusterFacet,
  Ctx,
  Driver,
  DriverEndpoint,
  DriverNetwork,
  JoinPlace,
  Peer,
  RestoreNetwork,
} from '../../src/driver/index.ts';
import {
  type WireguardKeys,
  createReaper,
  markOf,
  newInstanceId,
  removeNetnsPin,
  wireguardKeys,
} from '../../src/kernel/index.ts';
import { MemoryStore } from '../../src/store/index.ts';
import { afterTest, eventually } from './keeper-lab.ts';
import { type TestHost, hostAt, testFolder, testHosts } from './support.ts';

export const ctx: Ctx = { signal: new AbortController().signal };

/** Addresses of hosts on the underlay (RFC 5737, RFC 3849). */
export const underlay = (host: number, family: IpFamily): Address =>
  (family === 4 ? `192.0.2.${host + 1}` : `2001:db8:7::${host + 1}`) as Address;

/** An endpoint in a sandbox of its own. */
export interface Guest {
  readonly host: OverlayHost;
  readonly net: DriverNetwork;
  readonly ep: DriverEndpoint;
  readonly place: JoinPlace;
  readonly routes: readonly { readonly destination: Prefix; readonly nextHop?: Address }[];
  readonly exec: TestHost['exec'];
  readonly box: TestHost;
  /** As other hosts are told of it. */
  readonly peer: Peer;
}

export interface GuestSpec {
  readonly v4?: string;
  readonly v6?: string;
  readonly mac?: string;
  readonly id?: EndpointId;
}

export class OverlayHost {
  readonly #index: number;
  readonly at: TestHost;
  readonly pins: string;
  driver!: Driver;
  readonly keys: WireguardKeys;
  vtep: Address | undefined;
  /** Joined, in their order. */
  readonly guests: Guest[] = [];
  readonly #parts: Omit<Parameters<typeof createOverlayDriver>[0], 'vtep'>;

  constructor(index: number, at: TestHost, numbers: ReturnType<typeof createNumbers>, vtep: Address, port: number) {
    this.#index = index;
    this.at = at;
    this.vtep = vtep;
    this.pins = join(testFolder(), 'netns');
    mkdirSync(this.pins);
    const mark = markOf(newInstanceId());
    const reaper = createReaper(at.host, mark, silentLogger);
    const env = { log: silentLogger, now: Date.now };
    this.keys = wireguardKeys(join(testFolder(), 'wireguard-key'));
    const wireguard = { privateKey: this.keys.privateKey, port: WIREGUARD_PORT };
    this.#parts = { host: at.host, mark, reaper, env, pinFolder: this.pins, dataPathPort: port, numbers, wireguard };
    afterTest(async () => {
      await reaper.close();
      for (const name of readdirSync(this.pins)) removeNetnsPin(join(this.pins, name));
    });
    this.restart();
  }

  /** A driver that knows nothing, as in a new process. */
  restart(): void {
    this.driver = createOverlayDriver({ ...this.#parts, vtep: () => this.vtep });
  }

  get cluster(): ClusterFacet {
    if (this.driver.cluster === undefined) throw new Error('the driver has no cluster facet');
    return this.driver.cluster;
  }

  /** Pins of networks' namespaces. */
  spaces(): string[] {
    return readdirSync(this.pins);
  }

  /** Runs a command in a network's namespace. */
  async inside(net: DriverNetwork, command: string): Promise<string> {
    const path = join(this.pins, `overlay-${net.id.slice(0, 12)}`);
    return (await this.at.exec('nsenter', [`--net=${path}`, 'sh', '-ec', command])).stdout;
  }

  /** Makes an endpoint and joins it to a sandbox of its own. */
  async guest(net: DriverNetwork, { v4, v6, mac, id = newEndpointId() }: GuestSpec): Promise<Guest> {
    const iface = { ...(v4 && { v4: v4 as Prefix }), ...(v6 && { v6: v6 as Prefix }), ...(mac && { mac: mac as Mac }) };
    const request = { id, name: `guest-${v4 ?? v6}`, iface, linkLocal: [], options: {} };
    const made = await this.driver.createEndpoint(ctx, net, request);
    const ep: DriverEndpoint = { ...request, iface: made.iface, state: made.state };
    const box = hostAt(await testHosts(1), 0);
    const place: JoinPlace = { sandbox: id as string as SandboxId, netns: box.host, ifname: 'eth0' };
    const { routes } = await this.driver.join(ctx, net, ep, place);
    for (const { destination, nextHop } of routes)
      await box.exec('ip', ['route', 'add', destination, ...(nextHop === undefined ? [] : ['via', nextHop])]);
    const peer = { endpoint: id, ...made.iface, mac: made.iface.mac as Mac, vtep: this.vtep ?? underlay(this.#index, 4) };
    const guest: Guest = { host: this, net, ep, place, routes, exec: box.exec, box, peer };
    this.guests.push(guest);
    return guest;
  }

  async leave(guest: Guest): Promise<void> {
    await this.driver.leave(ctx, guest.net, guest.ep, guest.place);
    this.guests.splice(this.guests.indexOf(guest), 1);
  }

  /** What a controller would wish of the network. */
  wish(net: DriverNetwork): RestoreNetwork {
    const endpoints = this.guests
      .filter((guest) => guest.net.id === net.id)
      .map(({ ep, place }) => ({ ep, place, roles: { v4: false, v6: false }, ports: [] }));
    return { net, endpoints };
  }

  async restore(net: DriverNetwork): Promise<string | undefined> {
    const [report] = (await this.driver.restorer?.restore(ctx, [this.wish(net)])) ?? [];
    if (report === undefined) throw new Error('no report');
    return report.problem;
  }

  async observe(net: DriverNetwork): Promise<number> {
    return (await this.driver.restorer?.observe([this.wish(net)]))?.length ?? -1;
  }
}

export interface OverlayLabOptions {
  readonly hosts?: number;
  /** Of the underlay. */
  readonly family?: IpFamily;
  /** Of the underlay, octets. */
  readonly mtu?: number;
  readonly port?: number;
}

export interface NetworkSpec {
  readonly v4?: readonly string[];
  readonly v6?: readonly string[];
  readonly options?: Readonly<Record<string, string>>;
}

export class OverlayLab {
  readonly wire: TestHost;
  readonly hosts: readonly OverlayHost[];

  private constructor(wire: TestHost, hosts: readonly OverlayHost[]) {
    this.wire = wire;
    this.hosts = hosts;
  }

  static async open({
    hosts: count = 2,
    family = 4,
    mtu = 1500,
    port = VXLAN_PORT,
  }: OverlayLabOptions = {}): Promise<OverlayLab> {
    const [wire, ...places] = await testHosts(count + 1);
    if (wire === undefined) throw new Error('no wire');
    // A wire that says nothing by itself.
    await wire.exec('sh', [
      '-ec',
      'sysctl -qw net.ipv6.conf.default.disable_ipv6=1; ip link add wire0 type bridge mcast_snooping 0; ip link set wire0 up',
    ]);
    const numbers = createNumbers(new MemoryStore(), 'vni');
    const hosts: OverlayHost[] = [];
    for (const [i, at] of places.entries()) {
      await at.exec('sh', [
        '-ec',
        `sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.router_solicitations=0
         ip link add u0 mtu ${mtu} type veth peer name h${i} mtu ${mtu} netns ${wire.path}
         ip addr add ${underlay(i, 4)}/24 dev u0; ip addr add ${underlay(i, 6)}/64 dev u0 nodad; ip link set u0 up`,
      ]);
      await wire.exec('ip', ['link', 'set', `h${i}`, 'master', 'wire0', 'up']);
      hosts.push(new OverlayHost(i, at, numbers, underlay(i, family), port));
    }
    // The wire's ports forward a moment after they are up.
    for (const { at } of hosts) {
      for (const i of hosts.keys())
        await eventually(async () => ((await pings(at, underlay(i, family))) ? true : undefined), `host ${i} answers`);
    }
    return new OverlayLab(wire, hosts);
  }

  host(index: number): OverlayHost {
    const host = this.hosts[index];
    if (host === undefined) throw new Error(`no host ${index}`);
    return host;
  }

  /** A network, made by the first host; the others would read its record. */
  async network({ v4 = ['10.20.0.0/24'], v6 = [], options = {} }: NetworkSpec = {}): Promise<DriverNetwork> {
    const pool = (prefix: string) => ({ prefix: prefix as Prefix, gateway: gatewayOf(prefix), aux: {} });
    const net: DriverNetwork = {
      id: newNetworkId(),
      name: 'over',
      internal: false,
      enableIPv4: v4.length > 0,
      enableIPv6: v6.length > 0,
      options,
      v4: v4.map(pool),
      v6: v6.map(pool),
      state: null,
    };
    const { state } = await this.host(0).driver.createNetwork(ctx, net);
    return { ...net, state };
  }

  /** Tells each host of all endpoints on the others. */
  async tell(net: DriverNetwork, complete = true): Promise<void> {
    for (const host of this.hosts) await host.cluster.setPeers(ctx, net, this.peersOf(net, host), complete);
  }

  peersOf(net: DriverNetwork, host: OverlayHost): Peer[] {
    return this.hosts.flatMap((other) =>
      other === host ? [] : other.guests.filter((guest) => guest.net.id === net.id).map(({ peer }) => peer),
    );
  }

  capture(filter = ''): Promise<Capture> {
    return Capture.start(this.wire, this.host(0).at, filter);
  }
}

const gatewayOf = (prefix: string): Address => {
  const base = prefix.slice(0, prefix.indexOf('/'));
  return (base.includes(':') ? `${base}1` : base.replace(/\d+$/, '1')) as Address;
};

/** Port of the packet that ends a capture. */
const MARKER = 47;

/** All frames on the underlay from now on, as text. */
export class Capture {
  readonly #from: TestHost;
  readonly #child: ReturnType<TestHost['exec']>;
  #text = '';

  private constructor(wire: TestHost, from: TestHost, filter: string) {
    this.#from = from;
    this.#child = wire.exec(
      'tcpdump',
      ['-nnlv', '--immediate-mode', '-i', 'wire0', ...filter.split(' ').filter((word) => word !== '')],
      {
        reject: false,
      },
    );
    this.#child.stdout?.on('data', (data: Buffer) => (this.#text += data.toString()));
  }

  static async start(wire: TestHost, from: TestHost, filter: string): Promise<Capture> {
    const capture = new Capture(wire, from, filter === '' ? '' : `(${filter}) or udp port ${MARKER}`);
    let said = '';
    capture.#child.stderr?.on('data', (data: Buffer) => (said += data.toString()));
    await eventually(() => (said.includes('listening on') ? true : undefined), `tcpdump listens: ${said}`);
    return capture;
  }

  /** What was there so far. */
  get seen(): string {
    return this.#text;
  }

  /** What was there, without the packet by which the end is known. */
  async end(): Promise<string> {
    const marker = ` > 192.0.2.250.${MARKER}:`;
    // A neighbour that is known, so that nothing is asked for it.
    await this.#from.exec('bash', [
      '-ec',
      `ip neigh replace 192.0.2.250 lladdr 02:00:00:00:00:fa dev u0 nud permanent; echo > /dev/udp/192.0.2.250/${MARKER}`,
    ]);
    await eventually(() => (this.#text.includes(marker) ? true : undefined), 'the marker is on the wire');
    this.#child.kill('SIGTERM');
    await this.#child;
    const lines = this.#text.split('\n');
    return lines.slice(0, lines.findIndex((line) => line.includes(marker)) - 1).join('\n');
  }
}

type From = { readonly exec: TestHost['exec'] };

async function ping(from: From, to: string, size: number, seconds: number): Promise<boolean> {
  const args = ['-c', '1', '-W', String(seconds), '-M', 'do', '-s', String(size), to];
  return (await from.exec('ping', args, { reject: false })).exitCode === 0;
}

/** Whether the first packet is answered, however busy the machine is. */
export const pings = (from: From, to: string, size = 56): Promise<boolean> => ping(from, to, size, 8);

/** Whether no answer comes; waits less. */
export const isSilent = async (from: From, to: string, size = 56): Promise<boolean> => !(await ping(from, to, size, 1));

export const addressOf = ({ ep }: Guest, family: IpFamily): string =>
  prefixAddress((family === 4 ? ep.iface.v4 : ep.iface.v6) as Prefix);
