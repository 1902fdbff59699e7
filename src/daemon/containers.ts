/** `/containers…`: a read-only view of sandboxes for engine clients. */

import { CnmError, codeOf, quoted } from '../base/index.ts';
import type { DaemonParts, Route } from './route.ts';
import { SANDBOX_FILTERS, parseFilters, sandboxMatches } from './filters.ts';
import { isEngineTrue } from './query.ts';
import { containerJson, containerRow, networksOf } from './inspect.ts';

export function containerRoutes({ controller }: DaemonParts): Route[] {
  return [
    {
      method: 'GET',
      path: '/containers/json',
      handle({ query }) {
        const filters = parseFilters(query['filters'], SANDBOX_FILTERS);
        const limit = limitOf(query['limit']);
        const all = isEngineTrue(query['all']) || limit !== undefined;
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
        const shown = limit === undefined ? found : found.toSorted((a, b) => b.created - a.created).slice(0, limit);
        return { status: 200, json: shown.map((s) => containerRow(controller, s)) };
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

/** How many of the newest are wanted, running or not; absent: no such wish. */
function limitOf(text: string | undefined): number | undefined {
  if (text === undefined || text === '') return undefined;
  if (!/^-?\d{1,9}$/.test(text))
    throw new CnmError('bad_request', `invalid value for limit: ${quoted(text)}; use a whole number`);
  // The stock client says -1 for all.
  return Number(text) > 0 ? Number(text) : undefined;
}
