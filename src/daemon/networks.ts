/** `/networks…`: the Engine API's words to the model's and back (spec 02 §3). */

import { connectSchema, disconnectSchema, networkCreateSchema } from '../base/api.ts';
import { CnmError, type EndpointSettingsJson, type NetworkCreateJson, parseWith, quoted } from '../base/index.ts';
import type { EndpointSpec, NetworkSpec } from '../cnm/index.ts';
import type { Answer, DaemonParts, Request, Route } from './route.ts';
import { NETWORK_FILTERS, PRUNE_FILTERS, checkDangling, networkMatches, parseFilters, pruneMatcher } from './filters.ts';
import { NETWORK_SCOPES, NETWORK_VALUES } from './filter-values.ts';
import { networkJson, statusJson } from './inspect.ts';
import { foldCase } from './fold.ts';
import { parseQueryBool } from './query.ts';
import { networkServicesJson } from './services.ts';
import { sharedJson } from './shared.ts';

export function networkRoutes(parts: DaemonParts): Route[] {
  const { controller } = parts;
  return [
    { method: 'GET', path: '/networks', handle: (request) => list(parts, request) },
    { method: 'POST', path: '/networks/create', handle: (request) => create(parts, request) },
    {
      method: 'POST',
      path: '/networks/prune',
      async handle({ query }) {
        const filters = parseFilters(query['filters'], PRUNE_FILTERS);
        const removed = await controller.pruneNetworks(pruneMatcher(filters, parts.now()));
        return { status: 200, json: { NetworksDeleted: removed.length > 0 ? removed : null } };
      },
    },
    {
      method: 'POST',
      path: '/networks/:term/connect',
      async handle({ term, body, signal }) {
        const { Container, EndpointConfig } = parseWith(connectSchema, foldCase(connectSchema, body), 'connect request');
        await controller.connect(term, Container, endpointSpec(EndpointConfig), signal);
        return { status: 200 };
      },
    },
    {
      method: 'POST',
      path: '/networks/:term/disconnect',
      async handle({ term, body }) {
        const { Container, Force } = parseWith(disconnectSchema, foldCase(disconnectSchema, body), 'disconnect request');
        await controller.disconnect(term, Container, Force ?? false);
        return { status: 200 };
      },
    },
    { method: 'GET', path: '/networks/:term', handle: (request) => inspect(parts, request) },
    {
      method: 'DELETE',
      path: '/networks/:term',
      async handle({ term }) {
        await controller.deleteNetwork(term);
        return { status: 204 };
      },
    },
  ];
}

function list({ controller }: DaemonParts, { query }: Request): Answer {
  const filters = parseFilters(query['filters'], NETWORK_FILTERS, NETWORK_VALUES);
  checkDangling(filters);
  const found = controller
    .networks()
    .map((n) => n.record)
    .filter((net) => networkMatches(filters, net, controller));
  return { status: 200, json: found.map((net) => networkJson(controller, net, false)) };
}

async function create({ controller }: DaemonParts, { body, signal, caller }: Request): Promise<Answer> {
  const json = parseWith(networkCreateSchema, foldCase(networkCreateSchema, body), 'network create request');
  const { network, warning } = await controller.createNetwork(networkSpec(json), signal, caller);
  return { status: 201, json: { Id: network.id, Warning: warning } };
}

async function inspect({ controller }: DaemonParts, { term, query }: Request): Promise<Answer> {
  const isVerbose = parseQueryBool('verbose', query['verbose']);
  checkScope(query['scope']);
  await controller.shared?.catchUp(term);
  const net = controller.network(term).record;
  if (query['scope'] && query['scope'] !== net.scope) throw new CnmError('no_network', `network ${term} not found`);
  const [told, services, Status] = await Promise.all([
    sharedJson(controller, net, isVerbose),
    isVerbose ? networkServicesJson(controller, net.id) : {},
    statusJson(controller, net),
  ]);
  const Services = { ...services, ...told.Services };
  const shown = { ...networkJson(controller, net, true), ...told, ...(Object.keys(Services).length > 0 && { Services }) };
  return { status: 200, json: { ...shown, Status } };
}

/** Another word fits no network, whatever there is. */
function checkScope(scope: string | undefined): void {
  if (scope === undefined || scope === '' || NETWORK_SCOPES.some((one) => one === scope)) return;
  throw new CnmError('bad_request', `invalid value for scope: ${quoted(scope)}; use local, global or swarm`);
}

function networkSpec(json: NetworkCreateJson): NetworkSpec {
  const config = (json.IPAM?.Config ?? []).map((c) => {
    const aux = { ...c.AuxAddress, ...c.AuxiliaryAddresses };
    return {
      ...(c.Subnet && { subnet: c.Subnet }),
      ...(c.IPRange && { range: c.IPRange }),
      ...(c.Gateway && { gateway: c.Gateway }),
      ...(Object.keys(aux).length > 0 && { aux }),
    };
  });
  return {
    name: json.Name,
    ...(json.Driver && { driver: json.Driver }),
    ...(json.Scope && { scope: json.Scope }),
    ...(typeof json.EnableIPv4 === 'boolean' && { enableIPv4: json.EnableIPv4 }),
    ...(typeof json.EnableIPv6 === 'boolean' && { enableIPv6: json.EnableIPv6 }),
    internal: json.Internal ?? false,
    attachable: json.Attachable ?? false,
    ingress: json.Ingress ?? false,
    configOnly: json.ConfigOnly ?? false,
    ...(json.ConfigFrom?.Network && { configFrom: json.ConfigFrom.Network }),
    ipam: { ...(json.IPAM?.Driver && { driver: json.IPAM.Driver }), options: json.IPAM?.Options ?? {}, config },
    options: json.Options ?? {},
    labels: json.Labels ?? {},
  };
}

/** One connection's settings in the model's words. */
export function endpointSpec(json: EndpointSettingsJson | null | undefined): EndpointSpec {
  if (json === null || json === undefined) return {};
  if ((json.Links?.length ?? 0) > 0) throw new CnmError('driver_lacks', 'links are not supported: use aliases');
  return {
    ...(json.IPAMConfig?.IPv4Address && { ipv4: json.IPAMConfig.IPv4Address }),
    ...(json.IPAMConfig?.IPv6Address && { ipv6: json.IPAMConfig.IPv6Address }),
    linkLocal: json.IPAMConfig?.LinkLocalIPs ?? [],
    aliases: json.Aliases ?? [],
    options: json.DriverOpts ?? {},
    gwPriority: json.GwPriority ?? 0,
    ...(json.MacAddress && { mac: json.MacAddress }),
  };
}
