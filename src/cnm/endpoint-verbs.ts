/** The model's own verbs: an endpoint that exists by itself is created, joins a sandbox, leaves it, joins another, is removed. */

import { CnmError, type Json, shortId, type SandboxId } from '../base/index.ts';
import { type Cnm, contextOf, driverEndpoint, driverNetwork, driverOf, refuseWhenClosing } from './context.ts';
import { checkModes, checkSettings, createEndpoint, endEndpoint, refuseTwice } from './endpoints.ts';
import { joinWithGateway, leaveWithGateway } from './gateway-bridge.ts';
import { joinEndpoint, leaveEndpoint } from './join.ts';
import type { EndpointRecord } from './records.ts';
import { type EndpointSpec, checkEndpointName } from './spec.ts';

/** Creates an endpoint joined to nothing; without a name it is called as its id begins. Errors: no_network, name_taken, not_supported_here, bad_…, address_in_use and its siblings. */
export async function createByItself(
  cnm: Cnm,
  term: string,
  name: string,
  spec: EndpointSpec,
  signal?: AbortSignal,
): Promise<EndpointRecord> {
  refuseWhenClosing(cnm);
  await cnm.shared?.catchUp(term);
  const net = cnm.state.network(term);
  if (name !== '') checkEndpointName(name);
  const asked = checkSettings(net, spec);
  if (driverOf(cnm, net).capabilities.sandbox !== 'own') {
    throw new CnmError('not_supported_here', `network ${net.name} has no endpoints by themselves: create the sandbox in it`);
  }
  return createEndpoint(cnm, net, { endpoint: name }, asked, contextOf(signal));
}

/** Errors: no_endpoint, no_sandbox, already_joined, not_supported_here and the steps' own; nothing is changed then. */
export async function join(cnm: Cnm, term: string, sandboxTerm: string, signal?: AbortSignal): Promise<EndpointRecord> {
  refuseWhenClosing(cnm);
  const found = cnm.state.endpoint(term);
  const { id } = cnm.state.sandbox(sandboxTerm);
  return cnm.locks.run(`sandbox:${id}`, () =>
    cnm.locks.run(`endpoint:${found.id}`, async () => {
      const sandbox = cnm.state.sandbox(id);
      const ep = existing(cnm, found);
      if (ep.boundTo !== undefined) {
        throw new CnmError(
          'already_joined',
          `endpoint ${ep.name} (${shortId(ep.id)}) was made by a connect and stays in its sandbox`,
        );
      }
      if (ep.sandbox !== undefined) {
        throw new CnmError('already_joined', `endpoint ${ep.name} is joined to sandbox ${nameOf(cnm, ep.sandbox)}: leave first`);
      }
      const net = cnm.state.networkById(ep.network);
      if (net === undefined) throw new CnmError('no_network', `network of endpoint ${ep.name} not found`);
      checkModes(cnm, net, sandbox);
      refuseTwice(cnm, net, sandbox);
      const ctx = contextOf(signal);
      return joinWithGateway(cnm, id, net, ctx, () => joinEndpoint(cnm, ep, id, ctx));
    }),
  );
}

/** The endpoint stays, with its addresses. Errors: no_endpoint, not_connected, not_supported_here. May be repeated after a failure. */
export async function leave(cnm: Cnm, term: string): Promise<EndpointRecord> {
  refuseWhenClosing(cnm);
  const found = cnm.state.endpoint(term);
  return withLocks(cnm, found, async (ep) => {
    if (ep.sandbox === undefined) throw new CnmError('not_connected', `endpoint ${ep.name} is not joined to a sandbox`);
    if (ep.boundTo !== undefined)
      throw new CnmError('not_supported_here', `endpoint ${ep.name} was made by a connect: disconnect the sandbox`);
    return leaveWithGateway(cnm, ep.sandbox, ep, () => leaveEndpoint(cnm, ep.id));
  });
}

/** Errors: no_endpoint, endpoint_active for one that is joined, unless `force`. May be repeated after a failure. */
export async function removeEndpoint(cnm: Cnm, term: string, force: boolean): Promise<EndpointRecord> {
  refuseWhenClosing(cnm);
  const found = cnm.state.endpoint(term);
  return withLocks(cnm, found, async (ep) => {
    if (ep.sandbox !== undefined) {
      const sandbox = cnm.state.sandboxById(ep.sandbox);
      if (!force) {
        const where = nameOf(cnm, ep.sandbox);
        throw new CnmError('endpoint_active', `endpoint ${ep.name} is joined to sandbox ${where}: leave first, or force`);
      }
      if (sandbox?.mode === 'host')
        throw new CnmError('not_supported_here', 'the endpoint of a sandbox in the host network goes with the sandbox');
    }
    if (ep.sandbox === undefined) await endEndpoint(cnm, ep.id);
    else await leaveWithGateway(cnm, ep.sandbox, ep, () => endEndpoint(cnm, ep.id), force);
    return ep;
  });
}

/** What the endpoint's driver has to tell of it. */
export async function operInfo(
  cnm: Cnm,
  ep: EndpointRecord,
  signal?: AbortSignal,
): Promise<Readonly<Record<string, Json>> | undefined> {
  const net = cnm.state.networkById(ep.network);
  if (net === undefined || net.configOnly) return undefined;
  return driverOf(cnm, net).operInfo?.(contextOf(signal), driverNetwork(net), driverEndpoint(ep));
}

/** Holds the endpoint, and its sandbox when it has one. */
async function withLocks<T>(cnm: Cnm, found: EndpointRecord, work: (ep: EndpointRecord) => Promise<T>): Promise<T> {
  const home = found.sandbox ?? found.boundTo;
  const locked = (): Promise<T> =>
    cnm.locks.run(`endpoint:${found.id}`, async () => {
      const ep = existing(cnm, found);
      // Another operation came first, and its sandbox is not held here.
      const now = ep.sandbox ?? ep.boundTo;
      if (now !== undefined && now !== home)
        throw new CnmError('endpoint_active', `endpoint ${ep.name} was joined to another sandbox meanwhile: try again`);
      return work(ep);
    });
  return home === undefined ? locked() : cnm.locks.run(`sandbox:${home}`, locked);
}

const nameOf = (cnm: Cnm, id: SandboxId): string => cnm.state.sandboxById(id)?.name ?? shortId(id);

function existing(cnm: Cnm, found: EndpointRecord): EndpointRecord {
  const ep = cnm.state.endpointById(found.id);
  if (ep === undefined) throw new CnmError('no_endpoint', `endpoint ${found.name} not found`);
  return ep;
}
