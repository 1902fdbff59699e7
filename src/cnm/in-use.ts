/** Refusal to remove a network that somebody uses: who that is, whether it is alive, and what ends it. */

import { CnmError, shortId } from '../base/index.ts';
import type { Cnm } from './context.ts';
import { membersOf } from './lodgers.ts';
import type { EndpointRecord, NetworkRecord, SandboxRecord } from './records.ts';

/** Endpoints that the message names. */
const NAMED = 10;

/** Throws network_in_use. */
export function refuseInUse(cnm: Cnm, net: NetworkRecord): void {
  const users = net.configOnly ? cnm.state.allNetworks().filter((n) => n.configFrom === net.name) : [];
  if (users.length > 0) {
    throw new CnmError(
      'network_in_use',
      `configuration network ${JSON.stringify(net.name)} is in use by ${users.map((n) => n.name).join(', ')}`,
    );
  }
  const endpoints = membersOf(cnm, net.id);
  if (endpoints.length === 0) return;
  const some = endpoints.slice(0, NAMED);
  const named = some.map((ep) => `name:${JSON.stringify(ep.name)} id:${JSON.stringify(shortId(ep.id))}`);
  const more = endpoints.length > named.length ? ` and ${endpoints.length - named.length} more` : '';
  throw new CnmError(
    'network_in_use',
    `error while removing network: network ${net.name} has active endpoints (${named.join(', ')}${more}): ${holders(cnm, some)}`,
  );
}

/** In the words of lists, with what to do about each kind. */
function holders(cnm: Cnm, endpoints: readonly EndpointRecord[]): string {
  const sandboxes = new Set<string>();
  const alone: string[] = [];
  const others: string[] = [];
  for (const ep of endpoints) {
    const sandbox = sandboxOf(cnm, ep);
    if (cnm.state.endpointById(ep.id) === undefined) others.push(ep.name);
    else if (sandbox === undefined) alone.push(ep.name);
    else sandboxes.add(`${sandbox.name} (${stateOf(sandbox)})`);
  }
  const said = (one: string, many: string, names: readonly string[], remedy: string): string[] =>
    names.length === 0 ? [] : [`${names.length === 1 ? one : many} ${names.join(', ')}: ${remedy}`];
  return [
    ...said('sandbox', 'sandboxes', [...sandboxes], 'disconnect or remove first'),
    ...said('endpoint in no sandbox', 'endpoints in no sandbox', alone, 'remove first'),
    ...said('endpoint of an engine', 'endpoints of engines', others, 'remove there first'),
  ].join('; ');
}

function sandboxOf(cnm: Cnm, { sandbox, boundTo }: EndpointRecord): SandboxRecord | undefined {
  const id = sandbox ?? boundTo;
  return id === undefined ? undefined : cnm.state.sandboxById(id);
}

function stateOf({ phase, process, exited }: SandboxRecord): string {
  if (phase !== 'ready') return phase;
  if (process !== undefined) return 'running';
  return exited === true ? 'exited' : 'created';
}
