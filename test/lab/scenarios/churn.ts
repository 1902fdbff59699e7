/** Sandboxes come and go on all hosts by chance: in the end every kernel holds exactly what is there. */

import type { Scenario } from '../scenario.ts';
import { must } from '../wait.ts';
import { chances, createBox, ms } from './common.ts';
import { entriesAreTrue, makeOverlay } from './overlay.ts';

/** Changes that are under way at once. */
const AT_ONCE = 4;
/** Sandboxes that are there at most; beyond them one goes for each that comes. */
const MOST = 40;

export const churn: Scenario = {
  name: 'churn',
  about: 'sandboxes started and stopped on hosts by chance: in the end the entries on each host are those of what is there',
  hosts: 2,
  async run(lab, { churn: count, seed }) {
    const overlay = await makeOverlay(lab, 'churned', 81);
    const below = chances(seed);
    const there: { host: number; name: string }[] = [];
    const begin = performance.now();
    let [next, stopped] = [0, 0];
    const remove = async (): Promise<void> => {
      const [box] = there.splice(below(there.length), 1);
      if (box === undefined) return;
      stopped++;
      await lab.host(box.host).must('DELETE', `/sandboxes/${box.name}`);
    };
    const work = async (): Promise<void> => {
      while (next < count) {
        const name = `box-${next++}`;
        const host = 1 + below(lab.hosts.length);
        const { status, message } = await createBox(lab.host(host), name, overlay.name);
        must(status === 201, `${name} starts: ${status} ${message}`);
        there.push({ host, name });
        if (there.length > MOST || below(3) === 0) await remove();
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    const each = (performance.now() - begin) / (count + stopped);
    const entries = await entriesAreTrue(lab, overlay);
    return `${count} started, ${stopped} stopped, ${ms(each)} each; ${entries} entries of ${there.length} sandboxes, none too many`;
  },
};
