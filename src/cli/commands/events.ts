/** `events`. */

import type { Command } from 'commander';
import { escaped } from '../../base/index.ts';
import { filterQuery } from '../client.ts';
import type { CliContext } from '../context.ts';
import { collect } from '../flags.ts';
import { JSON_TEXT, checkTemplate, executeTemplate } from '../template.ts';

interface EventJson {
  readonly Type: string;
  readonly Action: string;
  readonly Actor: { readonly ID: string; readonly Attributes: Readonly<Record<string, string>> };
  readonly scope: string;
  readonly time: number;
  readonly timeNano: number;
}

interface EventFlags {
  since?: string;
  until?: string;
  filter?: string[];
  format?: string;
}

export function addEventCommands(program: Command, context: CliContext): void {
  program
    .command('events')
    .description('Print what happens to networks, sandboxes, endpoints and services')
    .option('--since <time>', 'also events from then on: a time, or a duration such as 10m')
    .option('--until <time>', 'stop at that time; without it, when interrupted')
    .option('-f, --filter <filter>', 'only those that match, such as type=network; may repeat', collect)
    .option('--format <format>', 'json, or a Go template')
    .action(async ({ since, until, filter, format: given }: EventFlags) => {
      const format = given?.replaceAll('\\t', '\t').replaceAll('\\n', '\n');
      if (format !== undefined) checkTemplate(format);
      const query = [
        filterQuery(filter ?? []).slice(1),
        ...(since === undefined ? [] : [`since=${encodeURIComponent(since)}`]),
        ...(until === undefined ? [] : [`until=${encodeURIComponent(until)}`]),
      ].filter((part) => part !== '');
      const path = `/events${query.length > 0 ? `?${query.join('&')}` : ''}`;
      await context.client().lines(path, (line) => context.out(`${shown(line, format)}\n`));
    });
}

function shown(line: string, format: string | undefined): string {
  if (format === 'json') return line;
  const event = JSON.parse(line) as EventJson;
  // As digits: a number would lose the last of them.
  const nanos = /"timeNano":(\d+)\}$/.exec(line)?.[1] ?? '0';
  if (format !== undefined && format !== '') {
    const { Type, Action, Actor, scope, time } = event;
    const fields = { Type, Action, Actor, Scope: scope, Time: time, TimeNano: nanos, ID: Actor.ID };
    return executeTemplate(format, { ...fields, [JSON_TEXT]: line });
  }
  const attributes = Object.entries(event.Actor.Attributes)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => escaped(`${key}=${value}`));
  const about = attributes.length > 0 ? ` (${attributes.join(', ')})` : '';
  return `${localTime(event.time, nanos)} ${event.Type} ${event.Action} ${event.Actor.ID}${about}`;
}

/** RFC 3339 in the local zone, with nine digits. */
function localTime(seconds: number, nanos: string): string {
  const date = new Date(seconds * 1000);
  const offset = -date.getTimezoneOffset();
  const two = (value: number): string => String(Math.trunc(Math.abs(value))).padStart(2, '0');
  const zone = offset === 0 ? 'Z' : `${offset < 0 ? '-' : '+'}${two(offset / 60)}:${two(offset % 60)}`;
  const local = new Date(date.getTime() + offset * 60_000).toISOString().slice(0, 19);
  return `${local}.${nanos.slice(-9).padStart(9, '0')}${zone}`;
}
