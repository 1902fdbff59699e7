/** Many sandboxes on one network: every name from any of them, and nothing left afterwards. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { execa } from 'execa';
import type { NetworkJson, SandboxAnswer } from '../../src/base/index.ts';
import { Lab } from './lab.ts';

const COUNT = 200;

let lab: Lab;
beforeAll(async () => {
  lab = await Lab.open();
});
afterAll(async () => {
  await lab.close();
});

test(
  `${COUNT} sandboxes on one network: every name resolves from any, a kill costs none, all can be removed, nothing is left`,
  { timeout: 300_000 },
  async () => {
    await lab.ok('create', 'crowd');
    const names = Array.from({ length: COUNT }, (_, i) => `s${i}`);
    // A few at a time, as clients come.
    for (let at = 0; at < COUNT; at += 10) {
      const created = await Promise.all(
        names.slice(at, at + 10).map((Name) => lab.api('POST', '/sandboxes/create', { Name, Networks: { crowd: {} } })),
      );
      expect(created.map((answer) => answer.status)).toEqual(Array(10).fill(201));
    }
    const { json: sandboxes } = await lab.api<SandboxAnswer[]>('GET', '/sandboxes');
    const address = new Map(sandboxes.map((s) => [s.Name, s.Networks['crowd']?.IPAddress]));
    expect(new Set(address.values()).size).toBe(COUNT);
    const questions = join(lab.folder, 'questions');
    writeFileSync(questions, names.map((name) => `${name} A\n`).join(''));
    for (const sandbox of sandboxes) {
      const { stdout } = await execa('nsenter', [
        `--net=${sandbox.Netns}`,
        'dig',
        '+short',
        '+tries=1',
        '+time=2',
        '@127.0.0.11',
        '-f',
        questions,
      ]);
      expect(stdout.split('\n'), sandbox.Name).toEqual(names.map((name) => address.get(name)));
    }
    const farthest = await lab.cli('exec', 's0', '--', 'ping', '-c1', '-W2', `s${COUNT - 1}`);
    expect(farthest.exitCode, farthest.stdout).toBe(0);
    const { json: net } = await lab.api<NetworkJson>('GET', '/networks/crowd');
    expect(Object.keys(net.Containers ?? {})).toHaveLength(COUNT);
    await lab.stop('SIGKILL');
    lab.log = '';
    await lab.start();
    expect(lab.log).not.toMatch(/"level":(40|50)/);
    expect((await lab.api<SandboxAnswer[]>('GET', '/sandboxes')).json).toHaveLength(COUNT);
    const removed = await Promise.all(names.map((name) => lab.api('DELETE', `/sandboxes/${name}`)));
    expect(removed.map((answer) => answer.status)).toEqual(Array(COUNT).fill(204));
    await lab.ok('rm', 'crowd');
    expect(await lab.leftovers()).toEqual([]);
    await lab.stop('SIGTERM');
    await lab.start();
    expect((await lab.api<unknown[]>('GET', '/sandboxes')).json).toEqual([]);
    expect(lab.log).not.toMatch(/"level":(40|50)/);
  },
);
