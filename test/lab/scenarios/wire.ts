/** What crosses the underlay: VXLAN with the network's number, to the one host that has the endpoint, and nothing flooded. */

import { readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { vxlanPackets } from '../pcap.ts';
import { Program } from '../program.ts';
import type { Box } from '../sandboxes.ts';
import type { Lab } from '../lab.ts';
import type { Scenario } from '../scenario.ts';
import { must, until } from '../wait.ts';
import { pause } from './common.ts';
import { allReachAll, boxesEverywhere, makeOverlay } from './overlay.ts';

const VNI = 424_242;
const OPTION = 'com.docker.network.driver.overlay.vxlanid_list';
const VXLAN_PORT = 4789;
const CAPTURE_MS = 10_000;
/** Octets of a capture file before its first packet. */
const HEADER_OCTETS = 24;
const SILENCE_MS = 600;
/** From the wire to the file, milliseconds. */
const SETTLE_MS = 500;

/** Captures on the wire while `work` is done; answers the file. */
async function captured(lab: Lab, work: () => Promise<void>): Promise<Buffer> {
  const at = (name: string): string => join(lab.run.folder, name);
  const words = `tcpdump --immediate-mode -Z root -Uni lan0 -s 200 -w ${at('wire.pcap')} udp port ${VXLAN_PORT}`.split(' ');
  rmSync(at('wire.pcap'), { force: true });
  const program = new Program({
    namespace: lab.underlay.namespace,
    command: words,
    out: at('tcpdump'),
    log: at('tcpdump'),
    folder: lab.run.folder,
  });
  const octets = (): number => statSync(at('wire.pcap'), { throwIfNoEntry: false })?.size ?? 0;
  await until('tcpdump captures', () => octets() >= HEADER_OCTETS || !program.isRunning, CAPTURE_MS, lab.commands.signal);
  await work();
  await pause(SETTLE_MS);
  await program.end('SIGINT');
  return readFileSync(at('wire.pcap'));
}

/** Asks for addresses that nobody has, and sends to everybody. */
async function shoutAll(box: Box, absent: readonly string[]): Promise<void> {
  const answers = await Promise.all(absent.map((address) => box.probe.ask(address, SILENCE_MS)));
  must(
    answers.every((name) => name === null),
    `nobody answers at ${absent.join(' ')}`,
  );
  const shout = (...words: string[]) => box.host.cli('exec', box.name, '--', 'ping', '-c', '2', '-i', '0.2', '-W', '1', ...words);
  await shout('-b', box.v4.replace(/\d+$/, '255'));
  await shout('-I', 'eth0', 'ff02::1');
  await shout('224.0.0.251');
}

export const wire: Scenario = {
  name: 'wire',
  about: 'the underlay carries VXLAN with the right number to the right host, and never a flooded frame',
  hosts: 3,
  async run(lab) {
    const overlay = await makeOverlay(lab, 'wired', 81, ['-o', `${OPTION}=${VNI}`]);
    const boxes = await boxesEverywhere(lab, overlay);
    await allReachAll(lab, boxes);
    const absent = [`${overlay.v4}200`, `${overlay.v4}201`, `${overlay.v6}200`];
    const packets = vxlanPackets(
      await captured(lab, async () => {
        await allReachAll(lab, boxes);
        await Promise.all(boxes.map((box) => shoutAll(box, absent)));
        // Known traffic before and after, so that there is something to capture.
        await allReachAll(lab, boxes);
      }),
      VXLAN_PORT,
    );
    must(packets.length > boxes.length, `packets were captured: ${packets.length}`);
    const hostOf = new Map(boxes.map((box) => [box.mac, box.host.address]));
    const strange = packets.filter(({ vni }) => vni !== VNI);
    must(strange.length === 0, `all have the number ${VNI}: ${JSON.stringify(strange[0])}`);
    const flooded = packets.filter(({ innerTo, to }) => hostOf.get(innerTo) !== to);
    must(flooded.length === 0, `each goes to the host of its endpoint: ${flooded.length} do not, ${JSON.stringify(flooded[0])}`);
    return `${packets.length} packets, number ${VNI}, 0 flooded`;
  },
};
