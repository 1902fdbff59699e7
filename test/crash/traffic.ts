/** Two sandboxes that talk all the time: to each other, from the outside through a published port, and to the resolver. */

import { spawn, type ChildProcess } from 'node:child_process';
import { expect } from 'vitest';
import type { SandboxAnswer } from '../../src/base/index.ts';
import { WIRE, type Lab } from '../e2e/lab.ts';
import { ask } from './client.ts';
import { COMMON } from './load.ts';

const PROGRAM = new URL('traffic.mjs', import.meta.url).pathname;
const ECHO_PORT = '7';
const HOST_PORT = '18007';

interface Running {
  readonly child: ChildProcess;
  /** Its last line, when it has ended. */
  readonly report: Promise<string>;
}

async function start(netns: string, ...args: string[]): Promise<Running> {
  const child = spawn('nsenter', [`--net=${netns}`, process.execPath, PROGRAM, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  const report = new Promise<string>((resolve) => child.once('close', () => resolve(text.trim().split('\n').at(-1) ?? '')));
  await new Promise<void>((resolve, reject) => {
    child.once('error', reject);
    child.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      if (text.startsWith('ready')) resolve();
    });
    child.once('close', () => reject(new Error(`${args.join(' ')} ended: ${text}`)));
  });
  return { child, report };
}

export class Traffic {
  readonly #running: Running[] = [];

  /** Makes the common network and the two sandboxes, and starts talking. `withNames`: a question every 100 ms, too.
   * `started` gets it before anything runs, to end it also when this throws. */
  static async open(lab: Lab, withNames: boolean, started: (traffic: Traffic) => void): Promise<Traffic> {
    expect((await ask(lab, 'POST', '/networks/create', { Name: COMMON })).status).toBe(201);
    const PortBindings = { [`${ECHO_PORT}/tcp`]: [{ HostPort: HOST_PORT }] };
    for (const body of [{ Name: 'echo', PortBindings }, { Name: 'talker' }])
      expect((await ask(lab, 'POST', '/sandboxes/create', { ...body, Networks: { [COMMON]: {} } })).status).toBe(201);
    const { json: echo } = await ask<SandboxAnswer>(lab, 'GET', '/sandboxes/echo');
    const { json: talker } = await ask<SandboxAnswer>(lab, 'GET', '/sandboxes/talker');
    const address = echo.Networks[COMMON]?.IPAddress ?? '';
    const traffic = new Traffic();
    started(traffic);
    const add = async (netns: string, ...args: string[]): Promise<void> => {
      traffic.#running.push(await start(netns, ...args));
    };
    await add(echo.Netns, 'echo', ECHO_PORT);
    await add(talker.Netns, 'stream', address, ECHO_PORT);
    await add(`/run/netns/${lab.outside}`, 'stream', WIRE.host, HOST_PORT);
    if (withNames) await add(talker.Netns, 'names', 'echo', address);
    return traffic;
  }

  /** Ends it hard, for a test that has failed. */
  kill(): void {
    for (const { child } of this.#running.splice(0)) child.kill('SIGKILL');
  }

  /** Ends it; answers what each has seen, clients first. A loss is in there as `failed`. */
  async close(): Promise<string[]> {
    const reports: string[] = [];
    for (const { child, report } of this.#running.splice(0).toReversed()) {
      child.kill('SIGTERM');
      reports.push(await report);
    }
    return reports;
  }
}
