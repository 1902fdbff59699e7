/** The whole of etcd is away: what runs goes on, what is new is refused at once, and all is true afterwards. */

import type { Scenario } from '../scenario.ts';
import { must } from '../wait.ts';
import { createBox, ms, pause } from './common.ts';
import { allReachAll, boxesEverywhere, entriesAreTrue, makeOverlay, nameGone, watchHeld } from './overlay.ts';

/** A refusal takes less, milliseconds. */
const REFUSED_MS = 10_000;

export const etcdAway: Scenario = {
  name: 'etcd-away',
  about: 'without etcd traffic and names go on and changes fail fast and clearly; all is true when it is back',
  hosts: 2,
  async run(lab, { awayMs }) {
    const overlay = await makeOverlay(lab, 'alone', 81);
    const boxes = await boxesEverywhere(lab, overlay);
    const leaving = await lab.sandboxes.start(lab.host(2), 'leaving', { network: overlay.name });
    await allReachAll(lab, [...boxes, leaving]);
    const [from, to] = [boxes[0], boxes[1]];
    if (from === undefined || to === undefined) throw new Error('too few hosts');
    await from.probe.watch('to', to.v4);
    await lab.etcd.stopAll();
    const begin = performance.now();

    const refusedMs: number[] = [];
    const isRefused = async (what: string, change: () => Promise<{ status: number; message: string }>): Promise<void> => {
      const at = performance.now();
      const { status, message } = await change();
      refusedMs.push(performance.now() - at);
      must(status === 503 && /etcd|cluster/.test(message), `${what} is refused with a clear error: ${status} ${message}`);
      must(performance.now() - at < REFUSED_MS, `${what} is refused fast`);
    };
    await isRefused('a new sandbox on the network', () => createBox(lab.host(1), 'late', overlay.name));
    await isRefused('a new network', async () => {
      const { status, json } = await lab
        .host(1)
        .api<{ message: string }>('POST', '/networks/create', { Name: 'late', Driver: 'overlay' });
      return { status, message: json.message };
    });
    // What is removed now is gone for the others when they can be told.
    await leaving.remove();

    while (performance.now() - begin < awayMs) {
      must((await from.probe.resolve(to.name))?.join() === to.v4, `${to.name} has its name`);
      await pause(200);
    }
    await allReachAll(lab, boxes);
    const during = await watchHeld(from, 'to', to.name);
    await lab.etcd.startAll();
    await lab.showsAll();
    const gone = await nameGone(lab, boxes, leaving.name);
    await allReachAll(lab, boxes);
    await entriesAreTrue(lab, overlay);
    await watchHeld(from, 'to', to.name);
    return `away ${ms(awayMs)}: ${during}; refused after ${ms(Math.max(...refusedMs))}; what left meanwhile is gone after ${ms(gone)}`;
  },
};
