/** Somebody meddles with a host's entries while etcd is down: what was taken comes back, what was put in goes. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Program } from '../program.ts';
import type { Scenario } from '../scenario.ts';
import { must, until } from '../wait.ts';
import { GONE_MS, ms } from './common.ts';
import { allReachAll, boxesEverywhere, entriesAreTrue, entriesOn, makeOverlay, pinOf } from './overlay.ts';

/** Of nobody. */
const FALSE_MAC = '02:00:00:00:00:99';

export const audit: Scenario = {
  name: 'audit',
  about: 'an entry that is deleted and a false one that is added while etcd is down are mended, and nothing else is touched',
  hosts: 3,
  async run(lab) {
    const overlay = await makeOverlay(lab, 'audited', 81);
    const boxes = await boxesEverywhere(lab, overlay);
    await allReachAll(lab, boxes);
    await entriesAreTrue(lab, overlay);
    await lab.etcd.stopAll();
    const host = lab.host(1);
    const pin = pinOf(overlay.id);
    const before = await entriesOn(host, overlay);
    const victim = boxes[1];
    if (victim === undefined) throw new Error('too few hosts');

    const log = join(host.folder, 'fdb-monitor');
    const watch = ['nsenter', `--net=${join(host.folder, 'run/netns', pin)}`, 'bridge', 'monitor', 'fdb'] as const;
    const monitor = new Program({ namespace: host.namespace, command: [...watch], out: log, log, folder: host.folder });
    const events = (): string[] => readFileSync(log, 'utf8').split('\n').filter(Boolean);
    const bridge = async (...words: string[]): Promise<void> => {
      const { exitCode, stderr } = await host.inside(pin, 'bridge', 'fdb', ...words);
      must(exitCode === 0, `bridge fdb ${words.join(' ')}: ${stderr}`);
    };
    // Repeated until the monitor tells of it: then it listens.
    await until(
      'the monitor tells',
      async () => {
        await bridge('replace', FALSE_MAC, 'dev', 'vx0', 'dst', lab.host(3).address, 'self', 'permanent');
        return events().length > 0;
      },
      GONE_MS,
      lab.commands.signal,
    );
    await bridge('del', victim.mac, 'dev', 'vx0', 'dst', victim.host.address, 'self');
    const isMended = async (): Promise<boolean> => (await entriesOn(host, overlay)).join('\n') === before.join('\n');
    const mended = await until('the entries are as before', isMended, GONE_MS, lab.commands.signal);
    await monitor.end('SIGTERM');
    const other = events().filter((line) => !line.includes(FALSE_MAC) && !line.includes(victim.mac) && line.includes('vx0'));
    must(other.length === 0, `nothing else was touched: ${other.join(' | ')}`);
    await allReachAll(lab, boxes);
    await lab.etcd.startAll();
    return `mended after ${ms(mended)}, ${before.length} entries as before`;
  },
};
