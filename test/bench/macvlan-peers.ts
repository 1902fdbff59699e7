/** Attaching to a macvlan beside netavark and the CNI plugin, and what passes over ours beside a hand-made one, in one run. */

import { spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { Lab } from '../e2e/lab.ts';
import { Client } from './client.ts';
import { type Figure, type PeerFigure, median, timed } from './figures.ts';
import { type Peers, fetchPeers } from './peer-packages.ts';

const MOST_ROUNDS = 50;
/** Attaches of one before the next one has its turn. */
const TURN = 5;
/** Attaches of ours before any is counted: a daemon lives long, its peers start anew each time. */
const WARM_UP = 200;
/** An even number: who goes first changes with each. */
const PASSES = 20;
const PASS_S = 1;
const SUBNET = '10.254.0.0/24';
const ROUTER = '10.254.0.254';
/** One pass. Cubic: it does not take a pause of the machine for one of the path, as BBR does, whose pace is by the clock. */
const STREAM = ['iperf3', '-c', ROUTER, '-t', String(PASS_S), '-J', '-C', 'cubic'];
const ADDRESS = '10.254.0.77';
const ATTACH = 'attach to macvlan';
const DETACH = 'detach from macvlan';
const PASS = 'what passes over macvlan';

/** Mbit/s of each pass. */
interface Passed {
  readonly ours: number[];
  readonly byHand: number[];
}

export async function macvlanPeers(rounds: number): Promise<{ readonly ours: Figure[]; readonly peers: PeerFigure[] }> {
  const packages = await fetchPeers();
  const lab = await Lab.open();
  const client = new Client(lab.socket);
  const peer = `${lab.prefix}-peer`;
  try {
    await execa('ip', ['netns', 'add', peer]);
    await ready(lab, client, peer);
    const taken = await attaches(lab, client, packages, peer, Math.min(rounds, MOST_ROUNDS));
    const passed = await passes(lab, client, peer);
    const ours = (key: keyof typeof taken): number => median(taken[key]);
    return {
      ours: [
        { name: ATTACH, unit: 'ms', value: ours('connect'), goal: '≤ 4' },
        { name: `${ATTACH}, the first of a turn`, unit: 'ms', value: ours('first') },
        { name: DETACH, unit: 'ms', value: ours('disconnect') },
        { name: PASS, unit: 'Mbit/s', value: median(passed.ours) },
        { name: `${PASS}, by that of the pass beside it`, unit: '×', value: median(pairs(passed)), goal: '≥ 0.98' },
      ],
      peers: [
        { name: ATTACH, peer: 'netavark setup', value: ours('setup') },
        { name: DETACH, peer: 'netavark teardown', value: ours('teardown') },
        { name: ATTACH, peer: 'CNI macvlan ADD', value: ours('add') },
        { name: DETACH, peer: 'CNI macvlan DEL', value: ours('del') },
        { name: PASS, peer: 'macvlan made by hand', value: median(passed.byHand) },
      ],
    };
  } finally {
    client.close();
    await execa('ip', ['netns', 'del', peer], { reject: false });
    await lab.close();
  }
}

/** A wire to the outside world, whose end there is the router. */
async function ready(lab: Lab, client: Client, peer: string): Promise<void> {
  const must = async (where: 'host' | 'outside', script: string): Promise<void> => {
    const { exitCode, stderr } = await lab.in(where, 'sh', '-c', script);
    if (exitCode !== 0) throw new Error(`${script}: ${stderr}`);
  };
  await must('host', `ip link add lan0 type veth peer name lan1 netns ${lab.outside} && ip link set lan0 up`);
  await must('outside', `ip link set lan1 up && ip addr add ${ROUTER}/24 dev lan1`);
  await execa('ip', ['-n', peer, 'link', 'set', 'lo', 'up']);
  await client.call('POST', '/networks/create', { Name: 'beside' });
  const IPAM = { Config: [{ Subnet: SUBNET, Gateway: ROUTER }] };
  await client.call('POST', '/networks/create', { Name: 'lan', Driver: 'macvlan', Options: { parent: 'lan0' }, IPAM });
  await client.call('POST', '/sandboxes/create', { Name: 'lanbox', Networks: { beside: {} } });
}

/** By turns of some, so that all have the same machine. The first of each turn finds the others' work in the processor's caches. */
async function attaches(lab: Lab, client: Client, packages: Peers, peer: string, rounds: number) {
  const taken = { first: [], connect: [], disconnect: [], setup: [], teardown: [], add: [], del: [] } as Record<
    'first' | 'connect' | 'disconnect' | 'setup' | 'teardown' | 'add' | 'del',
    number[]
  >;
  const ours = (verb: string) => () => client.call('POST', `/networks/lan/${verb}`, { Container: 'lanbox' });
  const netavark = netavarkOn(lab, packages, peer);
  const cni = cniOn(lab, packages, peer);
  const works = [
    ['connect', ours('connect'), 'disconnect', ours('disconnect')],
    ['setup', () => netavark('setup'), 'teardown', () => netavark('teardown')],
    ['add', () => cni('ADD'), 'del', () => cni('DEL')],
  ] as const;
  for (let i = 0; i < WARM_UP; i++) {
    await ours('connect')();
    await ours('disconnect')();
  }
  for (let i = 0; i < rounds; i += TURN) {
    for (const [attach, doAttach, detach, doDetach] of works) {
      for (let turn = 0; turn < TURN; turn++) {
        const ms = await timed(doAttach);
        taken[attach].push(ms);
        if (attach === 'connect' && turn === 0) taken.first.push(ms);
        taken[detach].push(await timed(doDetach));
      }
    }
  }
  return taken;
}

function netavarkOn(lab: Lab, { folder }: Peers, peer: string): (verb: string) => Promise<unknown> {
  const config = join(lab.folder, 'netavark');
  mkdirSync(config);
  const library = [join(folder, 'usr/lib64/ld-linux-x86-64.so.2'), '--library-path', join(folder, 'usr/lib/x86_64-linux-gnu')];
  const input = JSON.stringify({
    container_id: 'a'.repeat(64),
    container_name: 'peer',
    networks: { lan: { static_ips: [ADDRESS], interface_name: 'eth0' } },
    network_info: {
      lan: {
        name: 'lan',
        id: 'b'.repeat(64),
        driver: 'macvlan',
        network_interface: 'lan0',
        subnets: [{ subnet: SUBNET, gateway: ROUTER }],
        ipv6_enabled: false,
        internal: false,
        dns_enabled: false,
        ipam_options: { driver: 'host-local' },
      },
    },
  });
  const program = [...library, join(folder, 'usr/lib/podman/netavark'), '--config', config];
  return (verb) => execa('nsenter', [`--net=/run/netns/${lab.host}`, ...program, verb, `/run/netns/${peer}`], { input });
}

function cniOn(lab: Lab, { folder }: Peers, peer: string): (verb: string) => Promise<unknown> {
  const plugins = join(folder, 'usr/lib/cni');
  const input = JSON.stringify({
    cniVersion: '1.0.0',
    name: 'lan',
    type: 'macvlan',
    master: 'lan0',
    mode: 'bridge',
    ipam: { type: 'static', addresses: [{ address: `${ADDRESS}/24`, gateway: ROUTER }], routes: [{ dst: '0.0.0.0/0' }] },
  });
  const env = { CNI_CONTAINERID: 'peer', CNI_NETNS: `/run/netns/${peer}`, CNI_IFNAME: 'eth0', CNI_PATH: plugins };
  return (CNI_COMMAND) =>
    execa('nsenter', [`--net=/run/netns/${lab.host}`, join(plugins, 'macvlan')], { input, env: { ...env, CNI_COMMAND } });
}

/** Each of ours by the one made by hand that ran just before or after it: what the machine does meanwhile strikes both. */
const pairs = ({ ours, byHand }: Passed): number[] => ours.map((value, i) => value / (byHand[i] ?? Number.NaN));

/** One stream to the router, by turns, Mbit/s. */
async function passes(lab: Lab, client: Client, peer: string): Promise<Passed> {
  await client.call('POST', '/networks/lan/connect', { Container: 'lanbox' });
  const netns = await lab.ok('sandbox', 'inspect', '--format', '{{.Netns}}', 'lanbox');
  const byHand = `ip link add byhand link lan0 netns ${peer} type macvlan mode bridge`;
  const dress = `ip -n ${peer} addr add ${ADDRESS}/24 dev byhand && ip -n ${peer} link set byhand up`;
  const made = await lab.in('host', 'sh', '-c', `${byHand} && ${dress}`);
  if (made.exitCode !== 0) throw new Error(made.stderr);
  const server = spawn('nsenter', [`--net=/run/netns/${lab.outside}`, 'iperf3', '-s', '-B', ROUTER], { stdio: 'ignore' });
  try {
    await sleep(500);
    const pass = async (netns: string): Promise<number> => {
      const { stdout } = await execa('nsenter', [`--net=${netns}`, ...STREAM]);
      const { end } = JSON.parse(stdout) as { end: { sum_received: { bits_per_second: number } } };
      return end.sum_received.bits_per_second / 1e6;
    };
    const result: Passed = { ours: [], byHand: [] };
    const turns = [
      async () => result.ours.push(await pass(netns)),
      async () => result.byHand.push(await pass(`/run/netns/${peer}`)),
    ];
    for (let i = 0; i < PASSES; i++) for (const turn of i % 2 === 0 ? turns : turns.toReversed()) await turn();
    return result;
  } finally {
    server.kill('SIGKILL');
  }
}
