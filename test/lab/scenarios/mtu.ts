/** Packets as large as the network takes cross the underlay whole, and larger ones are told so. */

import type { Scenario } from '../scenario.ts';
import type { Box } from '../sandboxes.ts';
import { must } from '../wait.ts';
import { allReachAll, boxesEverywhere, makeOverlay } from './overlay.ts';

/** Of IPv4 or IPv6, and of ICMP's echo. */
const HEADERS = { v4: 20 + 8, v6: 40 + 8 } as const;
/** Of the underlay's links, and what a tunnel adds: Ethernet, VXLAN, UDP, and IPv4 or IPv6. */
const UNDERLAY_MTU = 1500;
const TUNNEL = { v4: 50, v6: 70 } as const;

/** One echo of so many octets that may not be cut in pieces. */
async function passes(from: Box, address: string, octets: number): Promise<boolean> {
  const words = ['-n', '-M', 'do', '-c', '1', '-W', '2', '-s', String(octets), address];
  return (await from.host.cli('exec', from.name, '--', 'ping', ...words)).exitCode === 0;
}

export const mtu: Scenario = {
  name: 'mtu',
  about: 'the largest packets of the network cross the underlay, one octet more is refused inside, and nothing is fragmented',
  hosts: 2,
  async run(lab) {
    const overlay = await makeOverlay(lab, 'large', 81);
    const boxes = await boxesEverywhere(lab, overlay);
    await allReachAll(lab, boxes);
    const [from, to] = [boxes[0], boxes[1]];
    if (from === undefined || to === undefined) throw new Error('too few hosts');
    const most = UNDERLAY_MTU - TUNNEL[lab.options.underlay];
    for (const [family, address] of [
      ['v4', to.v4],
      ['v6', to.v6],
    ] as const) {
      const octets = most - HEADERS[family];
      must(await passes(from, address, octets), `${most} octets pass to ${address}`);
      must(!(await passes(from, address, octets + 1)), `${most + 1} octets do not pass to ${address}`);
    }
    const { stdout } = await lab.host(1).exec('nstat', '-asz', 'IpFragCreates', 'Ip6FragCreates');
    const pieces = [...stdout.matchAll(/FragCreates\s+(\d+)/g)].map(([, count]) => Number(count));
    must(pieces.length === 2 && pieces.every((count) => count === 0), `the host has cut nothing in pieces: ${stdout}`);
    return `${most} octets, 0 fragments`;
  },
};
