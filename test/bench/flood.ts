/**
 * What one sandbox's flood of questions costs its neighbour. The floor is a bare server in the neighbour's own sandbox, asked at
 * the same time: what waits for a processor on this machine waits there too.
 */

import { once } from 'node:events';
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { type Lab, WIRE } from '../e2e/lab.ts';
import { quantile, type Figure } from './figures.ts';
import { dnsFloor } from './floors.ts';

/** Upstream of the sandbox that floods, and how long it takes over an answer, milliseconds. */
const SLOW = { address: '198.51.100.53', delayMs: 200 } as const;
/** Questions of the neighbour. */
const PER_SECOND = 50;
const SECONDS = 5;
/** A question is lost when it has no answer by then, seconds. */
const LOST_S = 30;
/** The flood goes on until it is ended. */
const FLOOD_S = 3600;
/** Names that the flood asks for and nobody has. */
const FOREIGN = Array.from({ length: 1000 }, (_, i) => `x${i}.example A`);

/** What is flooded with; the neighbour is asked about during each. */
export const FLOODS = {
  'local names': { questions: ['target A'], flags: ['-q', '1000', '-c', '10'] },
  'forwarded names': { questions: FOREIGN, flags: ['-q', '5000', '-c', '10', '-t', '1'] },
  'both kinds': { questions: FOREIGN.flatMap((name) => ['target A', name]), flags: ['-q', '5000', '-c', '10', '-t', '1'] },
  'local names by TCP': { questions: ['target A'], flags: ['-m', 'tcp', '-q', '1000', '-c', '20'] },
} as const;
export type FloodKind = keyof typeof FLOODS;

export interface Neighbour {
  readonly sent: number;
  readonly lost: number;
  /** Of the answers, which all must be right. */
  readonly latenciesMs: readonly number[];
  /** Of the bare server. */
  readonly floorMs: readonly number[];
  /** Of the neighbour's upstream, asked past the resolver. */
  readonly upstreamMs: readonly number[];
}

/** Makes the three sandboxes, on a network that is there, and the slow upstream. Answers the namespaces of the two that ask. */
export async function floodSandboxes(lab: Lab, network: string): Promise<{ loud: string; quiet: string }> {
  await lab.in('outside', 'ip', 'addr', 'add', `${SLOW.address}/32`, 'dev', 'wire0');
  await lab.serveNames(SLOW.address, SLOW.delayMs);
  const make = async (Name: string, more: object = {}): Promise<string> => {
    const { status, json } = await lab.api('POST', '/sandboxes/create', { Name, Networks: { [network]: {} }, ...more });
    if (status !== 201) throw new Error(`sandbox ${Name}: ${JSON.stringify(json)}`);
    return (await lab.api<{ Netns: string }>('GET', `/sandboxes/${Name}`)).json.Netns;
  };
  await make('target');
  return { loud: await make('loud', { Dns: [SLOW.address] }), quiet: await make('quiet') };
}

/** The neighbour asks for `name` while the other one floods. */
export async function neighbourOf(
  at: { readonly loud: string; readonly quiet: string; readonly folder: string },
  kind: FloodKind,
  name: string,
): Promise<Neighbour> {
  const { questions, flags } = FLOODS[kind];
  const file = join(at.folder, 'flood');
  writeFileSync(file, `${questions.join('\n')}\n`);
  const args = [`--net=${at.loud}`, 'dnsperf', '-s', '127.0.0.11', '-d', file, '-l', String(FLOOD_S), '-S', '1', ...flags];
  const flood = spawn('nsenter', args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = once(flood, 'close');
  const echo = await dnsFloor(at.quiet);
  try {
    await underWay(flood.stdout, flood.stderr);
    const [here, floor, upstream] = await Promise.all([
      askSteadily(at.quiet, 53, name, join(at.folder, 'quiet')),
      askSteadily(at.quiet, echo.port, name, join(at.folder, 'floor')),
      askSteadily(at.quiet, 53, 'host.example', join(at.folder, 'upstream'), WIRE.outside),
    ]);
    if (flood.exitCode !== null) throw new Error(`the flood ended by itself with ${flood.exitCode}`);
    return { ...here, floorMs: floor.latenciesMs, upstreamMs: upstream.latenciesMs };
  } finally {
    echo.close();
    flood.kill('SIGKILL');
    await ended;
  }
}

/** Resolves with the first line of statistics. */
function underWay(...streams: readonly NodeJS.ReadableStream[]): Promise<void> {
  return new Promise((resolve) => {
    for (const stream of streams) stream.on('data', (chunk: Buffer) => /^\d+\.\d+: /m.test(chunk.toString()) && resolve());
  });
}

async function askSteadily(
  netns: string,
  port: number,
  name: string,
  file: string,
  server = '127.0.0.11',
): Promise<Omit<Neighbour, 'floorMs' | 'upstreamMs'>> {
  writeFileSync(file, `${name} A\n`);
  const pace = ['-l', String(SECONDS), '-Q', String(PER_SECOND), '-q', String(SECONDS * PER_SECOND), '-c', '1'];
  const target = ['-s', server, '-p', String(port), '-d', file];
  const { stdout } = await execa('nsenter', [`--net=${netns}`, 'dnsperf', ...target, ...pace, '-t', String(LOST_S), '-v']);
  const number = (what: string): number => Number(new RegExp(`${what}:\\s+(\\d+)`).exec(stdout)?.[1]);
  return {
    sent: number('Queries sent'),
    lost: number('Queries lost'),
    latenciesMs: [...stdout.matchAll(/^> NOERROR .* ([\d.]+)$/gm)].map((line) => 1000 * Number(line[1])),
  };
}

export async function flood(lab: Lab): Promise<Figure[]> {
  const at = { ...(await floodSandboxes(lab, 'first')), folder: lab.folder };
  const figures: Figure[] = [];
  for (const kind of ['local names', 'forwarded names'] as const) {
    for (const name of ['target', 'host.example']) {
      const { latenciesMs, floorMs, upstreamMs } = await neighbourOf(at, kind, name);
      figures.push({
        name: `neighbour of a flood of ${kind}: ${name === 'target' ? 'local' : 'forwarded'} name, p99`,
        unit: 'ms',
        value: quantile(latenciesMs, 0.99),
        goal: '≤ 5',
        ...(name === 'target'
          ? { floor: quantile(floorMs, 0.99), what: 'p99 of a bare server in the same sandbox, at the same time' }
          : { floor: quantile(upstreamMs, 0.99), what: 'p99 of the upstream, asked from the same sandbox, at the same time' }),
      });
    }
  }
  for (const name of ['target', 'loud', 'quiet']) await lab.api('DELETE', `/sandboxes/${name}?force=1`);
  return figures;
}
