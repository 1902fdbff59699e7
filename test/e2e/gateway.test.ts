/**
 * A sandbox in two networks whose gateway changes again and again: published ports follow at once, and nobody else
 * gets the host port meanwhile.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { SandboxAnswer } from '../../src/base/index.ts';
import { quantile } from '../bench/figures.ts';
import { Lab, WIRE, waitUntil } from './lab.ts';

const PORT = 8095;
const ELECTIONS = 50;
/** Answers each line with itself and the address that it came to. */
const ECHO = `require('net').createServer(s=>{s.on('error',()=>{});s.on('data',d=>s.write(s.localAddress.replace('::ffff:','')+' '+d))}).listen(80,'::')`;
/** Tries to bind the port on every address, for ever; says so when it has it, and how often it tried when asked. */
const THIEF = `
  const net = require('net');
  let tries = 0;
  const attempt = (host) => {
    tries++;
    const server = net.createServer();
    server.on('error', (e) => (e.code === 'EADDRINUSE' ? setImmediate(attempt, host) : console.log('error ' + e.code)));
    server.listen({ port: ${PORT}, host, ipv6Only: true }, () => console.log('won ' + host));
  };
  process.stdin.on('data', () => console.log('tries ' + tries));
  for (const host of ['0.0.0.0', '::', '127.0.0.1', '${WIRE.host}']) attempt(host);
  console.log('up');`;
/**
 * Sends a number until it comes back, then the next one; opens a new connection when the old one is cut. Prints what comes, and
 * the milliseconds since the answer before.
 */
const STREAM = `
  let n = 0;
  let last = performance.now();
  const open = () => {
    const socket = require('net').connect(${PORT}, '${WIRE.host}', () => socket.write(n + '\\n'));
    let text = '';
    socket.on('data', (d) => {
      text += d;
      if (!text.endsWith('\\n')) return;
      console.log(text.trim() + ' ' + (performance.now() - last).toFixed(0));
      last = performance.now();
      text = '';
      n++;
      setTimeout(() => socket.writable && socket.write(n + '\\n'), 20);
    });
    socket.on('error', () => {}).on('close', () => setTimeout(open, 20));
  };
  open();`;

let lab: Lab;
const children: ChildProcess[] = [];
beforeAll(async () => {
  lab = await Lab.open();
  await lab.ok('create', '--ipv6', '--subnet', '10.91.0.0/24', 'low');
  await lab.ok('create', '--ipv6', '--subnet', '10.92.0.0/24', 'high');
  await lab.ok('run', '-d', '--name', 'box', '--network', 'low', '-p', `${PORT}:80`, '--', process.execPath, '-e', ECHO);
  await waitUntil(async () => (await asked()).startsWith('10.91.'), 20_000);
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});
afterAll(async () => {
  await lab.close();
});

/** What a program prints, from its first line on. */
async function printed(where: 'host' | 'outside', script: string): Promise<{ lines: string[]; child: ChildProcess }> {
  const child = spawn('nsenter', [`--net=/run/netns/${lab[where]}`, process.execPath, '-e', script], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  children.push(child);
  const lines: string[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => lines.push(line));
  await waitUntil(() => lines.length > 0, 15_000);
  return { lines, child };
}

/** One new connection from outside: the address inside that it led to. */
async function asked(address: string = WIRE.host): Promise<string> {
  const script = `const s=require('net').connect(${PORT},'${address}',()=>s.write('x\\n'));s.on('data',d=>{console.log(String(d).trim());process.exit()});s.on('error',e=>{console.log(e.code);process.exit()});setTimeout(()=>{console.log('hangs');process.exit()},10000)`;
  return (await lab.in('outside', process.execPath, '-e', script)).stdout;
}

async function elect(network: 'low' | 'high'): Promise<void> {
  const [verb, body] =
    network === 'high'
      ? (['connect', { Container: 'box', EndpointConfig: { GwPriority: 10 } }] as const)
      : (['disconnect', { Container: 'box' }] as const);
  const { status, json } = await lab.api('POST', `/networks/high/${verb}`, body);
  expect([status, json]).toEqual([200, undefined]);
}

const published = async (): Promise<SandboxAnswer['Ports']> => (await lab.api<SandboxAnswer>('GET', '/sandboxes/box')).json.Ports;

const routeOut = async (): Promise<string> => {
  const { Netns } = (await lab.api<SandboxAnswer>('GET', '/sandboxes/box')).json;
  return (await lab.in('host', 'nsenter', `--net=${Netns}`, 'ip', 'route', 'show', 'default')).stdout;
};

test(
  `through ${ELECTIONS} elections new connections follow, and nobody else gets the host port`,
  { timeout: 300_000 },
  async () => {
    const ports = await published();
    const { lines, child } = await printed('host', THIEF);
    for (let i = 0; i < ELECTIONS; i++) {
      const [network, subnet] = i % 2 === 0 ? (['high', '10.92.0.'] as const) : (['low', '10.91.0.'] as const);
      await elect(network);
      expect(await asked(), `election ${i}`).toContain(subnet);
      if (i % 10 === 0) expect(await asked(WIRE.host6), `election ${i}`).toMatch(/^fd/);
      expect(await routeOut(), `election ${i}`).toContain(`default via ${subnet}1 `);
      expect(await published()).toEqual(ports);
    }
    child.stdin?.write('?');
    await waitUntil(() => lines.some((line) => line.startsWith('tries')), 15_000);
    expect(Number(lines.find((line) => line.startsWith('tries'))?.split(' ')[1])).toBeGreaterThan(ELECTIONS * 10);
    expect(lines.filter((line) => !/^(up|tries)/.test(line))).toEqual([]);
  },
);

test(
  `a connection that is there is cut, not left hanging, and a client that connects again goes on, ${ELECTIONS} times`,
  { timeout: 300_000 },
  async () => {
    const { lines: stolen } = await printed('host', THIEF);
    const { lines } = await printed('outside', STREAM);
    const gaps: number[] = [];
    for (let i = 0; i < ELECTIONS; i++) {
      const [network, subnet] = i % 2 === 0 ? (['high', '10.92.'] as const) : (['low', '10.91.'] as const);
      const before = lines.length;
      await elect(network);
      await waitUntil(() => lines.slice(before).filter((line) => line.startsWith(subnet)).length > 3, 30_000).catch(
        async (error) => {
          const flows = (await lab.in('host', 'conntrack', '-L', '-p', 'tcp')).stdout;
          const sockets = (await lab.in('outside', 'ss', '-tno')).stdout;
          throw new Error(
            `election ${i} of ${network}: ${lines.slice(-3).join(', ')}\n${flows}\n${sockets}\n${lab.log.slice(-2000)}`,
            {
              cause: error,
            },
          );
        },
      );
      gaps.push(Math.max(...lines.slice(before).map((line) => Number(line.split(' ')[2]))));
    }
    process.stdout.write(`silence at an election: p50 ${quantile(gaps, 0.5)} ms, longest ${quantile(gaps, 1)} ms\n`);
    expect(lines.map((line) => line.split(' ')[1])).toEqual(lines.map((_, n) => String(n)));
    expect(stolen).toEqual(['up']);
  },
);
