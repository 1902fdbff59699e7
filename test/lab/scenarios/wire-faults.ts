/** The lab's own means, measured by ping: cut, heal, lose and delay do what they say, to one place only. */

import type { Lab } from '../lab.ts';
import type { Scenario } from '../scenario.ts';
import { must } from '../wait.ts';

const COUNT = 200;
const LATE_MS = 50;
const LOST_PERCENT = 30;

interface Pinged {
  readonly received: number;
  /** Median round trip; NaN when nothing came back. */
  readonly roundMs: number;
}

async function ping(lab: Lab, from: string, to: number, count: number, pauseMs: number): Promise<Pinged> {
  const words = ['-n', '-c', String(count), '-i', String(pauseMs / 1000), '-W', '1', lab.host(to).address];
  const { stdout } = await lab.underlay.exec(from, 'ping', ...words);
  const times = [...stdout.matchAll(/time=([\d.]+) ms/g)].map(([, time]) => Number(time)).toSorted((a, b) => a - b);
  return { received: times.length, roundMs: times[Math.floor(times.length / 2)] ?? Number.NaN };
}

export const wireFaults: Scenario = {
  name: 'wire-faults',
  about: 'cut, heal, lose and delay of the lab do what they say to one host, and nothing to the others',
  hosts: 3,
  async run(lab) {
    const { underlay } = lab;
    const quick = await ping(lab, 'host1', 2, 20, 10);
    must(quick.received === 20, 'all packets arrive on a whole wire');

    await underlay.lose('host2', 100);
    must((await ping(lab, 'host1', 2, 3, 10)).received === 0, 'nothing reaches a host that is cut off');
    must((await ping(lab, 'host1', 3, 3, 10)).received === 3, 'the others reach each other meanwhile');

    await underlay.lose('host2', LOST_PERCENT);
    const { received } = await ping(lab, 'host1', 2, COUNT, 5);
    // Both ways: of a hundred, 49 come back. Six standard deviations are 42 of 200.
    const expected = COUNT * (1 - LOST_PERCENT / 100) ** 2;
    must(Math.abs(received - expected) < 45, `about ${expected} of ${COUNT} come back: ${received}`);

    await underlay.heal('host2');
    must((await ping(lab, 'host1', 2, 20, 10)).received === 20, 'all packets arrive again when it is healed');

    await underlay.delay('host2', LATE_MS);
    const late = await ping(lab, 'host1', 2, 20, 10);
    must(late.received === 20, `late packets arrive all the same: ${late.received} of 20`);
    must(late.roundMs >= 2 * LATE_MS, `a round trip takes at least twice ${LATE_MS} ms: ${late.roundMs}`);
    const other = await ping(lab, 'host1', 3, 5, 10);
    must(other.received === 5 && other.roundMs < 2 * LATE_MS, `the others are not late: ${other.roundMs} ms`);

    await underlay.heal('host2');
    const again = await ping(lab, 'host1', 2, 20, 10);
    must(again.received === 20 && again.roundMs < 2 * LATE_MS, `it is not late when it is healed: ${again.roundMs} ms`);
    return `${quick.roundMs} ms, with a delay of ${LATE_MS} ms ${late.roundMs} ms, ${received} of ${COUNT} with a loss of ${LOST_PERCENT} %`;
  },
};
