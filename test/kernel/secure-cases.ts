/** Encrypted overlay networks on hosts of a lab: keys, frames in the clear from outside, and what the kernel has of ESP. */

import { expect } from 'vitest';
import type { DriverNetwork, SecureHost, TransportKeys } from '../../src/driver/index.ts';
import { type Guest, type OverlayHost, type OverlayLab, addressOf, ctx, isSilent, underlay } from './overlay-lab.ts';

const keyOf = (tag: number) => ({ tag, secret: Buffer.alloc(32, tag) });

/** Of three that follow each other the second is used. */
export const keysFrom = (first: number): TransportKeys => ({
  keys: [first, first + 1, first + 2].map(keyOf),
  primary: first + 1,
});

export const allHosts = (lab: OverlayLab, family: 4 | 6): SecureHost[] =>
  lab.hosts.map(({ keys }, i) => ({ address: underlay(i, family), wireguard: keys.publicKey }));

export async function secure(host: OverlayHost, keys: TransportKeys, hosts: readonly SecureHost[]): Promise<void> {
  await host.cluster.secure?.(ctx, { keys, hosts });
}

const stateOf = (net: DriverNetwork): { vnis: number[]; port: number } => net.state as { vnis: number[]; port: number };

/** What the kernel of a host has of ESP, in lines. */
export async function espOf(host: OverlayHost): Promise<{ states: number; policies: string[] }> {
  const states = (await host.at.exec('ip', ['xfrm', 'state'])).stdout;
  const policies = (await host.at.exec('ip', ['xfrm', 'policy'])).stdout;
  return { states: states.split('\n').filter((line) => line.startsWith('src ')).length, policies: policies.split('\n') };
}

const received = async (host: OverlayHost, net: DriverNetwork): Promise<number> => {
  const [link] = JSON.parse(await host.inside(net, 'ip -j -s link show vx0')) as [{ stats64: { rx: { packets: number } } }];
  return link.stats64.rx.packets;
};

/** A machine on the wire that knows id, port and addresses sends frames in the clear to a guest: none comes in. */
export async function refusesForged(lab: OverlayLab, from: OverlayHost, net: DriverNetwork, to: Guest): Promise<void> {
  const { vnis, port } = stateOf(net);
  const target = to.peer.vtep;
  const before = await received(to.host, net);
  const capture = await lab.capture(`udp port ${port}`);
  await from.at.exec('sh', [
    '-ec',
    `ip link add forged type vxlan id ${vnis[0]} dstport ${port} remote ${target} nolearning
     ip link set forged up; ip addr add 10.20.0.66/24 dev forged
     ip neigh replace ${addressOf(to, 4)} lladdr ${to.peer.mac} dev forged nud permanent`,
  ]);
  expect(await isSilent({ exec: from.at.exec }, addressOf(to, 4))).toBe(true);
  // It was sent, and crossed the wire.
  expect(await capture.end()).toContain(`.${port}: `);
  await from.at.exec('ip', ['link', 'del', 'forged']);
  expect(await received(to.host, net)).toBe(before);
}
