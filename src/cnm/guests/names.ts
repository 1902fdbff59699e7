/**
 * Names of the cluster in sandboxes of engines, and of engines' sandboxes in the cluster. An engine's own resolver knows its own
 * containers: ours comes before it, and passes on to it what it does not know itself.
 */

import { isDeepStrictEqual } from 'node:util';
import { setTimeout as sleep } from 'node:timers/promises';
import { type EndpointId, type NetworkId, attemptAll, messageOf, parseAddress } from '../../base/index.ts';
import {
  type Netns,
  Turnstile,
  hasResolverRedirect,
  installResolverRedirect,
  removeResolverRedirect,
  restoreResolverRedirect,
} from '../../kernel/index.ts';
import type { SandboxWish } from '../../keeper/index.ts';
import { REPLAYS_AT_ONCE } from '../context.ts';
import { nameRecord } from '../steps/names.ts';
import { resolverTable } from '../steps/resolver.ts';
import type { Hosting } from './context.ts';
import { memberOf, resolverId } from './members.ts';
import type { GuestEndpoint } from './records.ts';
import { sandboxOf, seenAt } from './sandbox.ts';

/** Where engines' resolvers are asked, and the mark of what is asked there: our redirect lets it pass ("pbdn"). */
const ENGINES_RESOLVER = parseAddress('127.0.0.11');
const PASS_MARK = 0x7062_646e;

/** How long a sandbox is waited for after its join, and between two looks, milliseconds; the mender looks after that. */
const SOON_MS = 20_000;
const LOOK_MS = 20;

/** Joined endpoints in networks of the cluster. */
const lodging = ({ state }: Hosting): GuestEndpoint[] =>
  [...state.endpoints.values()].filter((ep) => ep.phase === 'joined' && state.networks.get(ep.network)?.home !== undefined);

/** The engine calls the endpoint so: all hosts are told. One that is not joined is left alone. Repeatable. */
export async function nameGuest(hosting: Hosting, network: NetworkId, id: EndpointId, told: readonly string[]): Promise<void> {
  const { cnm, state } = hosting;
  const names = [...new Set(told.map((name) => name.toLowerCase()))];
  await cnm.locks.run(`endpoint:${id}`, async () => {
    const ep = state.endpoints.get(id);
    const home = state.networks.get(network)?.home;
    const net = home && cnm.state.networkById(home.id);
    if (ep?.network !== network || ep.phase !== 'joined' || net === undefined || isDeepStrictEqual(ep.names, names)) return;
    const named: GuestEndpoint = { ...ep, names };
    await state.commit({ endpoints: [named] });
    try {
      await attemptAll([
        ['tell keeper', () => cnm.keeper.names(id, nameRecord(net, memberOf(net.id, named)))],
        ['tell cluster', () => cnm.shared?.endpoints.rewrite(net, memberOf(net.id, named))],
      ]);
    } catch (error) {
      // Else the next look would take it for told.
      await state.commit({ endpoints: [ep] });
      throw error;
    }
  });
}

/** Start: whoever was killed while an endpoint was named may not have told the keeper. The wish is whole, and harmless twice. */
export async function replayNames(hosting: Hosting): Promise<void> {
  const { cnm, state } = hosting;
  const turns = new Turnstile(REPLAYS_AT_ONCE);
  const tell = async (ep: GuestEndpoint): Promise<void> => {
    const home = state.networks.get(ep.network)?.home;
    const net = home && cnm.state.networkById(home.id);
    if (net === undefined || ep.names === undefined) return;
    try {
      await cnm.keeper.names(ep.id, nameRecord(net, memberOf(net.id, ep)));
    } catch (error) {
      cnm.env.log.error({ endpoint: ep.id, err: error }, 'the keeper did not take a wish');
    }
  };
  await Promise.all(lodging(hosting).map((ep) => turns.pass(() => tell(ep))));
}

/** Serves names in the endpoint's sandbox as soon as that is there. Never throws, and holds nobody up. */
export async function serveSoon(hosting: Hosting, id: EndpointId): Promise<void> {
  const deadline = performance.now() + SOON_MS;
  let problem: string | undefined;
  while (performance.now() < deadline && !hosting.cnm.closing) {
    const ep = hosting.state.endpoints.get(id);
    if (ep?.phase !== 'joined') return;
    const outcome = await tryServe(hosting, id);
    if (outcome === 'served') return;
    // A sandbox that has just come may lack its loopback device for a moment.
    if (outcome !== 'absent') problem = outcome.problem;
    await sleep(LOOK_MS, undefined, { ref: false });
  }
  if (problem !== undefined) warnUnserved(hosting, id, problem);
}

/** Sandboxes whose resolver is not there, or has lost something. */
export async function serveAll(hosting: Hosting): Promise<void> {
  for (const { id } of lodging(hosting)) {
    const outcome = await tryServe(hosting, id);
    if (outcome !== 'served' && outcome !== 'absent') warnUnserved(hosting, id, outcome.problem);
  }
}

const warnUnserved = ({ cnm }: Hosting, endpoint: EndpointId, problem: string): void =>
  cnm.env.log.warn({ endpoint, problem }, 'names are not served in a sandbox of an engine');

type Served = 'served' | 'absent' | { readonly problem: string };

/** `absent`: the sandbox is not there. Never throws. */
async function tryServe(hosting: Hosting, id: EndpointId): Promise<Served> {
  const { cnm, state } = hosting;
  const key = state.endpoints.get(id)?.join?.key;
  try {
    if (key === undefined || seenAt(key).identity === undefined) return 'absent';
    await cnm.locks.run(`endpoint:${id}`, () => cnm.locks.run(`netns:${key}`, () => serve(hosting, id)));
    return 'served';
  } catch (error) {
    return { problem: messageOf(error) };
  }
}

/** The caller holds the locks of the endpoint and of its sandbox. */
async function serve(hosting: Hosting, id: EndpointId): Promise<void> {
  const { cnm, state } = hosting;
  const found = state.endpoints.get(id);
  if (found?.phase !== 'joined' || found.join === undefined) return;
  const join = { ...seenAt(found.join.key), ...found.join };
  using netns = sandboxOf({ ...found, join });
  if (netns === undefined || join.identity === undefined) return;
  const table = resolverTable(cnm.mark.tag);
  const beside = lodging(hosting).filter((ep) => ep.join?.key === join.key);
  const running = beside.find((ep) => ep.join?.resolver !== undefined)?.join?.resolver;
  const isServed = join.resolver !== undefined && hasResolverRedirect(netns, { table, passMark: PASS_MARK });
  if (isServed) return;
  const ports = await cnm.keeper.sandbox(resolverId(join.key), wishFor(hosting, { ...found, join }, beside, running));
  const redirect = { table, ...ports, passMark: PASS_MARK };
  // Before the rules: whoever leaves after a crash in between takes them away.
  await state.commit({ endpoints: [{ ...found, join: { ...join, resolver: ports } }] });
  if (running === undefined) installResolverRedirect(netns, redirect);
  else restoreResolverRedirect(netns, redirect);
}

function wishFor(
  { state }: Hosting,
  { join }: GuestEndpoint,
  beside: readonly GuestEndpoint[],
  ports: { readonly udp: number; readonly tcp: number } = { udp: 0, tcp: 0 },
): SandboxWish {
  const homes = new Map(
    beside.flatMap((ep) => {
      const home = state.networks.get(ep.network)?.home;
      return home === undefined ? [] : [[home.id, home.name] as const];
    }),
  );
  return {
    netns: { path: join?.key ?? '', identity: join?.identity ?? '' },
    view: { networks: [...homes].map(([id, name]) => ({ id, name })), forwardsFromHost: false },
    upstreams: [{ address: ENGINES_RESOLVER, at: 'sandbox', mark: PASS_MARK }],
    ports,
  };
}

/** The endpoint's names go, and with the last endpoint of its sandbox the resolver there. What is gone is fine. */
export async function endNames(hosting: Hosting, ep: GuestEndpoint): Promise<void> {
  const { cnm } = hosting;
  await cnm.keeper.names(ep.id, null);
  const { join } = ep;
  if (join?.resolver === undefined) return;
  await cnm.locks.run(`netns:${join.key}`, async () => {
    const beside = lodging(hosting).filter((other) => other.id !== ep.id && other.join?.key === join.key);
    const running = beside.find((other) => other.join?.resolver !== undefined);
    if (running !== undefined) {
      await cnm.keeper.sandbox(resolverId(join.key), wishFor(hosting, running, beside, join.resolver));
      return;
    }
    using netns: Netns | undefined = sandboxOf(ep);
    if (netns !== undefined) await removeResolverRedirect(netns, resolverTable(cnm.mark.tag));
    await cnm.keeper.sandbox(resolverId(join.key), null);
  });
}
