/** The same work done by a real engine, and the same question asked of another resolver, in the same minutes. */

import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { Engine } from './engine.ts';
import { type PeerFigure, median, timed } from './figures.ts';
import { ask } from './names.ts';
import { type Peers, fetchPeers } from './peer-packages.ts';

const PUBLISHES = 3;
const MOST_ROUNDS = 20;
const REPEATS = 3;
const ANSWER_MS = 10_000;

export async function peers(rounds: number): Promise<PeerFigure[]> {
  const fetched = await fetchPeers();
  return [...(await engineFigures(fetched, Math.min(rounds, MOST_ROUNDS))), ...(await aardvarkFigures(fetched))];
}

async function engineFigures(fetched: Peers, rounds: number): Promise<PeerFigure[]> {
  const engine = await Engine.open(fetched);
  try {
    const peer = `docker ${await engine.version()}`;
    const { client } = engine;
    const [create, remove, connect, disconnect]: number[][] = [[], [], [], []];
    for (let i = 0; i < rounds; i++) {
      create?.push(await timed(() => client.call('POST', '/networks/create', { Name: `bench${i}` })));
      remove?.push(await timed(() => client.call('DELETE', `/networks/bench${i}`)));
    }
    for (const name of ['first', 'second']) await client.call('POST', '/networks/create', { Name: name });
    for (const name of ['box', 'target'])
      await engine.docker('run', '-d', '--name', name, '--network', 'first', 'bb:1', 'sleep', '3600');
    for (let i = 0; i < rounds; i++) {
      connect?.push(await timed(() => client.call('POST', '/networks/second/connect', { Container: 'box' })));
      disconnect?.push(await timed(() => client.call('POST', '/networks/second/disconnect', { Container: 'box' })));
    }
    const bare = await starts(engine, []);
    const full = await starts(engine, ['-p', '20000-20099:1000-1099']);
    const many: number[] = [];
    const single: number[] = [];
    const netns = `/proc/${await engine.pidOf('box')}/ns/net`;
    for (let i = 0; i < REPEATS; i++) {
      many.push((await ask(netns, '127.0.0.11', 53, 'target', engine.folder)).perSecond);
      single.push((await ask(netns, '127.0.0.11', 53, 'target', engine.folder, 1, 1)).meanUs);
    }
    const of = (name: string, value: number): PeerFigure => ({ name, peer, value });
    return [
      of('network create', median(create ?? [])),
      of('network rm', median(remove ?? [])),
      of('connect', median(connect ?? [])),
      of('disconnect', median(disconnect ?? [])),
      of('publish 100 ports', full.start - bare.start),
      of('withdraw 100 ports', full.stop - bare.stop),
      of('local DNS name, 10 clients, 100 outstanding', median(many)),
      of('local DNS name, one question at a time', median(single)),
    ];
  } finally {
    await engine.close();
  }
}

/** Start and end of a container, milliseconds. */
async function starts(engine: Engine, ports: readonly string[]): Promise<{ start: number; stop: number }> {
  const start: number[] = [];
  const stop: number[] = [];
  for (let i = 0; i < PUBLISHES; i++) {
    await engine.docker('create', '--name', 'ports', '--network', 'first', ...ports, 'bb:1', 'sleep', '3600');
    start.push(await timed(() => engine.client.call('POST', '/containers/ports/start')));
    stop.push(await timed(() => engine.client.call('POST', '/containers/ports/kill')));
    stop[i] = (stop[i] ?? 0) + (await timed(() => engine.client.call('DELETE', '/containers/ports?force=1')));
  }
  return { start: median(start), stop: median(stop) };
}

/** netavark makes a network with two endpoints and starts aardvark-dns; the second asks for the first. */
async function aardvarkFigures({ folder }: Peers): Promise<PeerFigure[]> {
  const work = mkdtempSync('/tmp/pba-');
  const prefix = `pba-${randomBytes(3).toString('hex')}`;
  const [host, one, two] = [prefix, `${prefix}-1`, `${prefix}-2`];
  const podman = join(folder, 'usr/lib/podman');
  mkdirSync(join(work, 'config'));
  const netavark = (verb: string, name: string, address: string): Promise<unknown> =>
    execa(
      'nsenter',
      [
        `--net=/run/netns/${host}`,
        join(folder, 'usr/lib64/ld-linux-x86-64.so.2'),
        '--library-path',
        join(folder, 'usr/lib/x86_64-linux-gnu'),
        join(podman, 'netavark'),
        '--config',
        join(work, 'config'),
        '--aardvark-binary',
        join(podman, 'aardvark-dns'),
        verb,
        `/run/netns/${name}`,
      ],
      { input: JSON.stringify(wish(name, address)), env: { NETAVARK_FW: 'nftables' } },
    );
  try {
    for (const name of [host, one, two]) {
      await execa('ip', ['netns', 'add', name]);
      await execa('ip', ['-n', name, 'link', 'set', 'lo', 'up']);
    }
    await netavark('setup', one, '10.89.1.2');
    await netavark('setup', two, '10.89.1.3');
    await answers(`/run/netns/${two}`, one);
    const many: number[] = [];
    for (let i = 0; i < REPEATS; i++) many.push((await ask(`/run/netns/${two}`, '10.89.1.1', 53, one, work)).perSecond);
    const { stdout } = await execa(join(podman, 'aardvark-dns'), ['version'], { reject: false });
    const version = /"version":\s*"([^"]+)"/.exec(stdout)?.[1] ?? '';
    return [{ name: 'local DNS name, 10 clients, 100 outstanding', peer: `aardvark-dns ${version}`.trim(), value: median(many) }];
  } finally {
    for (const [name, address] of [
      [one, '10.89.1.2'],
      [two, '10.89.1.3'],
    ] as const)
      await netavark('teardown', name, address).catch(() => undefined);
    for (const name of [one, two, host]) await execa('ip', ['netns', 'del', name], { reject: false });
    rmSync(work, { recursive: true, force: true });
  }
}

async function answers(netns: string, name: string): Promise<void> {
  const deadline = performance.now() + ANSWER_MS;
  for (;;) {
    const { stdout } = await execa('nsenter', [`--net=${netns}`, 'dig', '+short', '+time=1', '@10.89.1.1', name], {
      reject: false,
    });
    if (stdout.includes('10.89.1.')) return;
    if (performance.now() > deadline) throw new Error('aardvark-dns does not answer');
    await sleep(100);
  }
}

const hex = (text: string): string => Buffer.from(text).toString('hex').padStart(64, '0').slice(-64);

const wish = (name: string, address: string): object => ({
  container_id: hex(name),
  container_name: name,
  port_mappings: [],
  networks: { n1: { static_ips: [address], interface_name: 'eth0', aliases: [] } },
  network_info: {
    n1: {
      id: hex('n1'),
      name: 'n1',
      driver: 'bridge',
      network_interface: 'nv1',
      subnets: [{ subnet: '10.89.1.0/24', gateway: '10.89.1.1' }],
      ipv6_enabled: false,
      internal: false,
      dns_enabled: true,
      ipam_options: { driver: 'host-local' },
      options: {},
    },
  },
});
