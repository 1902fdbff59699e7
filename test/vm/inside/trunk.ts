/** A trunk: `eth0` of a machine in a namespace, whose other side, outside, is the plain link `lan0`; and what is heard there. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { execa } from 'execa';
import { expect } from 'vitest';

/** For a capture to begin or end on emulated processors, milliseconds. */
const TAP_MS = 60_000;

/** Lays the trunk between two namespaces by their names. It goes with either of them. */
export async function plugTrunk(host: string, outside: string): Promise<void> {
  await execa('ip', ['-n', host, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'lan0', 'netns', outside]);
  await execa('ip', ['-n', outside, 'link', 'set', 'lan0', 'up']);
  await execa('ip', ['-n', host, 'link', 'set', 'eth0', 'up']);
}

/** A VLAN of the trunk as the peer has it, with its addresses. It goes with the trunk. */
export async function peerVlan(outside: string, id: number, ...prefixes: readonly string[]): Promise<void> {
  const name = `lan0.${id}`;
  await execa('ip', ['-n', outside, 'link', 'add', 'link', 'lan0', 'name', name, 'type', 'vlan', 'id', String(id)]);
  for (const prefix of prefixes) await execa('ip', ['-n', outside, 'addr', 'add', prefix, 'dev', name]);
  await execa('ip', ['-n', outside, 'link', 'set', name, 'up']);
}

/** A frame with an echo request or reply, as it was on the plain link. */
export interface Frame {
  readonly from: string;
  readonly to: string;
  /** Tag of 802.1Q; undefined when there is none. */
  readonly vlan: number | undefined;
  /** `10.0.0.2 > 10.0.0.1: ICMP echo request`. */
  readonly text: string;
}

/** Echo requests and replies that pass the peer's plain link while `work` runs. */
export async function heard(outside: string, work: () => Promise<unknown>): Promise<Frame[]> {
  const words = [`--net=/run/netns/${outside}`, 'tcpdump', '-i', 'lan0', '-nelU', '--immediate-mode'];
  const tap = spawn('nsenter', words, { stdio: ['ignore', 'pipe', 'pipe'] });
  let [text, complaint] = ['', ''];
  tap.stdout.on('data', (data: Buffer) => (text += data.toString()));
  try {
    await new Promise<void>((resolve, reject) => {
      tap.stderr.on('data', (data: Buffer) => {
        complaint += data.toString();
        if (complaint.includes('listening on')) resolve();
      });
      tap.once('exit', (code) => reject(new Error(`tcpdump ended with ${code}: ${complaint}`)));
    });
    await work();
  } finally {
    await end(tap);
  }
  return text.split('\n').flatMap(frameOf);
}

async function end(tap: ChildProcess): Promise<void> {
  if (tap.exitCode !== null || tap.signalCode !== null) return;
  const gone = once(tap, 'close', { signal: AbortSignal.timeout(TAP_MS) });
  tap.kill('SIGINT');
  await gone;
}

/** `TIME MAC > MAC, ethertype 802.1Q (0x8100), length 102: vlan 100, p 0, ethertype IPv4 (0x0800), ADDRESS > ADDRESS: ICMP echo …`. */
function frameOf(line: string): Frame[] {
  const [, from, to, rest = ''] = /^\S+ ([0-9a-f:]{17}) > ([0-9a-f:]{17}), (.*)$/.exec(line) ?? [];
  const text = /\S+ > \S+: ICMP6?,? echo (?:request|reply)/.exec(rest)?.[0];
  if (from === undefined || to === undefined || text === undefined) return [];
  const tag = /^ethertype 802\.1Q \(0x8100\), length \d+: vlan (\d+),/.exec(rest)?.[1];
  return [{ from, to, vlan: tag === undefined ? undefined : Number(tag), text }];
}

/** Every echo between two addresses has the tag, and there are both ways of it. */
export function expectTagged(frames: readonly Frame[], vlan: number, one: string, other: string): void {
  const between = frames.filter(({ text }) => text.includes(one) && text.includes(other));
  expect(between.map(({ text }) => text)).toEqual(
    expect.arrayContaining([`${one} > ${other}: ICMP echo request`, `${other} > ${one}: ICMP echo reply`]),
  );
  expect(between.filter((frame) => frame.vlan !== vlan)).toEqual([]);
}
