/**
 * What the operations cost, each beside the bare kernel sequence of the same run: a ratio says more than a time on a shared
 * machine. Everything happens in namespaces of the run's own.
 */

import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { cpus, release } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { openNetns } from '../../src/kernel/index.ts';
import { DIST, Lab } from '../e2e/lab.ts';
import { bridgeFloor, dnsFloor, portsFloor, processFloor, vethFloor } from './floors.ts';
import { type Figure, median, print, timed } from './figures.ts';

const rounds = Number(process.argv[process.argv.indexOf('--rounds') + 1]) || 100;

const agent = new Agent({ keepAlive: true, maxSockets: 1 });
function call(lab: Lab, method: string, path: string, body?: unknown): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const text = body === undefined ? '' : JSON.stringify(body);
    const headers = { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text) };
    const req = request({ socketPath: lab.socket, method, path, agent, headers }, (res) => {
      let answer = '';
      res.on('data', (chunk: Buffer) => (answer += chunk.toString()));
      res.on('end', () =>
        (res.statusCode ?? 500) < 300 ? resolve(answer === '' ? undefined : JSON.parse(answer)) : reject(new Error(answer)),
      );
    });
    req.on('error', reject);
    req.end(text);
  });
}

async function networks(lab: Lab): Promise<Figure[]> {
  const create: number[] = [];
  const remove: number[] = [];
  for (let i = 0; i < rounds; i++) {
    create.push(await timed(() => call(lab, 'POST', '/networks/create', { Name: `bench${i}` })));
    remove.push(await timed(() => call(lab, 'DELETE', `/networks/bench${i}`)));
  }
  const floor = await bridgeFloor(openNetns(`/run/netns/${lab.host}`), rounds);
  return [
    {
      name: 'network create',
      ms: median(create),
      floor: median(floor.create),
      what: 'bridge, address, up, one iptables-restore a family',
    },
    {
      name: 'network rm',
      ms: median(remove),
      floor: median(floor.remove),
      what: 'bridge out of service, one iptables-restore a family',
    },
  ];
}

async function attach(lab: Lab): Promise<Figure[]> {
  for (const name of ['first', 'second']) await call(lab, 'POST', '/networks/create', { Name: name });
  const firsts: number[] = [];
  for (let i = 0; i < Math.min(rounds, 50); i++) {
    firsts.push(await timed(() => call(lab, 'POST', '/sandboxes/create', { Name: `f${i}`, Networks: { first: {} } })));
    await call(lab, 'DELETE', `/sandboxes/f${i}`);
  }
  await call(lab, 'POST', '/sandboxes/create', { Name: 'box', Networks: { first: {} } });
  const connect: number[] = [];
  const disconnect: number[] = [];
  for (let i = 0; i < rounds; i++) {
    connect.push(await timed(() => call(lab, 'POST', '/networks/second/connect', { Container: 'box' })));
    disconnect.push(await timed(() => call(lab, 'POST', '/networks/second/disconnect', { Container: 'box' })));
  }
  await call(lab, 'DELETE', '/sandboxes/box');
  const floor = await vethFloor(openNetns(`/run/netns/${lab.host}`), openNetns(`/run/netns/${lab.outside}`), rounds);
  return [
    {
      name: 'connect',
      ms: median(connect),
      floor: median(floor.attach),
      what: 'veth with its peer in the sandbox, address, up, port',
    },
    { name: 'disconnect', ms: median(disconnect), floor: median(floor.detach), what: 'both ends down, no master, renamed' },
    { name: 'sandbox create with its first network', ms: median(firsts), floor: median(floor.attach), what: 'the same veth' },
  ];
}

async function publish(lab: Lab): Promise<Figure[]> {
  const bindings = Object.fromEntries(
    Array.from({ length: 100 }, (_, i) => [`${1000 + i}/tcp`, [{ HostPort: String(20_000 + i) }]]),
  );
  const take = async (PortBindings: object): Promise<{ create: number; remove: number }> => {
    const create: number[] = [];
    const remove: number[] = [];
    for (let i = 0; i < Math.min(rounds, 20); i++) {
      create.push(
        await timed(() => call(lab, 'POST', '/sandboxes/create', { Name: 'ports', Networks: { first: {} }, PortBindings })),
      );
      remove.push(await timed(() => call(lab, 'DELETE', '/sandboxes/ports')));
    }
    return { create: median(create), remove: median(remove) };
  };
  const bare = await take({});
  const full = await take(bindings);
  const floor = await portsFloor(openNetns(`/run/netns/${lab.host}`), 100, Math.min(rounds, 20));
  return [
    {
      name: 'publish 100 ports',
      ms: full.create - bare.create,
      floor: median(floor.add),
      what: 'one iptables-restore with 200 rules',
    },
    {
      name: 'withdraw 100 ports',
      ms: full.remove - bare.remove,
      floor: median(floor.remove),
      what: 'one iptables-restore that removes them',
    },
  ];
}

/** Queries a second, by dnsperf inside the sandbox's namespace. */
async function queries(netns: string, port: number, folder: string): Promise<number> {
  writeFileSync(join(folder, 'dnsperf'), 'target A\n');
  const args = [
    `--net=${netns}`,
    'dnsperf',
    '-s',
    '127.0.0.11',
    '-p',
    String(port),
    '-d',
    join(folder, 'dnsperf'),
    '-c',
    '10',
    '-T',
    '1',
    '-q',
    '100',
    '-l',
    '3',
  ];
  const { stdout } = await execa('nsenter', args);
  return Number(/Queries per second:\s+([\d.]+)/.exec(stdout)?.[1]);
}

async function names(lab: Lab): Promise<Figure[]> {
  for (const Name of ['target', 'asker']) await call(lab, 'POST', '/sandboxes/create', { Name, Networks: { first: {} } });
  const asker = (await call(lab, 'GET', '/sandboxes/asker')) as { Netns: string };
  const echo = await dnsFloor(asker.Netns);
  const ours: number[] = [];
  const floor: number[] = [];
  for (let i = 0; i < 3; i++) {
    ours.push(await queries(asker.Netns, 53, lab.folder));
    floor.push(await queries(asker.Netns, echo.port, lab.folder));
  }
  echo.close();
  for (const name of ['target', 'asker']) await call(lab, 'DELETE', `/sandboxes/${name}`);
  return [
    {
      name: 'local DNS name',
      perSecond: median(ours),
      floor: median(floor),
      what: 'dgram on one thread that patches the question',
    },
  ];
}

async function command(lab: Lab): Promise<Figure[]> {
  const ours: number[] = [];
  const args = [join(DIST, 'network.js'), '--host', `unix://${lab.socket}`, 'ls'];
  const once = (words: readonly string[]): Promise<number> =>
    timed(() => new Promise((resolve) => spawn(process.execPath, words, { stdio: 'ignore' }).once('exit', resolve)));
  const floor: number[] = [];
  for (let i = 0; i < Math.min(rounds, 30); i++) {
    ours.push(await once(args));
    floor.push(await processFloor());
  }
  return [{ name: 'network ls, whole process', ms: median(ours), floor: median(floor), what: 'node -e 0' }];
}

async function main(): Promise<void> {
  const lab = await Lab.open();
  try {
    process.stdout.write(
      `Node ${process.version}, Linux ${release()}, ${cpus().length} × ${cpus()[0]?.model ?? ''}, ${rounds} rounds, medians\n\n`,
    );
    const figures: Figure[] = [];
    for (const part of [networks, attach, publish, names, command]) figures.push(...(await part(lab)));
    print(figures);
  } finally {
    agent.destroy();
    await lab.close();
  }
}

await main();
