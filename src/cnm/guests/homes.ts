/**
 * Networks of the cluster that engines' networks stand for. The first engine's create makes one, later ones join it, and with the
 * last of them it goes. One that was made otherwise stays.
 */

import { type EndpointId, type NetworkId, CnmError, codeOf, messageOf, quoted } from '../../base/index.ts';
import { type Ctx, labels } from '../../driver/index.ts';
import type { Hosting } from './context.ts';
import { deleteNetwork, makeNetwork } from '../networks.ts';
import type { NetworkRecord } from '../records.ts';
import type { SharedNetworks } from '../shared/contract.ts';
import type { GuestNetwork, GuestNetworkSpec, GuestPool } from './records.ts';

/** Label of networks of the cluster that an engine's create has made. */
const MADE_LABEL = 'patchbay.made-for-engines';

/** Throws no_cluster. */
export function sharedOf({ cnm }: Hosting): SharedNetworks {
  if (cnm.shared === undefined)
    throw new CnmError('no_cluster', 'networks of several hosts need a daemon in a cluster: start it with --cluster');
  return cnm.shared;
}

/** Networks of the cluster as they are now; one that another host has just made is waited for. */
export async function homeNamed(hosting: Hosting, name: string): Promise<NetworkRecord | undefined> {
  await sharedOf(hosting).catchUp(name);
  return hosting.cnm.state.networks().find((net) => net.shared === true && net.name === name);
}

/** The network of the cluster that a guest stands for. Throws no_network when it was removed. */
export function homeOf({ cnm }: Hosting, { home }: GuestNetwork): NetworkRecord | undefined {
  if (home === undefined) return undefined;
  const net = cnm.state.networkById(home.id);
  if (net?.phase === 'ready') return net;
  throw new CnmError(
    'no_network',
    `network ${home.name} was removed from the cluster: remove the engine's network too, and create it again`,
  );
}

/**
 * Finds the network that an engine's create is for, or makes it with what the engine gives. Errors: no_cluster, bad_option,
 * bad_subnet, and those of a network's making.
 */
export async function enterHome(
  hosting: Hosting,
  asked: GuestNetworkSpec,
  ctx: Ctx,
): Promise<{ readonly net: NetworkRecord; readonly pools: readonly GuestPool[] }> {
  sharedOf(hosting);
  const { pools, network } = poolsFor(hosting, asked);
  const name = nameFor(hosting, asked, pools, network);
  const found = await homeNamed(hosting, name);
  if (found !== undefined) {
    checkSame(found, asked, network);
    return { net: found, pools };
  }
  try {
    const { record } = await makeNetwork(hosting.cnm, specOf(name, network, asked), ctx);
    return { net: record, pools };
  } catch (error) {
    if (codeOf(error) !== 'name_taken') throw error;
    throw new CnmError('name_taken', `${messageOf(error)}: it is joined when this is tried again`, { cause: error });
  }
}

/** The network that an engine's create is for, whether it is there or not. Throws bad_option, bad_subnet. */
export const plannedHome = (hosting: Hosting, asked: GuestNetworkSpec): NetworkId => poolsFor(hosting, asked).network;

/** What the engine has leased for the network, before it said what network that is. */
function poolsFor(
  { state }: Hosting,
  { v4, v6 }: GuestNetworkSpec,
): { readonly pools: readonly GuestPool[]; readonly network: NetworkId } {
  const taken = new Set<string>();
  const pools = [...v4, ...v6].map(({ prefix }) => {
    // The engine's last word is right: of what it asked for before, a create that was cut short is left.
    const found = [...state.pools.values()]
      .toSorted((a, b) => b.created - a.created)
      .find((pool) => pool.home !== undefined && pool.home.guest === undefined && pool.prefix === prefix && !taken.has(pool.id));
    if (found !== undefined) taken.add(found.id);
    return found;
  });
  const network = pools[0]?.home?.network;
  if (network === undefined || pools.includes(undefined))
    throw new CnmError(
      'bad_option',
      'a network of several hosts takes its addresses from the plugin too: give --ipam-driver the name that -d has',
    );
  if (pools.some((pool) => pool?.home?.network !== network))
    throw new CnmError(
      'bad_subnet',
      `the subnets are of different networks of the cluster: name one by --ipam-opt ${labels.clusterNetwork}=NAME`,
    );
  return { pools: pools.filter((pool) => pool !== undefined), network };
}

/** Throws bad_option. */
function nameFor({ cnm }: Hosting, asked: GuestNetworkSpec, pools: readonly GuestPool[], network: NetworkId): string {
  const given = asked.options[labels.clusterNetwork];
  const known = pools.map(({ home }) => home?.name).find(Boolean) ?? cnm.state.networkById(network)?.name;
  if (given && known && given !== known)
    throw new CnmError(
      'bad_option',
      `option ${labels.clusterNetwork} is ${quoted(given)}, and the subnet is of network ${known}`,
    );
  const name = given || known;
  if (name) return name;
  throw new CnmError('bad_option', `say which network of the cluster this is: --ipam-opt ${labels.clusterNetwork}=NAME`);
}

/** Throws bad_subnet, bad_option. */
function checkSame(net: NetworkRecord, asked: GuestNetworkSpec, network: NetworkId): void {
  if (net.id !== network) {
    const subnets = net.pools.map(({ prefix }) => prefix).join(', ');
    throw new CnmError('bad_subnet', `network ${net.name} of the cluster has ${subnets}: leave --subnet out, or try again`);
  }
  if (net.internal !== asked.internal)
    throw new CnmError(
      'bad_option',
      `network ${net.name} of the cluster is ${net.internal ? 'internal: give' : 'not internal: leave out'} --internal`,
    );
  for (const [key, value] of Object.entries(asked.options)) {
    if (key === labels.clusterNetwork || net.options[key] === value) continue;
    const has = net.options[key];
    throw new CnmError(
      'bad_option',
      `network ${net.name} of the cluster was made with ${has === undefined ? `no ${key}` : `${key}=${quoted(has)}`}: leave the option out, or give the same`,
    );
  }
}

function specOf(name: string, id: NetworkId, asked: GuestNetworkSpec): Parameters<typeof makeNetwork>[1] {
  const { [labels.clusterNetwork]: _name, ...options } = asked.options;
  const config = [...asked.v4, ...asked.v6].map(({ prefix, gateway, aux }) => ({
    subnet: prefix,
    ...(gateway && { gateway }),
    aux,
  }));
  return {
    id,
    name,
    driver: 'overlay',
    enableIPv4: asked.v4.length > 0,
    enableIPv6: asked.v6.length > 0,
    internal: asked.internal,
    ipam: { config },
    options,
    labels: { [MADE_LABEL]: 'true' },
  };
}

/** An engine's network stands for it no more. One that engines have made is removed with the last. Throws store_unreachable. */
export async function leaveHome({ cnm }: Hosting, guest: NetworkId, home: NetworkId): Promise<void> {
  await cnm.shared?.endpoints.withdraw({ id: guest as string as EndpointId, network: home });
  if (cnm.state.networkById(home)?.labels[MADE_LABEL] !== 'true') return;
  // Those of hosts that are away count too: they come back to it, with their containers.
  const others = (await cnm.shared?.endpointsOf(home)) ?? [];
  if (others.some(({ id }) => id !== (guest as string))) return;
  try {
    await deleteNetwork(cnm, home);
  } catch (error) {
    if (codeOf(error) !== 'network_in_use' && codeOf(error) !== 'no_network') throw error;
  }
}
