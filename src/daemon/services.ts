/** `/network-services…`: services of networks and their members. The engine's own `/services` are another thing. */

import { drainSchema, memberSchema, serviceCreateSchema } from '../base/api.ts';
import {
  type NetworkServiceJson,
  type ServiceCreateJson,
  type ServiceJson,
  type ServiceMemberJson,
  NANOS_A_MS,
  codeOf,
  parseWith,
  prefixAddress,
} from '../base/index.ts';
import type { NetworkController, ServiceRecord, ServiceSpec } from '../cnm/index.ts';
import { foldCase } from './fold.ts';
import { isoTime } from './inspect.ts';
import type { Answer, DaemonParts, Request, Route } from './route.ts';

/** Time for connections of a member that goes, milliseconds. */
const DRAIN_MS = 30_000;

export function serviceRoutes(parts: DaemonParts): Route[] {
  const { controller } = parts;
  const { services } = controller;
  return [
    {
      method: 'GET',
      path: '/network-services',
      takes: [],
      handle: async () => ({
        status: 200,
        json: await Promise.all(services.all().map((service) => serviceJson(controller, service))),
      }),
    },
    {
      method: 'POST',
      path: '/network-services/create',
      takes: [],
      async handle({ body, signal, caller }) {
        const json = parseWith(serviceCreateSchema, foldCase(serviceCreateSchema, body), 'service create request');
        const { id } = await services.create(serviceSpec(json), signal, caller);
        return { status: 201, json: { Id: id } };
      },
    },
    {
      method: 'POST',
      path: '/network-services/:term/add',
      takes: [],
      async handle({ term, body }) {
        const { Sandbox } = parseWith(memberSchema, foldCase(memberSchema, body), 'service add request');
        await services.members.add(services.find(term), Sandbox);
        return { status: 204 };
      },
    },
    { method: 'POST', path: '/network-services/:term/drain', takes: [], handle: (request) => drain(parts, request, false) },
    { method: 'POST', path: '/network-services/:term/remove', takes: [], handle: (request) => drain(parts, request, true) },
    {
      method: 'GET',
      path: '/network-services/:term',
      takes: [],
      handle: async ({ term }) => ({ status: 200, json: await serviceJson(controller, services.find(term)) }),
    },
    {
      method: 'DELETE',
      path: '/network-services/:term',
      takes: [],
      async handle({ term }) {
        await services.remove(term);
        return { status: 204 };
      },
    },
  ];
}

/** Answers when names and new connections are off the member, or, where that is wished, when it has no connections left. */
async function drain({ controller, now }: DaemonParts, { term, body, signal }: Request, isLast: boolean): Promise<Answer> {
  const { services } = controller;
  const { Sandbox, Timeout, Wait } = parseWith(drainSchema, foldCase(drainSchema, body), 'service drain request');
  const until = now() + (Timeout == null ? DRAIN_MS : Math.round(Timeout / NANOS_A_MS));
  const service = services.find(term);
  const endpoint = await services.members.drain(service, Sandbox, isLast ? until : undefined);
  const Connections = await services.members.drained(service, endpoint, Wait === true ? until : now(), signal);
  return { status: 200, json: { Connections } };
}

function serviceSpec({ Name, Network, Mode, Aliases, Ports, HealthCheck, Labels }: ServiceCreateJson): ServiceSpec {
  const given = <T>(value: T | null | undefined): value is T => value !== null && value !== undefined;
  const ms = (nanos: number): number => Math.round(nanos / NANOS_A_MS);
  return {
    name: Name,
    network: Network,
    ...(given(Mode) && { mode: Mode }),
    aliases: Aliases ?? [],
    ports: (Ports ?? []).map(({ Protocol, PublishedPort, TargetPort }) => ({
      ...(given(Protocol) && { protocol: Protocol }),
      published: PublishedPort,
      target: TargetPort,
    })),
    ...(given(HealthCheck) && {
      health: {
        ...(given(HealthCheck.Command) && { command: HealthCheck.Command }),
        ...(given(HealthCheck.Http) && { http: HealthCheck.Http }),
        ...(given(HealthCheck.Tcp) && { tcp: HealthCheck.Tcp }),
        ...(given(HealthCheck.Interval) && { intervalMs: ms(HealthCheck.Interval) }),
        ...(given(HealthCheck.Timeout) && { timeoutMs: ms(HealthCheck.Timeout) }),
        ...(given(HealthCheck.Retries) && { retries: HealthCheck.Retries }),
        ...(given(HealthCheck.StartPeriod) && { startPeriodMs: ms(HealthCheck.StartPeriod) }),
      },
    }),
    labels: Labels ?? {},
  };
}

async function serviceJson(controller: NetworkController, service: ServiceRecord): Promise<ServiceJson> {
  const { id, name, network, mode, vips, aliases, ports, labels, created } = service;
  const degraded = controller.services.troubleOf(id);
  return {
    Id: id,
    Name: name,
    Network: { Id: network, Name: nameOf(controller, service) },
    Mode: mode,
    VirtualIPs: vips.map(({ address }) => address),
    Aliases: [...aliases],
    Ports: ports.map(({ protocol, published, target }) => ({ Protocol: protocol, PublishedPort: published, TargetPort: target })),
    HealthCheck: healthJson(service),
    Labels: { ...labels },
    Created: isoTime(created),
    Members: await membersJson(controller, service),
    ...(degraded !== undefined && { Degraded: degraded }),
  };
}

/** The record of a network may come later than that of its service. */
function nameOf(controller: NetworkController, { network }: ServiceRecord): string {
  return controller.networks().find(({ id }) => id === network)?.name ?? '';
}

function healthJson({ health }: ServiceRecord): ServiceJson['HealthCheck'] {
  if (health === undefined) return null;
  const { probe, intervalMs, timeoutMs, retries, startPeriodMs } = health;
  return {
    ...(probe.kind === 'command' && { Command: probe.command }),
    ...(probe.kind === 'http' && { Http: `:${probe.port}${probe.path}` }),
    ...(probe.kind === 'tcp' && { Tcp: probe.port }),
    Interval: intervalMs * NANOS_A_MS,
    Timeout: timeoutMs * NANOS_A_MS,
    Retries: retries,
    StartPeriod: startPeriodMs * NANOS_A_MS,
  };
}

/** Of all hosts; while the cluster cannot say, of this one. */
async function membersJson(controller: NetworkController, service: ServiceRecord): Promise<ServiceMemberJson[]> {
  const { services } = controller;
  return (await endpointsOf(controller, service))
    .flatMap(({ id, name, node, v4, v6, services: places }): ServiceMemberJson[] => {
      const place = places?.find((one) => one.service === service.id);
      if (place === undefined) return [];
      const problem = services.problemOf(id, service.id);
      const isDown = node !== undefined && controller.cluster.isAway(node);
      return [
        {
          Name: name,
          EndpointID: id,
          Host: node === undefined ? '' : controller.cluster.nameOf(node),
          IPAddress: v4 === undefined ? '' : prefixAddress(v4),
          GlobalIPv6Address: v6 === undefined ? '' : prefixAddress(v6),
          State: isDown ? 'down' : place.state,
          ...(problem !== undefined && { Problem: problem }),
        },
      ];
    })
    .toSorted((a, b) => (a.Name < b.Name ? -1 : a.Name > b.Name ? 1 : a.EndpointID < b.EndpointID ? -1 : 1));
}

type Listed = Pick<
  Awaited<ReturnType<NonNullable<NetworkController['shared']>['endpointsOf']>>[number],
  'id' | 'name' | 'v4' | 'v6' | 'services'
> & {
  readonly node?: string;
};

async function endpointsOf(controller: NetworkController, { network }: ServiceRecord): Promise<readonly Listed[]> {
  const own: readonly Listed[] = controller.endpointsOfNetwork(network).filter(({ phase }) => phase === 'joined');
  const isShared = controller.networks().find(({ id }) => id === network)?.record.shared === true;
  if (!isShared || controller.shared === undefined) return own;
  try {
    return await controller.shared.endpointsOf(network);
  } catch (error) {
    if (codeOf(error) !== 'store_unreachable') throw error;
    return own;
  }
}

/** Services of a network as its own inspect tells them, in the engine's words. */
export async function networkServicesJson(
  controller: NetworkController,
  network: string,
): Promise<Record<string, NetworkServiceJson>> {
  const own = controller.services.all().filter((service) => service.network === network);
  const told = await Promise.all(own.map((service) => serviceJson(controller, service)));
  return Object.fromEntries(
    told.map(({ Name, VirtualIPs, Ports, Members }) => [
      Name,
      {
        VIP: VirtualIPs[0] ?? '',
        Ports: Ports.map(({ PublishedPort, TargetPort }) => `Target: ${TargetPort}, Publish: ${PublishedPort}`),
        LocalLBIndex: 0,
        Tasks: Members.map(({ Name: name, EndpointID, IPAddress, GlobalIPv6Address, Host, State }) => ({
          Name: name,
          EndpointID,
          EndpointIP: IPAddress || GlobalIPv6Address,
          Info: { Host, State },
        })),
      },
    ]),
  );
}
