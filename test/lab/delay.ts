/**
 * Lateness of one port of the wire: by the kernel's netem where there is one, else by a program that carries each frame
 * between two taps and keeps it for a while. Either way frames stay in their order.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import type { Commands } from './commands.ts';
import { PROGRAMS } from './places.ts';

export interface DelayedPort {
  readonly commands: Commands;
  /** Namespace of the bridge. */
  readonly namespace: string;
  /** Port of the bridge that leads to the place. */
  readonly port: string;
  readonly lan: string;
}

export interface Delay {
  readonly by: 'netem' | 'program';
  /** The port is as before. */
  close(): Promise<void>;
}

/** Longest wait for the program to have both taps, milliseconds. */
const READY_MS = 10_000;

export async function delayPort(at: DelayedPort, ms: number): Promise<Delay> {
  return (await byNetem(at, ms)) ?? (await byProgram(at, ms));
}

/** Undefined where the kernel has none. Frames to the place wait at its port, those from it at a link that mirrors them. */
async function byNetem({ commands, namespace, port }: DelayedPort, ms: number): Promise<Delay | undefined> {
  const tc = (words: string) => commands.run('tc', ['-n', namespace, ...words.split(' ')]);
  if ((await tc(`qdisc add dev ${port} root netem delay ${ms}ms limit 100000`)).exitCode !== 0) return undefined;
  const ifb = `i-${port}`;
  const steps = [
    `qdisc add dev ${ifb} root netem delay ${ms}ms limit 100000`,
    `qdisc add dev ${port} clsact`,
    `filter add dev ${port} ingress matchall action mirred egress redirect dev ${ifb}`,
  ];
  const ip = (words: string) => commands.run('ip', ['-n', namespace, ...words.split(' ')]);
  const close = async (): Promise<void> => {
    await tc(`qdisc del dev ${port} clsact`);
    await ip(`link del ${ifb}`);
    await tc(`qdisc del dev ${port} root`);
  };
  let isWhole = (await ip(`link add ${ifb} up type ifb`)).exitCode === 0;
  for (const step of steps) isWhole &&= (await tc(step)).exitCode === 0;
  if (isWhole) return { by: 'netem', close };
  await close();
  return undefined;
}

async function byProgram({ commands, namespace, port, lan }: DelayedPort, ms: number): Promise<Delay> {
  const ip = (words: string) => commands.ok('ip', ['-n', namespace, ...words.split(' ')]);
  const [own, near, far] = [`d-${port}`, `n-${port}`, `f-${port}`];
  const args = [`--net=/run/netns/${namespace}`, process.execPath, join(PROGRAMS, 'delay.mjs'), near, far, String(ms)];
  const child = spawn('nsenter', args, { stdio: ['pipe', 'pipe', 'inherit'], detached: true });
  const close = async (): Promise<void> => {
    await endChild(child);
    await ip(`link set ${port} master ${lan}`);
    await commands.run('ip', ['-n', namespace, 'link', 'del', own]);
  };
  try {
    await isReady(child);
    await ip(`link add ${own} up type bridge mcast_snooping 0`);
    await ip(`link set ${near} master ${own} up`);
    await ip(`link set ${far} master ${lan} up`);
    await ip(`link set ${port} master ${own}`);
    return { by: 'program', close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** It prints a line when it has both taps. */
async function isReady(child: ChildProcess): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('the program that delays frames is not ready')), READY_MS);
    child.stdout?.once('data', () => (clearTimeout(timer), resolve()));
    child.once('exit', (code) => (clearTimeout(timer), reject(new Error(`the program that delays frames ended with ${code}`))));
  });
}

async function endChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.kill('SIGKILL');
  await gone;
}
