/** Published ports follow the gateway role: rules move, held host ports stay (spec 04 §5). */

import type { EndpointId } from '../../base/index.ts';
import { tryAddress } from '../../base/index.ts';
import { type GatewayRoles, labels } from '../../driver/index.ts';
import { type AllocatedPort, type WantedPort, ours } from '../../portmap/index.ts';
import { type Attachment, type JoinStep, electAmong, others } from '../attachment.ts';
import { type Cnm, driverEndpoint, driverNetwork, driverOf } from '../context.ts';
import type { Election } from '../gateway.ts';
import type { EndpointRecord, NetworkRecord, SandboxRecord } from '../records.ts';

const NO_ROLE: GatewayRoles = { v4: false, v6: false };

export const portsStep: JoinStep = {
  label: 'ports',

  async do(a) {
    if (a.sandbox.publish.length === 0) return;
    const before = others(a);
    const after = [...before, a.ep];
    await holdPorts(a, after);
    await moveRoles(a, electAmong(a.cnm, before), electAmong(a.cnm, after), after);
  },

  async undo(a) {
    if (a.sandbox.publish.length === 0) return;
    // What leaves goes first, so that no port leads two ways.
    await program(a, a.ep, NO_ROLE, []);
    const after = others(a);
    await moveRoles(a, electAmong(a.cnm, [...after, a.ep]), electAmong(a.cnm, after), after);
    if (a.heldBefore !== undefined) await releaseTo(a, a.heldBefore);
  },
};

export const rolesOf = (election: Election, id: EndpointId): GatewayRoles => ({ v4: election.v4 === id, v6: election.v6 === id });

/** Who loses a role goes first. The joining endpoint is always told: a routed one has ports without any role. */
async function moveRoles(a: Attachment, before: Election, after: Election, endpoints: readonly EndpointRecord[]): Promise<void> {
  const changed = endpoints.filter(({ id }) => {
    const [was, is] = [rolesOf(before, id), rolesOf(after, id)];
    return id === a.ep.id || was.v4 !== is.v4 || was.v6 !== is.v6;
  });
  const loses = (ep: EndpointRecord): boolean => before.v4 === ep.id || before.v6 === ep.id;
  for (const ep of [...changed.filter(loses), ...changed.filter((e) => !loses(e))])
    await program(a, ep, rolesOf(after, ep.id), a.sandbox.held);
}

async function program(a: Attachment, ep: EndpointRecord, roles: GatewayRoles, ports: readonly AllocatedPort[]): Promise<void> {
  const net = a.cnm.state.networkById(ep.network);
  const external = net === undefined ? undefined : driverOf(a.cnm, net).external;
  if (net === undefined || external === undefined) return;
  const result = await external.programExternalConnectivity(
    a.ctx,
    driverNetwork(net),
    driverEndpoint(ep),
    roles,
    net.internal ? [] : ports,
  );
  const changed: EndpointRecord = { ...ep, bindings: result.bindings, driverState: result.state };
  if (ep.id === a.ep.id) a.ep = changed;
  else a.touched.set(ep.id, changed);
}

/** Takes the host ports, for the families that can be led somewhere now; those held already stay, on the same numbers. */
async function holdPorts(a: Attachment, endpoints: readonly EndpointRecord[]): Promise<void> {
  const winner = electAmong(a.cnm, endpoints);
  const leads = (id: EndpointId | undefined, family: 'v4' | 'v6'): NetworkRecord | undefined => {
    const ep = endpoints.find((e) => e.id === id);
    const net = ep === undefined ? undefined : a.cnm.state.networkById(ep.network);
    return net !== undefined && ep?.[family] !== undefined && !net.internal && driverOf(a.cnm, net).external !== undefined
      ? net
      : undefined;
  };
  const [net4, net6] = [leads(winner.v4, 'v4'), leads(winner.v6, 'v6')];
  const had = a.sandbox.heldFamilies;
  const families = { v4: had.v4 || net4 !== undefined, v6: had.v6 || net6 !== undefined };
  if (families.v4 === had.v4 && families.v6 === had.v6) return;
  const { sandbox } = a;
  const defaultAddress = tryAddress((net4 ?? net6)?.options[labels.hostBinding] ?? '');
  const held = await a.cnm.ports.allocate(
    sandbox.id,
    sameNumbers(sandbox),
    { families, ...(defaultAddress && { defaultAddress }) },
    (groups) => a.cnm.keeper.holds(sandbox.id, groups),
  );
  a.heldBefore = sandbox;
  a.sandbox = { ...sandbox, held, heldFamilies: families };
}

/** A port that was chosen once stays: wanted again as exactly that one. */
function sameNumbers(sandbox: SandboxRecord): WantedPort[] {
  const rest = [...sandbox.held];
  return sandbox.publish.map((want) => {
    const at = rest.findIndex((h) => h.port === want.port && h.hold.protocol === want.protocol);
    const [found] = at < 0 ? [] : rest.splice(at, 1);
    return found === undefined ? want : { ...want, hostPorts: { from: found.hold.port, to: found.hold.port } };
  });
}

async function releaseTo(a: Attachment, before: SandboxRecord): Promise<void> {
  await holdExactly(a.cnm, before);
  a.sandbox = { ...a.sandbox, held: before.held, heldFamilies: before.heldFamilies };
}

async function holdExactly(cnm: Cnm, { id, held }: SandboxRecord): Promise<void> {
  await cnm.keeper.holds(id, ours(held));
  cnm.ports.adopt(id, held);
}

/** Undo of a join that is recorded: the sandbox has the host ports that it had before, and no others. */
export async function holdAsBefore(cnm: Cnm, before: SandboxRecord): Promise<void> {
  const { held, heldFamilies } = before;
  const now = cnm.state.sandboxById(before.id);
  if (now === undefined || (now.heldFamilies.v4 === heldFamilies.v4 && now.heldFamilies.v6 === heldFamilies.v6)) return;
  await holdExactly(cnm, before);
  await cnm.state.commit({ sandboxes: [{ ...now, held, heldFamilies }] });
}
