/** What a start and a later mending share: the wish of a network, the report on it, a sandbox's own parts. */

import { renameSync } from 'node:fs';
import { codeOf } from '../base/index.ts';
import type { RestoreNetwork, RestoreReport } from '../driver/index.ts';
import { type Netns, openNetns, pinNetns, removeNetnsPin } from '../kernel/index.ts';
import { electAmong } from './attachment.ts';
import { type Cnm, driverEndpoint, driverNetwork } from './context.ts';
import { restoreMoved } from './moved.ts';
import type { EndpointRecord, NetworkRecord, SandboxRecord } from './records.ts';
import { restoreFiles } from './steps/files.ts';
import { restoreRoutes } from './steps/gateway.ts';
import { restoreLoopback } from './steps/loopback.ts';
import { rolesOf } from './steps/ports.ts';
import { restoreRedirect } from './steps/resolver.ts';

/** Open namespaces by the id of their sandbox. */
export type Living = ReadonlyMap<string, Netns>;

/** A pin that was taken away is laid again, while the sandbox's process or the path it was given by still leads to the namespace. */
export function repin(cnm: Cnm, sandbox: SandboxRecord): Netns | undefined {
  const paths = [
    ...(sandbox.process ? [`/proc/${sandbox.process.pid}/ns/net`] : []),
    ...(sandbox.adopted ? [sandbox.adopted] : []),
  ];
  for (const path of paths) {
    try {
      using found = openNetns(path);
      if (found.identity !== sandbox.identity) continue;
      clearPlace(sandbox.key);
      const netns = pinNetns(found, sandbox.key);
      cnm.env.log.warn({ sandbox: sandbox.id, name: sandbox.name, path }, 'the pin of a sandbox was gone: it is laid again');
      return netns;
    } catch (error) {
      cnm.env.log.debug({ sandbox: sandbox.id, path, err: error }, 'the namespace of a sandbox is not there');
    }
  }
  return undefined;
}

/** What is no pin is somebody else's, and is kept beside the place where the pin has to be. */
function clearPlace(pin: string): void {
  try {
    removeNetnsPin(pin);
  } catch (error) {
    if (codeOf(error) !== 'bad_netns') throw error;
    renameSync(pin, `${pin}.aside`);
  }
}

/** `alive` leaves out endpoints whose sandbox has no namespace; without it every joined endpoint is wished, without its place. */
export function wishOf(cnm: Cnm, net: NetworkRecord, alive?: Living): RestoreNetwork {
  const endpoints = cnm.state.endpointsOfNetwork(net.id).flatMap((ep) => {
    const sandbox = ep.sandbox === undefined ? undefined : cnm.state.sandboxById(ep.sandbox);
    const netns = sandbox === undefined ? undefined : alive?.get(sandbox.id);
    if (ep.phase !== 'joined' || sandbox === undefined || ep.join === undefined) return [];
    if (alive !== undefined && netns === undefined) return [];
    return [
      {
        ep: driverEndpoint(ep),
        roles: rolesOf(electAmong(cnm, joinedOf(cnm, sandbox)), ep.id),
        ports: sandbox.held,
        ...(netns && { place: { sandbox: sandbox.id, netns, ifname: ep.join.ifname } }),
      },
    ];
  });
  return { net: driverNetwork(net), endpoints: [...endpoints, ...(cnm.lodgers?.wished(net.id) ?? [])] };
}

export const joinedOf = (cnm: Cnm, sandbox: SandboxRecord): EndpointRecord[] =>
  cnm.state.endpointsOfSandbox(sandbox.id).filter((ep) => ep.phase === 'joined');

/** What living sandboxes have of ours besides links: files, loopback, redirect and routes. */
export async function restoreSandboxes(cnm: Cnm, alive: Living): Promise<void> {
  for (const sandbox of cnm.state.sandboxes()) {
    const netns = alive.get(sandbox.id);
    if (netns === undefined) continue;
    const endpoints = joinedOf(cnm, sandbox);
    const steps: readonly (readonly [string, () => Promise<void> | void])[] = [
      ['files', () => restoreFiles(cnm, sandbox, endpoints)],
      ...(sandbox.mode === 'own'
        ? ([
            ['loopback', () => restoreLoopback(sandbox, netns)],
            ['redirect', () => restoreRedirect(cnm, sandbox, netns)],
            [
              'links',
              async () => {
                for (const ep of endpoints) await restoreMoved(sandbox.id, netns, ep);
              },
            ],
            ['routes', () => restoreRoutes(cnm, netns, endpoints)],
          ] as const)
        : []),
    ];
    for (const [what, step] of steps) {
      try {
        await step();
      } catch (error) {
        cnm.env.log.error({ sandbox: sandbox.id, name: sandbox.name, err: error }, `${what} of a sandbox cannot be restored`);
      }
    }
  }
}

export async function storeReports(
  cnm: Cnm,
  reports: readonly RestoreReport[],
  problems: ReadonlyMap<string, string>,
): Promise<void> {
  const byId = new Map(reports.map((report) => [report.id, report]));
  const changed = cnm.state.allNetworks().flatMap((net) => {
    if (!problems.has(net.id) && !byId.has(net.id)) return [];
    const problem = problems.get(net.id) ?? byId.get(net.id)?.problem;
    const state = byId.get(net.id)?.state;
    const { degraded, ...rest } = net;
    if (problem === degraded && (state === undefined || state === net.driverState)) return [];
    // A try that fails for the same reason is no news.
    if (problem !== undefined && problem !== degraded)
      cnm.env.log.error({ network: net.id, name: net.name, problem }, 'a network is degraded');
    return [{ ...rest, ...(state !== undefined && { driverState: state }), ...(problem !== undefined && { degraded: problem }) }];
  });
  if (changed.length > 0) await cnm.state.commit({ networks: changed });
}
