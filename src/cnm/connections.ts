/** Connect and disconnect: an endpoint's whole life in one call each, with what follows on the gateway bridge (spec 02 §3.4). */

import { CnmError, type SandboxId } from '../base/index.ts';
import { type Cnm, contextOf, refuseWhenClosing } from './context.ts';
import { attach, checkConnect, checkModes, deleteEndpoint, detach, refuseTemplate } from './endpoints.ts';
import { joinWithGateway, leaveWithGateway } from './gateway-bridge.ts';
import { isGatewayEndpoint } from './gateway-names.ts';
import type { EndpointRecord } from './records.ts';
import type { EndpointSpec } from './spec.ts';

/** The live connect of the API. */
export async function connect(
  cnm: Cnm,
  term: string,
  sandboxTerm: string,
  spec: EndpointSpec,
  signal?: AbortSignal,
): Promise<EndpointRecord> {
  refuseWhenClosing(cnm);
  await cnm.shared?.catchUp(term);
  const net = cnm.state.network(term);
  const { id } = cnm.state.sandbox(sandboxTerm);
  return cnm.locks.run(`sandbox:${id}`, async () => {
    const sandbox = cnm.state.sandbox(id);
    refuseTemplate(net);
    checkModes(cnm, net, sandbox);
    const asked = checkConnect(cnm, net, sandbox, spec);
    const ctx = contextOf(signal);
    // The records as they are when the gateway bridge has come.
    return joinWithGateway(cnm, id, net, ctx, () => attach(cnm, net, cnm.state.sandbox(id), asked, ctx));
  });
}

const NO_SANDBOX = '' as SandboxId;

/** The live disconnect of the API. Errors: no_network, no_sandbox, not_connected. */
export async function disconnect(cnm: Cnm, term: string, sandboxTerm: string, force: boolean): Promise<EndpointRecord> {
  refuseWhenClosing(cnm);
  const net = cnm.state.network(term);
  // Of a sandbox that is gone; one that is on its way in has a sandbox.
  const ghost = force
    ? cnm.state
        .endpointsOfNetwork(net.id)
        .find(
          (ep) =>
            ep.boundTo && ep.name === sandboxTerm && cnm.state.sandboxById(ep.sandbox ?? ep.boundTo ?? NO_SANDBOX) === undefined,
        )
    : undefined;
  if (ghost !== undefined) {
    await deleteEndpoint(cnm, ghost.id);
    return ghost;
  }
  const { id } = cnm.state.sandbox(sandboxTerm);
  return cnm.locks.run(`sandbox:${id}`, async () => {
    const sandbox = cnm.state.sandbox(id);
    const ep = cnm.state.endpointsOfSandbox(id).find((e) => e.network === net.id && !isGatewayEndpoint(e, net));
    if (ep === undefined) throw new CnmError('not_connected', `container ${sandbox.id} is not connected to network ${net.name}`);
    if (sandbox.mode === 'host')
      throw new CnmError('not_supported_here', 'container cannot be disconnected from host network or connected to host network');
    await leaveWithGateway(cnm, id, ep, () => detach(cnm, ep.id), force);
    return ep;
  });
}
