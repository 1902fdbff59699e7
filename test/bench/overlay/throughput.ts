/** What goes from a sandbox to one on another host, beside a VXLAN between the same hosts that is made by hand. */

import type { SandboxAnswer } from '../../../src/base/index.ts';
import type { Host } from '../../lab/host.ts';
import type { Lab } from '../../lab/lab.ts';
import { until } from '../../lab/wait.ts';
import { type Figure, median } from '../figures.ts';

const SECONDS = 3;
/** By turns, since a shared machine is not the same all the time. */
const TURNS = 5;
const LISTENS_MS = 10_000;

interface Way {
  /** Runs a program at either end. */
  readonly from: (command: string, ...args: string[]) => Promise<string>;
  readonly to: (command: string, ...args: string[]) => Promise<string>;
  readonly address: string;
}

export async function throughput(lab: Lab): Promise<Figure[]> {
  const [one, two] = [lab.host(1), lab.host(2)];
  await one.must('POST', '/networks/create', {
    Name: 'fast',
    Driver: 'overlay',
    IPAM: { Config: [{ Subnet: '10.201.0.0/24' }] },
  });
  for (const [host, name] of [
    [one, 'sender'],
    [two, 'receiver'],
  ] as const)
    await until(
      `${name} is there`,
      async () => (await host.api('POST', '/sandboxes/create', { Name: name, Networks: { fast: {} } })).status === 201,
      LISTENS_MS,
      lab.commands.signal,
    );
  const [here, there]: [number[], number[]] = [[], []];
  try {
    const [ours, bare] = [await overlayWay(one, two), await bareWay(one, two)];
    for (let turn = 0; turn < TURNS; turn++) {
      here.push(await flow(lab, ours));
      there.push(await flow(lab, bare));
    }
  } finally {
    for (const { namespace } of [one, two])
      for (const end of ['net', 'box']) await one.exec('ip', 'netns', 'del', `${namespace}-bare-${end}`);
  }
  const floor = median(there);
  return [
    {
      name: 'TCP through an overlay network',
      unit: 'Mbit/s',
      value: median(here),
      goal: '≥ 0.95 of the floor',
      floor,
      what: 'VXLAN, bridge and veth made by hand',
    },
  ];
}

async function flow(lab: Lab, { from, to, address }: Way): Promise<number> {
  await to('iperf3', '-s', '-1', '-D', '-B', address);
  const isListening = async (): Promise<boolean> => (await to('ss', '-Hltn', 'sport = :5201')).trim() !== '';
  await until('iperf3 listens', isListening, LISTENS_MS, lab.commands.signal);
  const report = JSON.parse(await from('iperf3', '-J', '-c', address, '-t', String(SECONDS))) as {
    readonly end: { readonly sum_received: { readonly bits_per_second: number } };
  };
  return report.end.sum_received.bits_per_second / 1e6;
}

async function overlayWay(one: Host, two: Host): Promise<Way> {
  const answer = (host: Host, name: string): Promise<SandboxAnswer> => host.must('GET', `/sandboxes/${name}`);
  const [sender, receiver] = [await answer(one, 'sender'), await answer(two, 'receiver')];
  const at = (host: Host, { Id }: SandboxAnswer) => runIn((command, ...args) => host.inside(Id.slice(0, 12), command, ...args));
  return { from: at(one, sender), to: at(two, receiver), address: receiver.Networks['fast']?.IPAddress ?? '' };
}

/** The same parts with nothing of ours: a namespace as sandbox, a bridge and a tunnel in another one. */
async function bareWay(one: Host, two: Host): Promise<Way> {
  const script = (own: Host, other: Host, end: string, far: string): string =>
    [
      'set -e',
      'ip netns add "$0-net"; ip netns add "$0-box"',
      `ip link add bare0 type vxlan id 77 dstport 4790 local ${own.address} nolearning`,
      'ip link set bare0 netns "$0-net"',
      'ip -n "$0-net" link add name br9 type bridge; ip -n "$0-net" link set br9 mtu 1450 up',
      'ip -n "$0-net" link set bare0 mtu 1450 master br9 up',
      'ip -n "$0-net" link add out9 mtu 1450 type veth peer name eth0 mtu 1450 netns "$0-box"',
      'ip -n "$0-net" link set out9 master br9 up',
      `ip -n "$0-box" addr add ${end}/24 dev eth0; ip -n "$0-box" link set eth0 up`,
      `bridge -n "$0-net" fdb append 00:00:00:00:00:00 dev bare0 dst ${other.address}`,
      `: ${far}`,
    ].join('; ');
  const ends = ['10.202.0.1', '10.202.0.2'] as const;
  const name = (host: Host): string => `${host.namespace}-bare`;
  for (const [own, other, end, far] of [
    [one, two, ends[0], ends[1]],
    [two, one, ends[1], ends[0]],
  ] as const) {
    const { exitCode, stderr } = await own.exec('sh', '-c', script(own, other, end, far), name(own));
    if (exitCode !== 0) throw new Error(`a tunnel by hand on ${own.name}: ${stderr}`);
  }
  const at = (host: Host) =>
    runIn((command, ...args) => host.exec('nsenter', `--net=/run/netns/${name(host)}-box`, command, ...args));
  return { from: at(one), to: at(two), address: ends[1] };
}

const runIn =
  (run: (command: string, ...args: string[]) => ReturnType<Host['exec']>) =>
  async (command: string, ...args: string[]): Promise<string> => {
    const { exitCode, stdout, stderr } = await run(command, ...args);
    if (exitCode !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr || stdout}`);
    return stdout;
  };
