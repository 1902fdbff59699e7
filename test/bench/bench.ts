/**
 * What the operations cost, each beside the bare kernel sequence of the same run, and with `--peers` beside a real engine: a
 * ratio says more than a time on a shared machine. Everything happens in namespaces of the run's own.
 */

import { spawn } from 'node:child_process';
import { cpus, release } from 'node:os';
import { join } from 'node:path';
import { DIST, Lab } from '../e2e/lab.ts';
import { Client } from './client.ts';
import { type Figure, print, printPeers } from './figures.ts';
import { flood } from './flood.ts';
import { processFloor } from './floors.ts';
import { lagEnv } from './lag.ts';
import { macvlan } from './macvlan.ts';
import { macvlanPeers } from './macvlan-peers.ts';
import { names } from './names.ts';
import { peers } from './peers.ts';
import { pluginFigures } from './plugin.ts';
import { services } from './services.ts';
import { scale, settledMemory } from './scale.ts';
import { attach, command, networks, publish } from './work.ts';

const rounds = Number(process.argv[process.argv.indexOf('--rounds') + 1]) || 100;

async function ours(): Promise<Figure[]> {
  return [
    ...(await inLab(async (lab, client) => {
      const ls = [join(DIST, 'network.js'), '--host', `unix://${lab.socket}`, 'ls'];
      const once = (): Promise<unknown> =>
        new Promise((resolve) => spawn(process.execPath, ls, { stdio: 'ignore' }).once('exit', resolve));
      return [
        ...(await networks(lab, client, rounds)),
        ...(await attach(lab, client, rounds)),
        ...(await macvlan(lab, client, rounds)),
        ...(await publish(lab, client, rounds)),
        ...(await names(lab, client)),
        ...(await services(lab, client, rounds)),
        ...(await flood(lab)),
        ...(await command(rounds, once, processFloor)),
        await settledMemory(lab, 'memory, daemon and keeper, after all of that'),
      ];
    })),
    ...(await inLab((lab, client) => scale(lab, client, rounds))),
  ];
}

/** On a machine of its own, with a daemon that has done nothing yet. */
async function inLab<T>(work: (lab: Lab, client: Client) => Promise<T>): Promise<T> {
  const lab = await Lab.open({ env: lagEnv() });
  const client = new Client(lab.socket);
  try {
    return await work(lab, client);
  } finally {
    client.close();
    await lab.close();
  }
}

const date = new Date().toISOString().slice(0, 10);
process.stdout.write(
  `Node ${process.version}, Linux ${release()}, ${cpus().length} × ${cpus()[0]?.model ?? ''}, ${rounds} rounds, medians, ${date}\n`,
);
const figures = await ours();
print(figures);
if (process.argv.includes('--peers')) {
  printPeers(figures, await peers(rounds));
  const { ours: plugin, own } = await pluginFigures(rounds);
  printPeers(plugin, own);
  const lan = await macvlanPeers(rounds);
  printPeers(lan.ours, lan.peers);
}
