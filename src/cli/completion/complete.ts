/**
 * What can follow on a command line that is being typed: commands, options and, asked of the daemon, names. The shells' scripts
 * (`shells.ts`) call this by `network __complete WORD…`, the last word being the unfinished one, so they hold no table.
 */

import type { Command, Option } from 'commander';
import type { Client } from '../client.ts';

/** Answered instead of candidates: the shell completes paths, or a command and its arguments, itself. */
export const FILES = ':files';
export const COMMANDS = ':commands';

export interface Candidate {
  readonly value: string;
  readonly help: string;
}

export interface Ask {
  readonly program: Command;
  /** A client for the daemon that the program's options name. */
  readonly client: () => Client;
}

/** What the finished words say. */
interface Place {
  readonly command: Command;
  readonly positionals: readonly string[];
  /** Option whose value comes next. */
  readonly pending: Option | undefined;
  readonly optionsEnded: boolean;
}

/** Most candidates that are answered. */
const MAX_CANDIDATES = 2000;

/** What a shell takes as one word. The answer of a daemon that lies must not become commands on someone's line. */
const PLAIN = /^[\w.:/=@+-]+$/;

/** Candidates for the last word, or FILES, or COMMANDS. Never rejects: who presses a key wants no error. */
export async function complete(
  ask: Ask,
  words: readonly string[],
): Promise<readonly Candidate[] | typeof FILES | typeof COMMANDS> {
  const current = words.at(-1) ?? '';
  const place = placeOf(ask.program, words.slice(0, -1));
  try {
    const all = await candidates(ask, place, current);
    if (typeof all === 'string') return all;
    const fitting = all.filter(({ value }) => value.startsWith(current) && PLAIN.test(value));
    return fitting.slice(0, MAX_CANDIDATES).map(({ value, help }) => ({ value, help: help.replaceAll(/\p{Cc}/gu, ' ') }));
  } catch {
    return [];
  }
}

/** The program's own options of the line, such as `--host`, are set in the program. */
function placeOf(program: Command, words: readonly string[]): Place {
  let command = program;
  let positionals: string[] = [];
  let pending: Option | undefined;
  let optionsEnded = false;
  for (const word of words) {
    if (pending !== undefined) {
      set(program, pending, word);
      pending = undefined;
    } else if (word === '--') optionsEnded = true;
    else if (word.startsWith('-') && word.length > 1 && !optionsEnded) {
      const [flag, value] = split(word);
      const option = optionOf(command, flag);
      if (option !== undefined && takesValue(option) && value === undefined) pending = option;
      if (option !== undefined && value !== undefined) set(program, option, value);
    } else {
      const child = positionals.length === 0 ? childOf(command, word) : undefined;
      if (child === undefined) positionals = [...positionals, word];
      else command = child;
    }
  }
  return { command, positionals, pending, optionsEnded };
}

function set(program: Command, option: Option, value: string): void {
  if (program.options.includes(option)) program.setOptionValue(option.attributeName(), value);
}

/** `--flag=value` in its two parts. */
function split(word: string): [flag: string, value: string | undefined] {
  const at = word.indexOf('=');
  return at < 0 ? [word, undefined] : [word.slice(0, at), word.slice(at + 1)];
}

const takesValue = (option: Option): boolean => option.required || option.optional;
const optionOf = (command: Command, flag: string): Option | undefined =>
  command.options.find(({ short, long }) => short === flag || long === flag);
const childOf = (command: Command, word: string): Command | undefined =>
  command.commands.find((child) => child.name() === word || child.aliases().includes(word));

async function candidates(ask: Ask, place: Place, current: string): Promise<Candidate[] | typeof FILES | typeof COMMANDS> {
  const { command, pending } = place;
  if (pending !== undefined) return await valuesOf(ask, place, nameOf(pending));
  if (!place.optionsEnded && current.startsWith('-')) {
    const [flag, value] = split(current);
    const option = value === undefined ? undefined : optionOf(command, flag);
    if (option === undefined) return optionsOf(command);
    const values = await valuesOf(ask, place, nameOf(option));
    return typeof values === 'string' ? [] : values.map((each) => ({ ...each, value: `${flag}=${each.value}` }));
  }
  if (command.commands.length > 0 && place.positionals.length === 0)
    return command.commands.map((child) => ({ value: child.name(), help: child.description() }));
  const known = command.registeredArguments;
  const next = known[place.positionals.length] ?? known.at(-1);
  if (next === undefined || (known.length <= place.positionals.length && !next.variadic)) return [];
  if (next.argChoices) return next.argChoices.map((value) => ({ value, help: '' }));
  const values = await valuesOf(ask, place, next.name());
  return typeof values === 'string' ? values : values.filter(({ value }) => !next.variadic || !place.positionals.includes(value));
}

function optionsOf(command: Command): Candidate[] {
  const options = command.options.map(({ long, short, description }) => ({ value: long ?? short ?? '', help: description }));
  return [...options, { value: '--help', help: 'display help for command' }];
}

/** What an option calls its value: `network` of `--network <network>`. */
const nameOf = (option: Option): string => /[<[]([^>\].]+)/.exec(option.flags)?.[1] ?? '';

/** Values by the name that the command table gives them. */
async function valuesOf(ask: Ask, place: Place, name: string): Promise<Candidate[] | typeof FILES | typeof COMMANDS> {
  const get = <T>(path: string): Promise<T> => ask.client().get<T>(path);
  switch (name) {
    case 'network': {
      if (place.command.name() === 'create' && place.pending === undefined && place.command.parent === ask.program) return [];
      const networks = await get<{ Name: string; Driver: string }[]>('/networks');
      return networks.map(({ Name, Driver }) => ({ value: Name, help: Driver }));
    }
    case 'sandbox': {
      const network = place.command.name() === 'disconnect' ? place.positionals[0] : undefined;
      const filters = network === undefined ? '' : `?filters=${encodeURIComponent(JSON.stringify({ network: [network] }))}`;
      const sandboxes = await get<{ Name: string; State: string }[]>(`/sandboxes${filters}`);
      return sandboxes.map(({ Name, State }) => ({ value: Name, help: State }));
    }
    case 'endpoint': {
      const endpoints = await get<{ Name: string; Network: { Name: string } }[]>('/endpoints');
      const isUnique = (name: string): boolean => endpoints.filter(({ Name }) => Name === name).length === 1;
      return endpoints.map(({ Name, Network }) => ({
        value: isUnique(Name) ? Name : `${Network.Name}/${Name}`,
        help: Network.Name,
      }));
    }
    case 'service':
      return (await get<{ Name: string; Network: { Name: string } }[]>('/network-services')).map(({ Name, Network }) => ({
        value: Name,
        help: Network.Name,
      }));
    case 'guest':
      return (await get<{ Id: string; Driver: string }[]>('/guests')).map(({ Id, Driver }) => ({
        value: Id.slice(0, 12),
        help: Driver,
      }));
    case 'node':
      return (await get<{ Name: string; State: string }[]>('/cluster/nodes')).map(({ Name, State }) => ({
        value: Name,
        help: State,
      }));
    case 'port':
      return await portsOf(get, place.positionals[0] ?? '');
    case 'driver':
      return (await get<{ Plugins: { Network: string[] } }>('/info')).Plugins.Network.map((value) => ({ value, help: '' }));
    case 'command':
      return COMMANDS;
    case 'path':
    case 'file':
      return FILES;
    default:
      return [];
  }
}

async function portsOf(get: <T>(path: string) => Promise<T>, sandbox: string): Promise<Candidate[]> {
  const { Ports } = await get<{ Ports: Record<string, unknown[] | null> }>(`/sandboxes/${encodeURIComponent(sandbox)}`);
  return Object.entries(Ports).flatMap(([value, hosts]) => (hosts === null ? [] : [{ value, help: '' }]));
}
