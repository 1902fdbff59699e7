/** kill -9 of the daemon at random moments of a mixed load: a start puts everything right, and nothing leaks. */

import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { NetworkJson, SandboxAnswer } from '../../src/base/index.ts';
import { Lab } from './lab.ts';

/** Kills in one run; the environment may ask for more. */
const KILLS = Number(process.env['PATCHBAY_KILLS']) || 10;

let lab: Lab;
beforeAll(async () => {
  lab = await Lab.open();
});
afterAll(async () => {
  await lab.close();
});

/** One request; the daemon may die under it. */
const ask = async (method: string, path: string, body?: unknown): Promise<number> => {
  try {
    return (await lab.api(method, path, body)).status;
  } catch {
    return 0;
  }
};

test(
  `${KILLS} kills under load: acknowledged sandboxes live on, all can be removed, nothing is left`,
  { timeout: 30_000 + KILLS * 5000 },
  async () => {
    let serial = 0;
    const acknowledged = new Set<string>();
    for (let kill = 0; kill < KILLS; kill++) {
      let stopped = false;
      const client = async (me: number): Promise<void> => {
        while (!stopped) {
          const i = serial++;
          const name = `s${i}`;
          await ask('POST', '/networks/create', { Name: `net${me}`, EnableIPv6: me === 1 });
          await ask('POST', '/networks/create', { Name: `other${me}` });
          const ports = { '80/tcp': [{ HostPort: String(20_000 + i) }] };
          if (
            (await ask('POST', '/sandboxes/create', { Name: name, Networks: { [`net${me}`]: {} }, PortBindings: ports })) === 201
          )
            acknowledged.add(name);
          await ask('POST', `/networks/other${me}/connect`, { Container: name });
          await ask('POST', `/networks/other${me}/disconnect`, { Container: name });
          if (i % 3 !== 0) {
            // From here on it may be gone, whatever the answer.
            acknowledged.delete(name);
            await ask('DELETE', `/sandboxes/${name}`);
          }
          await ask('DELETE', `/networks/other${me}`);
        }
      };
      const clients = [1, 2, 3].map(client);
      await sleep(100 + Math.random() * 700);
      await lab.stop('SIGKILL');
      stopped = true;
      await Promise.all(clients);
      lab.log = '';
      await lab.start();
      expect(lab.log).not.toContain('"level":50');
      const { json: sandboxes } = await lab.api<SandboxAnswer[]>('GET', '/sandboxes');
      expect(sandboxes.map((s) => s.Name)).toEqual(expect.arrayContaining([...acknowledged]));
      const { json: networks } = await lab.api<NetworkJson[]>('GET', '/networks');
      expect(networks.flatMap((n) => n.Degraded ?? [])).toEqual([]);
    }
    const [survivor] = [...acknowledged];
    if (survivor !== undefined)
      expect((await lab.cli('exec', survivor, '--', 'dig', '+short', '+tries=1', survivor)).stdout).toMatch(/^172\./);
    for (const { Id } of (await lab.api<SandboxAnswer[]>('GET', '/sandboxes')).json)
      expect(await ask('DELETE', `/sandboxes/${Id}`)).toBe(204);
    for (const { Name } of (await lab.api<NetworkJson[]>('GET', '/networks')).json) {
      if (!['bridge', 'host', 'none'].includes(Name)) expect(await ask('DELETE', `/networks/${Name}`)).toBe(204);
    }
    expect(await lab.leftovers()).toEqual([]);
  },
);
