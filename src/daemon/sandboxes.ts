/** `/sandboxes…`: sandboxes and the process that each stands for. */

import { processSchema, sandboxCreateSchema } from '../base/api.ts';
import { parseWith, type SandboxCreateJson } from '../base/index.ts';
import { type SandboxSpec, ingressServiceOf } from '../cnm/index.ts';
import type { Answer, DaemonParts, Request, Route } from './route.ts';
import { SANDBOX_FILTERS, parseFilters, sandboxMatches } from './filters.ts';
import { foldCase } from './fold.ts';
import { networksOf, sandboxJson } from './inspect.ts';
import { endpointSpec } from './networks.ts';
import { parseQueryBool } from './query.ts';

export function sandboxRoutes(parts: DaemonParts): Route[] {
  const { controller } = parts;
  return [
    { method: 'GET', path: '/sandboxes', takes: ['all', 'filters'], handle: (request) => list(parts, request) },
    {
      method: 'POST',
      path: '/sandboxes/create',
      takes: [],
      async handle({ body, signal, caller }) {
        const json = parseWith(sandboxCreateSchema, foldCase(sandboxCreateSchema, body), 'sandbox create request');
        const { sandbox, warnings } = await controller.createSandbox(sandboxSpec(json), signal, caller);
        return { status: 201, json: { Id: sandbox.id, Warnings: warnings } };
      },
    },
    {
      method: 'POST',
      path: '/sandboxes/:term/process',
      takes: [],
      async handle({ term, body, caller }) {
        const { Pid } = parseWith(processSchema, foldCase(processSchema, body), 'process');
        await controller.setProcess(term, Pid, caller);
        return { status: 204 };
      },
    },
    {
      method: 'GET',
      path: '/sandboxes/:term',
      takes: [],
      handle: ({ term }) => ({ status: 200, json: sandboxJson(controller, controller.sandbox(term).record) }),
    },
    {
      method: 'DELETE',
      path: '/sandboxes/:term',
      takes: ['force'],
      async handle({ term, query }) {
        await controller.deleteSandbox(term, parseQueryBool('force', query['force']));
        return { status: 204 };
      },
    },
  ];
}

function list({ controller }: DaemonParts, { query }: Request): Answer {
  const filters = parseFilters(query['filters'], SANDBOX_FILTERS);
  const isAll = parseQueryBool('all', query['all']);
  const found = controller
    .sandboxes()
    .map((s) => s.record)
    // Nobody has made these: they are a part of a service, and not to be removed.
    .filter((s) => isAll || ingressServiceOf(s) === undefined)
    .filter((s) =>
      sandboxMatches(
        filters,
        s,
        networksOf(controller, s).map(({ net }) => net),
      ),
    );
  return { status: 200, json: found.map((s) => sandboxJson(controller, s)) };
}

function sandboxSpec(json: SandboxCreateJson): SandboxSpec {
  return {
    name: json.Name,
    ...(json.Hostname && { hostname: json.Hostname }),
    ...(json.Netns && { netns: json.Netns }),
    networks: Object.entries(json.Networks ?? {}).map(([name, settings]) => [name, endpointSpec(settings)] as const),
    portBindings: portBindings(json.PortBindings),
    dns: json.Dns ?? [],
    dnsSearch: json.DnsSearch ?? [],
    dnsOptions: json.DnsOptions ?? [],
    extraHosts: json.ExtraHosts ?? [],
    labels: json.Labels ?? {},
    autoRemove: json.AutoRemove ?? false,
  };
}

function portBindings(json: SandboxCreateJson['PortBindings']): NonNullable<SandboxSpec['portBindings']> {
  return Object.fromEntries(
    Object.entries(json ?? {}).map(([key, bindings]) => [
      key,
      bindings === null
        ? null
        : bindings.map(({ HostIp, HostPort }) => ({ HostIp: HostIp ?? '', HostPort: String(HostPort ?? '') })),
    ]),
  );
}
