/** `/endpoints…`: endpoints as things of their own, joined or not. */

import { endpointCreateSchema, endpointJoinSchema } from '../base/api.ts';
import { messageOf, parseWith } from '../base/index.ts';
import { ENDPOINT_FILTERS, endpointMatches, parseFilters } from './filters.ts';
import { ENDPOINT_VALUES } from './filter-values.ts';
import { foldCase } from './fold.ts';
import { endpointDetail } from './inspect.ts';
import { endpointSpec } from './networks.ts';
import { parseQueryBool } from './query.ts';
import type { Answer, DaemonParts, Request, Route } from './route.ts';

export function endpointRoutes(parts: DaemonParts): Route[] {
  const { controller } = parts;
  return [
    { method: 'GET', path: '/endpoints', takes: ['filters'], handle: (request) => list(parts, request) },
    {
      method: 'POST',
      path: '/endpoints/create',
      takes: [],
      async handle({ body, signal }) {
        const json = parseWith(endpointCreateSchema, foldCase(endpointCreateSchema, body), 'endpoint create request');
        const endpoint = await controller.createEndpoint(
          json.Network,
          json.Name ?? '',
          endpointSpec(json.EndpointConfig),
          signal,
        );
        return { status: 201, json: { Id: endpoint.id } };
      },
    },
    {
      method: 'POST',
      path: '/endpoints/:term/join',
      takes: [],
      async handle({ term, body, signal }) {
        const { Sandbox } = parseWith(endpointJoinSchema, foldCase(endpointJoinSchema, body), 'endpoint join request');
        await controller.joinEndpoint(term, Sandbox, signal);
        return { status: 204 };
      },
    },
    {
      method: 'POST',
      path: '/endpoints/:term/leave',
      takes: [],
      async handle({ term }) {
        await controller.leaveEndpoint(term);
        return { status: 204 };
      },
    },
    {
      method: 'GET',
      path: '/endpoints/:term',
      takes: [],
      handle: (request) => inspect(parts, request),
    },
    {
      method: 'DELETE',
      path: '/endpoints/:term',
      takes: ['force'],
      async handle({ term, query }) {
        await controller.deleteEndpoint(term, parseQueryBool('force', query['force']));
        return { status: 204 };
      },
    },
  ];
}

/** A plugin that does not tell what it knows is no reason to show nothing. */
async function inspect({ controller }: DaemonParts, { term, signal }: Request): Promise<Answer> {
  const { id, record } = controller.endpoint(term);
  const detail = endpointDetail(controller, record);
  try {
    const info = await controller.driverInfo(id, signal);
    return { status: 200, json: { ...detail, ...(info && { DriverInfo: info }) } };
  } catch (error) {
    return { status: 200, json: { ...detail, Degraded: [detail.Degraded ?? [], messageOf(error)].flat().join('; ') } };
  }
}

function list({ controller }: DaemonParts, { query }: Request): Answer {
  const filters = parseFilters(query['filters'], ENDPOINT_FILTERS, ENDPOINT_VALUES);
  const found = controller.endpoints().map((ep) => endpointDetail(controller, ep.record));
  return { status: 200, json: found.filter((ep) => endpointMatches(filters, ep)) };
}
