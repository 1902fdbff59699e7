/** Questions for a local name: many at once by dnsperf, and one at a time. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import type { Lab } from '../e2e/lab.ts';
import type { Client } from './client.ts';
import { type Figure, median } from './figures.ts';
import { dnsFloor } from './floors.ts';

const SECONDS = 3;
const REPEATS = 3;

/** What dnsperf found for `name`: answers a second with `outstanding` questions by `clients`, and the mean latency, µs. */
export async function ask(
  netns: string,
  server: string,
  port: number,
  name: string,
  folder: string,
  clients = 10,
  outstanding = 100,
): Promise<{ perSecond: number; meanUs: number }> {
  const file = join(folder, 'questions');
  writeFileSync(file, `${name} A\n`);
  const flags = ['-s', server, '-p', String(port), '-d', file, '-T', '1', '-l', String(SECONDS)];
  const load = ['-c', String(clients), '-q', String(outstanding)];
  const { stdout } = await execa('nsenter', [`--net=${netns}`, 'dnsperf', ...flags, ...load]);
  const noerror = /NOERROR \d+ \(100\.00%\)/.test(stdout);
  if (!noerror) throw new Error(`dnsperf had answers that are no answers:\n${stdout}`);
  return {
    perSecond: Number(/Queries per second:\s+([\d.]+)/.exec(stdout)?.[1]),
    meanUs: 1e6 * Number(/Average Latency \(s\):\s+([\d.]+)/.exec(stdout)?.[1]),
  };
}

export async function names(lab: Lab, client: Client): Promise<Figure[]> {
  for (const Name of ['target', 'asker']) await client.call('POST', '/sandboxes/create', { Name, Networks: { first: {} } });
  const { Netns } = (await client.call('GET', '/sandboxes/asker')) as { Netns: string };
  const echo = await dnsFloor(Netns);
  const many: number[] = [];
  const floor: number[] = [];
  const single: number[] = [];
  const singleFloor: number[] = [];
  for (let i = 0; i < REPEATS; i++) {
    many.push((await ask(Netns, '127.0.0.11', 53, 'target', lab.folder)).perSecond);
    floor.push((await ask(Netns, '127.0.0.11', echo.port, 'target', lab.folder)).perSecond);
    single.push((await ask(Netns, '127.0.0.11', 53, 'target', lab.folder, 1, 1)).meanUs);
    singleFloor.push((await ask(Netns, '127.0.0.11', echo.port, 'target', lab.folder, 1, 1)).meanUs);
  }
  echo.close();
  for (const name of ['target', 'asker']) await client.call('DELETE', `/sandboxes/${name}`);
  const what = 'dgram on one thread that patches the question';
  return [
    { name: 'local DNS name, 10 clients, 100 outstanding', unit: '/s', value: median(many), floor: median(floor), what },
    { name: 'local DNS name, one question at a time', unit: 'µs', value: median(single), floor: median(singleFloor), what },
  ];
}
