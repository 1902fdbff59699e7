/** `/endpoints…`: endpoints as things of their own, joined or not. */

import { endpointCreateSchema, endpointJoinSchema } from '../base/api.ts';
import { parseWith } from '../base/index.ts';
import { ENDPOINT_FILTERS, endpointMatches, parseFilters } from './filters.ts';
import { foldCase } from './fold.ts';
import { endpointDetail } from './inspect.ts';
import { endpointSpec, parseQueryBool } from './networks.ts';
import type { Answer, DaemonParts, Request, Route } from './route.ts';

export function endpointRoutes(parts: DaemonParts): Route[] {
  const { controller } = parts;
  return [
    { method: 'GET', path: '/endpoints', handle: (request) => list(parts, request) },
    {
      method: 'POST',
      path: '/endpoints/create',
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
      async handle({ term, body, signal }) {
        const { Sandbox } = parseWith(endpointJoinSchema, foldCase(endpointJoinSchema, body), 'endpoint join request');
        await controller.joinEndpoint(term, Sandbox, signal);
        return { status: 204 };
      },
    },
    {
      method: 'POST',
      path: '/endpoints/:term/leave',
      async handle({ term }) {
        await controller.leaveEndpoint(term);
        return { status: 204 };
      },
    },
    {
      method: 'GET',
      path: '/endpoints/:term',
      handle: ({ term }) => ({ status: 200, json: endpointDetail(controller, controller.endpoint(term).record) }),
    },
    {
      method: 'DELETE',
      path: '/endpoints/:term',
      async handle({ term, query }) {
        await controller.deleteEndpoint(term, parseQueryBool('force', query['force']));
        return { status: 204 };
      },
    },
  ];
}

function list({ controller }: DaemonParts, { query }: Request): Answer {
  const filters = parseFilters(query['filters'], ENDPOINT_FILTERS);
  const found = controller.endpoints().map((ep) => endpointDetail(controller, ep.record));
  return { status: 200, json: found.filter((ep) => endpointMatches(filters, ep)) };
}
