/** Builds the parts from a configuration. The only file that names concrete drivers. */

import { lookup } from 'node:dns/promises';
import { chmodSync, existsSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createBridgeDriver } from '../drivers/bridge/driver.ts';
import { openDhcp } from '../drivers/dhcp/open.ts';
import { createHostDriver } from '../drivers/host/driver.ts';
import { createIpvlanDriver } from '../drivers/ipvlan/driver.ts';
import { createMacvlanDriver } from '../drivers/macvlan/driver.ts';
import { createNullDriver } from '../drivers/null/driver.ts';
import { createOverlayDriver } from '../drivers/overlay/driver.ts';
import { VXLAN_PORT } from '../drivers/overlay/segments.ts';
import { WIREGUARD_PORT } from '../drivers/overlay/wireguard.ts';
import { openPlugins } from '../drivers/remote/plugins.ts';
import { ParentUsers } from '../drivers/shared/parent.ts';
import { type BalancerKind, createBalancer } from './balance/index.ts';
import {
  type Address,
  type Env,
  type EtcdAddress,
  CnmError,
  errnoOf,
  forFlag,
  makeFolder,
  makeOpenFolder,
  messageOf,
  parseAddress,
  quoted,
  refuseOfOthers,
  refuseOwner,
  refuseSame,
} from './base/index.ts';
import { Cluster, createNumbers, givingBackLater } from './cluster/index.ts';
import { type ControllerParts, NetworkController } from './cnm/index.ts';
import { type DriverNetwork, Registry } from './driver/index.ts';
import { openFirewall } from './firewall/index.ts';
import { type IpamDriver, createDefaultIpam, createNullIpam, createSharedIpam, parseAddressPools } from './ipam/index.ts';
import { keeperPaths, openKeeper } from './keeper/index.ts';
import {
  type FileLock,
  type Netns,
  createReaper,
  currentNetns,
  lockFile,
  markOf,
  newInstanceId,
  readSysctl,
  requireIpvs,
  requireKernel,
  sourceAddressTo,
  wireguardKeys,
} from './kernel/index.ts';
import { parseEphemeralRange, parseReservedPorts } from './portmap/index.ts';
import { openEmbeddedStore, openEtcdStore } from './store/index.ts';

export interface ComposeOptions {
  /** Survives a reboot: store and instance id. */
  readonly stateDir: string;
  /** Lives until a reboot: namespace pins, files of sandboxes, the keeper's tables. */
  readonly runDir: string;
  /** Built keeper program, with its worker beside it. */
  readonly keeperEntry: string;
  readonly env: Env;
  readonly firewall?: 'iptables' | 'nftables';
  /** What shares out connections to services. Default: nft. */
  readonly serviceBalancer?: BalancerKind;
  /** `base=…,size=…`. */
  readonly pools?: readonly string[];
  readonly bridge?: ControllerParts['defaultBridge'];
  readonly dns?: readonly Address[];
  /** Where plugins of others are looked for, our own sockets, and the time for an answer; absent: none are used. */
  readonly plugins?: { readonly folders: readonly string[]; readonly own?: string; readonly replyMs?: number };
  /** The cluster whose networks this host shares. */
  readonly cluster?: {
    readonly address: EtcdAddress;
    readonly nodeName: string;
    readonly version: string;
    /** Where other hosts reach this one; absent: the address that packets to the cluster leave from. */
    readonly advertise?: Address;
    readonly leaseSeconds: number;
    /** UDP port of the tunnels of networks that are made here. Default: VXLAN's own. */
    readonly dataPathPort?: number;
  };
  /** Runs when the folders are ours and nothing has been made in the kernel yet; what it throws ends the opening. */
  readonly check?: () => Promise<void>;
}

export interface House extends AsyncDisposable {
  readonly controller: NetworkController;
}

/**
 * Opens a controller on the calling thread's own network namespace. Errors: daemon_running, store_corrupt, store_newer,
 * kernel_lacks, resolver_unavailable. Disposing it leaves every sandbox connected.
 */
export async function openHouse(options: ComposeOptions): Promise<House> {
  const cleanup: (() => Promise<unknown> | unknown)[] = [];
  const close = async (): Promise<void> => {
    for (const step of cleanup.splice(0).toReversed()) await step();
  };
  try {
    // It is refused before anything is made.
    keeperPaths(options.runDir);
    await requireKernel(['veth', 'bridge', 'nf_tables', 'conntrack']);
    if (options.serviceBalancer === 'ipvs') await requireIpvs();
    const lock = await lockFolders(options);
    cleanup.push(() => lock.close());
    await options.check?.();
    const host = currentNetns();
    cleanup.push(() => host[Symbol.dispose]());
    const controller = await NetworkController.open(await parts(options, host, lock, cleanup));
    cleanup.push(() => controller.close());
    return { controller, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** A round costs some milliseconds with hundreds of endpoints. */
const MEND_EVERY_MS = 5000;

/** Of the run directory, for everybody to look into. */
const OPEN_FOLDERS = ['netns', 'sandboxes'] as const;

/** One daemon a state directory and a run directory. Children that change the firewall inherit the state lock. */
async function lockFolders({ stateDir, runDir }: ComposeOptions): Promise<FileLock> {
  forFlag('--state-dir', stateDir, () => makeFolder(stateDir, 0o700));
  refuseForeign(stateDir);
  refuseOwner('--state-dir', stateDir);
  // It may have been there with another mode.
  chmodSync(stateDir, 0o700);
  forFlag('--run-dir', runDir, () => {
    const folders = ['', 'keeper', ...OPEN_FOLDERS].map((folder) => join(runDir, folder));
    for (const folder of folders) refuseOfOthers('--run-dir', folder);
    refuseSame('--run-dir', folders);
    for (const folder of OPEN_FOLDERS) makeOpenFolder(join(runDir, folder));
  });
  const state = await lockFile(join(stateDir, 'lock'));
  try {
    // The folder is ours from now on, whatever becomes of this start.
    instanceId(stateDir);
    const run = await lockFile(join(runDir, 'lock'));
    return {
      fd: state.fd,
      close() {
        run.close();
        state.close();
      },
    };
  } catch (error) {
    state.close();
    throw error;
  }
}

/** What lies in a state directory whose first start was cut off, and in a file system that is new. */
const UNNAMED = ['lock', 'store', 'lost+found'];

/** It is closed to everybody else: a folder of the system must not be. One that is closed already changes for nobody. Throws bad_config. */
function refuseForeign(stateDir: string): void {
  if ((statSync(stateDir).mode & 0o077) === 0) return;
  const names = readdirSync(stateDir);
  const other = names.find((name) => !UNNAMED.includes(name));
  if (other === undefined || names.includes('instance-id')) return;
  throw new CnmError('bad_config', `--state-dir ${stateDir}: ${quoted(other)} is there: use a folder for the daemon alone`);
}

async function parts(
  options: ComposeOptions,
  host: Netns,
  lock: FileLock,
  cleanup: (() => Promise<unknown> | unknown)[],
): Promise<ControllerParts> {
  const { env } = options;
  const instance = instanceId(options.stateDir);
  const mark = markOf(instance);
  const store = await openEmbeddedStore(join(options.stateDir, 'store'), options.runDir);
  cleanup.push(() => store.close());
  const firewall = await openFirewall({ backend: options.firewall ?? 'iptables', host, mark, log: env.log, lockFd: lock.fd });
  cleanup.push(() => firewall.close());
  const reaper = createReaper(host, mark, env.log);
  cleanup.push(() => reaper.close());
  const keeper = await openKeeper({ runDir: options.runDir, entry: options.keeperEntry, log: env.log });
  cleanup.push(() => keeper.close());
  const driverParts = { host, firewall, mark, reaper, env };
  const plugins = await openPlugins({ host, mark, env, store, ...(options.plugins ?? { folders: [] }) });
  cleanup.push(() => plugins.close());
  const keys = options.cluster && wireguardKeys(join(options.stateDir, 'wireguard-key'));
  const cluster = options.cluster && joinCluster(options.cluster, instance, host, env, keys?.publicKey);
  if (cluster !== undefined) {
    cleanup.push(() => cluster.close());
    await cluster.settled();
  }
  const dhcp = await openDhcp({ host, env, store });
  cleanup.push(() => dhcp.close());
  const sharedNumbers =
    cluster &&
    givingBackLater(
      createNumbers(() => cluster.store, 'vni'),
      env.log,
    );
  cleanup.push(() => sharedNumbers?.close());
  const parents = new ParentUsers();
  const pools = options.pools ?? [];
  const tunnels = {
    // Where no other host has the network there is nobody to build a tunnel to.
    vtep: ({ isShared }: DriverNetwork) => (isShared === true ? cluster?.address : undefined),
    dataPathPort: options.cluster?.dataPathPort ?? VXLAN_PORT,
    numbers: createNumbers(store, 'vni'),
    ...(sharedNumbers && { sharedNumbers }),
    ...(keys && { wireguard: { privateKey: keys.privateKey, port: WIREGUARD_PORT } }),
  };
  return {
    store,
    drivers: new Registry(
      'driver',
      [
        createBridgeDriver(driverParts),
        createMacvlanDriver(driverParts, parents),
        createIpvlanDriver(driverParts, parents),
        createOverlayDriver({ ...driverParts, ...tunnels, pinFolder: join(options.runDir, 'netns') }),
        createHostDriver(),
        createNullDriver(),
      ],
      plugins.drivers,
    ),
    ipams: new Registry(
      'IPAM driver',
      [
        createDefaultIpam({ hostId: instance, ...(pools.length > 0 && { pools: parseAddressPools(pools) }) }),
        createNullIpam(),
        ...(cluster ? [sharedIpam(cluster, env)] : []),
        dhcp.ipam,
      ],
      plugins.ipams,
    ),
    keeper,
    firewall,
    balancer: createBalancer(mark, options.serviceBalancer),
    hostPorts: {
      ephemeral: parseEphemeralRange(readSysctl(host, ['net', 'ipv4', 'ip_local_port_range'])),
      reserved: parseReservedPorts(readSysctl(host, ['net', 'ipv4', 'ip_local_reserved_ports'])),
    },
    host,
    mark,
    reaper,
    runDir: options.runDir,
    mendEveryMs: MEND_EVERY_MS,
    env,
    ...(cluster && { cluster }),
    dns: options.dns ?? [],
    defaultBridge: options.bridge ?? { kind: 'auto' },
  };
}

const sharedIpam = (cluster: Cluster, { log }: Env): IpamDriver =>
  createSharedIpam({ store: () => cluster.store, site: () => cluster.store.clusterId, node: cluster.self, log });

function joinCluster(
  wish: NonNullable<ComposeOptions['cluster']>,
  id: string,
  host: Netns,
  env: Env,
  wireguard: string | undefined,
): Cluster {
  const { address, nodeName: name, version, leaseSeconds: ttlSeconds } = wish;
  const advertised = async (): Promise<Address | undefined> => wish.advertise ?? (await towards(address, host));
  const node = { id, name, version, joined: env.now(), ...(wireguard !== undefined && { wireguard }) };
  return new Cluster({ open: () => openEtcdStore(address), node, address: advertised, ttlSeconds, log: env.log });
}

/** The address that packets to a member of the cluster leave from. */
async function towards({ members }: EtcdAddress, host: Netns): Promise<Address | undefined> {
  for (const member of members) {
    const name = /^(?:\[(.+)\]|([^/]+)):\d+$/.exec(member);
    const found = name === null ? undefined : await lookup(name[1] ?? name[2] ?? '').catch(() => undefined);
    const source = found ? sourceAddressTo(host, parseAddress(found.address)) : undefined;
    if (source !== undefined) return source;
  }
  return undefined;
}

/** Made once for a state directory, kept as long as it. Throws store_corrupt. */
function instanceId(stateDir: string): string {
  const path = join(stateDir, 'instance-id');
  let text: string | undefined;
  try {
    text = readFileSync(path, 'utf8').trim();
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw new CnmError('store_corrupt', `${path} cannot be read: ${messageOf(error)}`);
  }
  if (text !== undefined) {
    if (/^[0-9a-f]{32}$/.test(text)) return text;
    throw new CnmError('store_corrupt', `${path} does not hold an instance id: restore it, or move the state directory away`);
  }
  // What the records stand for bears the mark of the id that is lost: with another one it would be nobody's.
  if (existsSync(join(stateDir, 'store', 'CURRENT')))
    throw new CnmError('store_corrupt', `${path} is gone, and the store is there: restore it, or move the store away too`);
  const id = newInstanceId();
  writeFileSync(path, `${id}\n`, { mode: 0o600, flush: true });
  return id;
}
