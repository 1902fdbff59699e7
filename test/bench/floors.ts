/** The bare kernel sequences: what no implementation on this machine can be under, with nothing recorded and nothing checked. */

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Address, Prefix } from '../../src/base/index.ts';
import { type Netns, markOf, newInstanceId } from '../../src/kernel/index.ts';
import { timed } from './figures.ts';

const mark = markOf(newInstanceId());

/** One spawn of a restore tool inside the namespace, fed with `lines`. */
function restore(host: Netns, tool: string, lines: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = host.run(() => spawn(tool, ['--noflush', '-w'], { stdio: ['pipe', 'ignore', 'inherit'] }));
    child.once('exit', (code) => (code === 0 ? resolve() : reject(new Error(`${tool} ended with ${code}`))));
    child.stdin.end(`${lines.join('\n')}\n`);
  });
}

/** About as many rules as one network needs. */
const RULES = Array.from({ length: 12 }, (_, i) => `FLOOR -s 10.250.${i}.0/24 -j RETURN`);

export async function bridgeFloor(host: Netns, rounds: number): Promise<{ create: number[]; remove: number[] }> {
  const rtnl = host.rtnl();
  const [create, remove]: [number[], number[]] = [[], []];
  await restore(host, 'iptables-restore', ['*filter', ':FLOOR - [0:0]', 'COMMIT']);
  for (let i = 0; i < rounds; i++) {
    const name = `floor${i}`;
    const index = 500_000 + i;
    create.push(
      await timed(async () => {
        await rtnl.batch([
          { op: 'link.add', spec: { kind: 'bridge', name, index, group: mark.liveGroup } },
          { op: 'address.add', spec: { link: index, prefix: '10.250.0.1/24' as Prefix } },
          { op: 'link.set', at: { index }, change: { up: true } },
        ]);
        await restore(host, 'iptables-restore', ['*filter', ...RULES.map((rule) => `-A ${rule}`), 'COMMIT']);
      }),
    );
    remove.push(
      await timed(async () => {
        await rtnl.batch([
          { op: 'link.set', at: { index }, change: { up: false } },
          { op: 'link.set', at: { index }, change: { name: `gone${i}`, group: mark.deadGroup } },
        ]);
        await restore(host, 'iptables-restore', ['*filter', ...RULES.map((rule) => `-D ${rule}`), 'COMMIT']);
      }),
    );
    await rtnl.batchOffThread([{ op: 'link.remove', at: { index } }]);
  }
  return { create, remove };
}

export async function vethFloor(host: Netns, sandbox: Netns, rounds: number): Promise<{ attach: number[]; detach: number[] }> {
  const [outer, inner] = [host.rtnl(), sandbox.rtnl()];
  const [attach, detach]: [number[], number[]] = [[], []];
  const bridge = 600_000;
  await outer.batch([{ op: 'link.add', spec: { kind: 'bridge', name: 'floorbr', index: bridge, up: true } }]);
  for (let i = 0; i < rounds; i++) {
    const [here, there] = [610_000 + i, 620_000 + i];
    attach.push(
      await timed(async () => {
        await outer.batch([
          {
            op: 'link.add',
            spec: {
              kind: 'veth',
              name: `fl${i}`,
              index: here,
              master: bridge,
              peer: { name: 'eth9', index: there, netns: sandbox },
            },
          },
        ]);
        await inner.batch([
          { op: 'address.add', spec: { link: there, prefix: '10.251.0.2/24' as Prefix } },
          { op: 'link.set', at: { index: there }, change: { up: true } },
          { op: 'route.replace', spec: { family: 4, destination: '10.252.0.0/24' as Prefix, gateway: '10.251.0.1' as Address } },
        ]);
        await outer.batch([{ op: 'link.set', at: { index: here }, change: { up: true } }]);
      }),
    );
    detach.push(
      await timed(async () => {
        await outer.batch([
          { op: 'link.set', at: { index: here }, change: { up: false } },
          { op: 'link.set', at: { index: here }, change: { master: 0, name: `gone${i}` } },
        ]);
        await inner.batch([
          { op: 'link.set', at: { index: there }, change: { up: false } },
          { op: 'link.set', at: { index: there }, change: { name: `gone${i}` } },
        ]);
      }),
    );
    await outer.batchOffThread([{ op: 'link.remove', at: { index: here } }]);
  }
  await outer.batchOffThread([{ op: 'link.remove', at: { index: bridge } }]);
  return { attach, detach };
}

export async function portsFloor(host: Netns, count: number, rounds: number): Promise<{ add: number[]; remove: number[] }> {
  const [add, remove]: [number[], number[]] = [[], []];
  const rules = Array.from({ length: count }, (_, i) => ({
    nat: `-p tcp -m tcp --dport ${30_000 + i} -j DNAT --to-destination 10.253.0.2:${i + 1}`,
    filter: `-d 10.253.0.2/32 -p tcp -m tcp --dport ${i + 1} -j ACCEPT`,
  }));
  for (let i = 0; i < rounds; i++) {
    add.push(
      await timed(() =>
        restore(host, 'iptables-restore', [
          '*filter',
          ':FLOORP - [0:0]',
          ...rules.map((r) => `-A FLOORP ${r.filter}`),
          'COMMIT',
          '*nat',
          ':FLOORP - [0:0]',
          ...rules.map((r) => `-A FLOORP ${r.nat}`),
          'COMMIT',
        ]),
      ),
    );
    remove.push(
      await timed(() =>
        restore(host, 'iptables-restore', [
          '*nat',
          '-F FLOORP',
          '-X FLOORP',
          'COMMIT',
          '*filter',
          '-F FLOORP',
          '-X FLOORP',
          'COMMIT',
        ]),
      ),
    );
  }
  return { add, remove };
}

const ECHO = `const s=require('dgram').createSocket('udp4');s.on('message',(m,r)=>{const a=Buffer.concat([m.subarray(0,12),m.subarray(12,24),Buffer.from([0xc0,12,0,1,0,1,0,0,2,88,0,4,10,0,0,1])]);a[2]=0x85;a[3]=0x80;a.writeUInt16BE(1,6);a.writeUInt32BE(0,8);s.send(a,r.port,r.address)});s.bind(0,'127.0.0.11',()=>console.log(s.address().port))`;

/** A server on one thread that appends a fixed answer to the question. */
export async function dnsFloor(netns: string): Promise<{ port: number; close(): void }> {
  const child = spawn('nsenter', [`--net=${netns}`, process.execPath, '-e', ECHO]);
  const line = await new Promise<string>((resolve) => createInterface({ input: child.stdout }).once('line', resolve));
  return { port: Number(line), close: () => void child.kill('SIGKILL') };
}

export const processFloor = (): Promise<number> =>
  timed(() => new Promise((resolve) => spawn(process.execPath, ['-e', '0'], { stdio: 'ignore' }).once('exit', resolve)));
