/** `/containers…`: a read-only view of sandboxes for engine clients. */

import { CnmError, codeOf } from '../base/index.ts';
import type { DaemonParts, Route } from './route.ts';
import { SANDBOX_FILTERS, parseFilters, sandboxMatches } from './filters.ts';
import { containerJson, containerRow, networksOf } from './inspect.ts';

export function containerRoutes({ controller }: DaemonParts): Route[] {
  return [
    {
      method: 'GET',
      path: '/containers/json',
      handle({ query }) {
        const filters = parseFilters(query['filters'], SANDBOX_FILTERS);
        const all = query['all'] === '1' || query['all'] === 'true';
        const found = controller
          .sandboxes()
          .map((s) => s.record)
          .filter((s) => all || controller.isAlive(s.id))
          .filter((s) =>
            sandboxMatches(
              filters,
              s,
              networksOf(controller, s).map(({ net }) => net),
            ),
          );
        return { status: 200, json: found.map((s) => containerRow(controller, s)) };
      },
    },
    {
      method: 'GET',
      path: '/containers/:term/json',
      handle({ term }) {
        try {
          return { status: 200, json: containerJson(controller, controller.sandbox(term).record) };
        } catch (error) {
          if (codeOf(error) !== 'no_sandbox') throw error;
          throw new CnmError('no_sandbox', `No such container: ${term}`);
        }
      },
    },
  ];
}
