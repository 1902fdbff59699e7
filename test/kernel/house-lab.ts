/**
 * A controller with all its real parts on a namespace that stands for a host, and a second one as the outside world on a
 * wire. Parts can be wrapped before the controller gets them, and everything that a use case could leave behind is read
 * by `world`.
 */

import { lstatSync, mkdirSync, readFileSync, readdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import type { Patience } from '../../drivers/dhcp/terms.ts';
import { createBridgeDriver } from '../../drivers/bridge/driver.ts';
import { type DhcpHouse, openDhcp } from '../../drivers/dhcp/open.ts';
import { createHostDriver } from '../../drivers/host/driver.ts';
import { createIpvlanDriver } from '../../drivers/ipvlan/driver.ts';
import { createMacvlanDriver } from '../../drivers/macvlan/driver.ts';
import { createNullDriver } from '../../drivers/null/driver.ts';
import { createOverlayDriver } from '../../drivers/overlay/driver.ts';
import { VXLAN_PORT } from '../../drivers/overlay/segments.ts';
import { openPlugins } from '../../drivers/remote/plugins.ts';
import { ParentUsers } from '../../drivers/shared/parent.ts';
import { createBalancer } from '../../src/balance/index.ts';
import { type Address, parseEtcdAddress, silentLogger } from '../../src/base/index.ts';
import { Cluster, createNumbers } from '../../src/cluster/index.ts';
import { type ControllerParts, NetworkController, type SandboxSpec } from '../../src/cnm/index.ts';
import { type DriverParts, type NumberPool, Registry } from '../../src/driver/index.ts';
import { openFirewall } from '../../src/firewall/index.ts';
import { createDefaultIpam, createNullIpam, createSharedIpam } from '../../src/ipam/index.ts';
import type { KeeperLink } from '../../src/keeper/index.ts';
import { createReaper, markOf, newInstanceId, openNetns } from '../../src/kernel/index.ts';
import { MemoryStore, type Store, openEtcdStore } from '../../src/store/index.ts';
import { serve } from './firewall-lab.ts';
import { Lab as KeeperLab, afterTest } from './keeper-lab.ts';
import { lookAt } from './kernel-look.ts';
import { MEMORY, type TestHost, hostAt, testFolder, testHosts } from './support.ts';

/** Addresses on the wire between host and outside (RFC 5737, RFC 3849). */
export const WIRE = { host: '198.51.100.1', outside: '198.51.100.2', host6: '2001:db8:100::1', outside6: '2001:db8:100::2' };

/** Time for an answer of a foreign plugin, milliseconds. */
const PLUGIN_MS = 1500;

/** The low parts, from which drivers and the controller are built at every start. */
type Foundation = DriverParts & { readonly keeper: KeeperLink; readonly numbers: NumberPool };

export interface HouseOptions {
  /** Replaces what drivers and controller are built on. */
  readonly foundation?: (parts: Foundation) => Foundation;
  /** Replaces what the controller is opened with. */
  readonly parts?: (parts: ControllerParts) => ControllerParts;
  readonly defaultBridge?: ControllerParts['defaultBridge'];
  /** Replaces what records and leases are kept in. */
  readonly store?: (store: Store) => Store;
  /** Address of the cluster that this host is in, as `--cluster` takes it. */
  readonly cluster?: string;
  /** How long a DHCP server is given. */
  readonly patience?: Patience;
}

export interface World {
  /** By namespace, then by table. */
  readonly kernel: Record<string, Record<string, readonly string[]>>;
  readonly rules: readonly (readonly string[])[];
  readonly records: readonly unknown[];
  readonly files: Readonly<Record<string, string>>;
  readonly mounts: readonly string[];
  readonly usage: unknown;
  readonly keeper: unknown;
  /** Of the cluster's records, all but who is there and what was removed. */
  readonly cluster: readonly unknown[];
}

export class House {
  readonly host: TestHost;
  readonly outside: TestHost;
  readonly runDir: string;
  readonly store = new MemoryStore();
  readonly #foundation: Omit<Foundation, 'numbers'>;
  /** Where foreign plugins have their sockets. */
  readonly plugins = testFolder();
  controller!: NetworkController;
  #dhcp: DhcpHouse | undefined;
  #cluster: Cluster | undefined;

  private constructor(host: TestHost, outside: TestHost, runDir: string, foundation: Omit<Foundation, 'numbers'>) {
    this.host = host;
    this.outside = outside;
    this.runDir = runDir;
    this.#foundation = foundation;
  }

  static async open(options: HouseOptions = {}): Promise<House> {
    const hosts = await testHosts(2);
    const [host, outside] = [hostAt(hosts, 0), hostAt(hosts, 1)];
    const runDir = join(testFolder(MEMORY), 'run');
    for (const folder of ['netns', 'sandboxes']) mkdirSync(join(runDir, folder), { recursive: true });
    const [keeper] = await Promise.all([new KeeperLab(host, runDir).open(), wire(host, outside)]);
    const env = { log: silentLogger, now: Date.now };
    const mark = markOf(newInstanceId());
    const reaper = createReaper(host.host, mark, env.log);
    afterTest(() => reaper.close());
    const firewall = await openFirewall({ backend: 'iptables', host: host.host, mark, log: env.log });
    afterTest(() => firewall.close());
    const house = new House(host, outside, runDir, { host: host.host, firewall, mark, reaper, env, keeper });
    await house.start(options);
    afterTest(() => house.#close());
    return house;
  }

  /** Opens a controller on what is in store and kernel: drivers, leases and state begin anew, as in a new process. */
  async start(options: HouseOptions = {}): Promise<void> {
    await this.#cluster?.close();
    const cluster = options.cluster === undefined ? undefined : joinCluster(options.cluster);
    this.#cluster = cluster;
    await cluster?.settled();
    const pool = cluster === undefined ? this.store : (): Store => cluster.store;
    const foundation = { ...this.#foundation, numbers: createNumbers(pool, 'vni') };
    const base = options.foundation?.(foundation) ?? foundation;
    const { host, mark, env } = base;
    const store = options.store?.(this.store) ?? this.store;
    const foreign = { host, mark, env, store: this.store, folders: [this.plugins], replyMs: PLUGIN_MS };
    const plugins = await openPlugins(foreign);
    afterTest(() => plugins.close());
    await this.#dhcp?.close();
    const dhcp = await openDhcp({ host, env, store, ...(options.patience && { patience: options.patience }) });
    this.#dhcp = dhcp;
    afterTest(() => dhcp.close());
    const parents = new ParentUsers();
    const tunnels = { vtep: () => WIRE.host as Address, dataPathPort: VXLAN_PORT };
    const parts: ControllerParts = {
      ...base,
      store,
      balancer: createBalancer(mark),
      drivers: new Registry(
        'driver',
        [
          createBridgeDriver(base),
          createMacvlanDriver(base, parents),
          createIpvlanDriver(base, parents),
          createOverlayDriver({ ...base, ...tunnels, pinFolder: join(this.runDir, 'netns') }),
          createHostDriver(),
          createNullDriver(),
        ],
        plugins.drivers,
      ),
      ipams: new Registry(
        'IPAM driver',
        [createDefaultIpam({ hostId: 'house' }), dhcp.ipam, createNullIpam(), ...(cluster ? [sharedIpam(cluster)] : [])],
        plugins.ipams,
      ),
      ...(cluster && { cluster }),
      hostPorts: { ephemeral: { from: 40_000, to: 40_999 }, reserved: new Set() },
      runDir: this.runDir,
      mendEveryMs: 0,
      dns: [WIRE.outside as Address],
      defaultBridge: options.defaultBridge ?? { kind: 'none' },
    };
    this.controller = await NetworkController.open(options.parts?.(parts) ?? parts);
  }

  /** The same on the true parts: afterwards nothing of ours may be left that has a pin or a process. */
  async #close(): Promise<void> {
    await this.start().catch(() => {});
    for (const { network, id } of this.controller.guests.endpoints())
      await this.controller.guests.deleteEndpoint(network, id).catch(() => {});
    for (const sandbox of this.controller.sandboxes()) await sandbox.delete(true).catch(() => {});
    await this.controller.close();
    await this.#cluster?.close();
  }

  /** A network; answers its id. */
  async network(name: string, spec: Omit<Parameters<NetworkController['createNetwork']>[0], 'name'> = {}): Promise<string> {
    return (await this.controller.createNetwork({ name, ...spec })).network.id;
  }

  /** A sandbox that answers on TCP port 80 with its name and the peer's address. */
  async sandbox(name: string, networks: SandboxSpec['networks'] = [], rest: Partial<SandboxSpec> = {}): Promise<TestHost> {
    await this.controller.createSandbox({ name, networks, ...rest });
    const place = this.inside(name);
    serve(place, name, 80);
    return place;
  }

  /** The namespace of a sandbox; closed after the test. */
  inside(name: string): TestHost {
    const { key } = this.controller.sandbox(name).record;
    const netns = openNetns(key);
    afterTest(() => netns[Symbol.dispose]());
    const exec: TestHost['exec'] = (command, args, options) =>
      this.host.exec('nsenter', [`--net=${key}`, command, ...args], options);
    return { host: netns, path: key, exec };
  }

  /** Address of a sandbox on a network, without its length. */
  address(sandbox: string, network: string, family: 4 | 6 = 4): string {
    const id = this.controller.network(network).id;
    const ep = this.controller
      .sandbox(sandbox)
      .endpoints()
      .find((e) => e.record.network === id)?.record;
    const prefix = family === 4 ? ep?.v4 : ep?.v6;
    if (prefix === undefined) throw new Error(`${sandbox} has no IPv${family} address on ${network}`);
    return prefix.replace(/\/.*/, '');
  }

  /** Everything that a use case could leave behind, in a form that compares; needs no controller. */
  async world(): Promise<World> {
    await this.#foundation.reaper.idle();
    const pins = readdirSync(join(this.runDir, 'netns')).map((name) => join(this.runDir, 'netns', name));
    const { places: kernel, rules } = await lookAt(this.host, pins);
    const records = (await this.store.list('')).entries.map(({ key, value }): [string, unknown] => [key, value]);
    kernel['host'] = withoutLearned(kernel['host'] ?? {}, JSON.stringify(records));
    const inventory = await this.#foundation.keeper.inventory();
    return {
      kernel,
      rules,
      records,
      files: treeOf(this.runDir),
      mounts: readFileSync('/proc/self/mountinfo', 'utf8')
        .split('\n')
        .flatMap((line) => line.split(' ')[4] ?? [])
        .filter((path) => path.startsWith(`${this.runDir}/`))
        .sort(),
      usage: await this.#usage(),
      keeper: {
        sandboxes: [...inventory.sandboxes].sort(),
        endpoints: [...inventory.endpoints].sort(),
        peers: [...inventory.peers].sort(),
        holds: inventory.holds.map((h) => `${h.owner} ${h.protocol} ${h.addresses.join()} ${h.port}`).sort(),
      },
      cluster:
        (await this.#cluster?.store.list(''))?.entries.flatMap(({ key, value }) =>
          /^(node|network-gone|service-gone)\//.test(key) ? [] : [[key, value]],
        ) ?? [],
    };
  }

  async #usage(): Promise<unknown> {
    const all: Record<string, string[]> = {};
    for (const net of this.controller.networks())
      all[net.name] = (await this.controller.usage(net.id)).map((u) => `${u.prefix} ${u.inUse} ${u.available}`);
    return all;
  }
}

/** What is there by count, for things that are made again: those have other ids and other ports. */
export function summary(world: World): unknown {
  return {
    // Their order is that of ids, which are made by chance.
    places: Object.values(world.kernel)
      .map((tables) => Object.entries(tables).map(([name, lines]) => `${name} ${lines.length}`))
      .toSorted((a, b) => a.join().localeCompare(b.join())),
    rules: world.rules.map((lines) => lines.length),
    records: world.records.length,
    files: Object.keys(world.files).length,
    mounts: world.mounts.length,
    usage: world.usage,
  };
}

async function wire(host: TestHost, outside: TestHost): Promise<void> {
  const quick = 'sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0';
  await Promise.all([host, outside].map((one) => one.exec('sh', ['-ec', quick])));
  await host.exec('ip', ['link', 'add', 'wire0', 'type', 'veth', 'peer', 'name', 'wire0', 'netns', outside.path]);
  for (const [one, v4, v6] of [
    [host, WIRE.host, WIRE.host6],
    [outside, WIRE.outside, WIRE.outside6],
  ] as const) {
    await one.exec('sh', ['-ec', `ip addr add ${v4}/24 dev wire0; ip addr add ${v6}/64 dev wire0 nodad; ip link set wire0 up`]);
  }
  // As on a machine that has had a network before: forwarding stays on, and with it addresses that the kernel adds.
  await host.exec('sysctl', ['-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1']);
  await host.exec('sh', ['-ec', `ip route add default via ${WIRE.outside}; ip -6 route add default via ${WIRE.outside6}`]);
}

/** The host learns who is there with the first packet; entries of somebody who is not are left over. */
const withoutLearned = (tables: Record<string, readonly string[]>, records: string): Record<string, readonly string[]> => ({
  ...tables,
  neighbours: (tables['neighbours'] ?? []).filter((line) => {
    const mac = / lladdr (\S+)/.exec(line)?.[1];
    return mac === undefined || !records.includes(`"${mac}"`);
  }),
});

/** Path → content of what is in the run directory; the keeper's own socket and log are no one's leftovers. */
function treeOf(folder: string): Record<string, string> {
  const tree: Record<string, string> = {};
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isSocket() || /^(log|lock)$/.test(entry.name)) continue;
    const isPin = path.includes('/netns/');
    tree[relative(folder, path)] =
      entry.isFile() && !isPin ? (lstatSync(path).size < 65_536 ? withoutRevision(readFileSync(path, 'utf8')) : 'large') : '';
  }
  return tree;
}

/** The keeper's files carry a revision that grows with every wish. */
const withoutRevision = (text: string): string => text.replace(/"revision":"[^"]*"/, '"revision":""');

/** A host of its own for each start would not have what it had before. */
function joinCluster(address: string): Cluster {
  const node = { id: 'house', name: 'house', version: '0', joined: 0 };
  return new Cluster({
    open: () => openEtcdStore(parseEtcdAddress(address)),
    node,
    address: async () => WIRE.host as Address,
    ttlSeconds: 60,
    log: silentLogger,
  });
}

const sharedIpam = (cluster: Cluster) =>
  createSharedIpam({ store: () => cluster.store, site: () => 'site', node: cluster.self, log: silentLogger });
