/** The daemon ends in the middle of a look that puts things back: what it left half done, the next start completes. */

import { afterEach, beforeEach, expect, test } from 'vitest';
import { Lab, waitUntil } from '../e2e/lab.ts';
import { cleared, untruths } from './truth.ts';

const SANDBOXES = 24;
const ROUNDS = 4;
/** A kill may come when all is back already; then there are further rounds. */
const MAX_ROUNDS = 16;
/** Longest wait for a look: several of them pass meanwhile. */
const LOOK_MS = 60_000;

let lab: Lab;
let bridge: string;
beforeEach(async () => {
  lab = await Lab.open();
  bridge = `br-${(await lab.ok('create', 'net')).slice(0, 12)}`;
  for (let i = 0; i < SANDBOXES; i++) {
    const PortBindings = { '80/tcp': [{ HostPort: String(20_000 + i) }] };
    const { status } = await lab.api('POST', '/sandboxes/create', { Name: `box${i}`, Networks: { net: {} }, PortBindings });
    expect(status).toBe(201);
  }
}, 180_000);
afterEach(async () => {
  await lab.close();
});

/** Ports that are up on the bridge. */
const ports = async (): Promise<number> =>
  (await lab.in('host', 'ip', '-o', 'link', 'show', 'master', bridge, 'up')).stdout.split('\n').filter(Boolean).length;

/**
 * Everything of the network goes, and the links of half the sandboxes: there is much to put back. All at once for the daemon, which stands still
 * meanwhile: a look in the middle of it loses the bridge under its hands, and rightly says that the network is degraded until the next one.
 */
async function damage(): Promise<void> {
  const links = (await lab.in('host', 'ip', '-o', 'link', 'show', 'master', bridge)).stdout.match(/veth[0-9a-f]+/g) ?? [];
  const batch = links.filter((_, i) => i % 2 === 0).map((name) => `ip link del ${name}`);
  const script = [...batch, `ip link del ${bridge}`, 'iptables -t nat -F', 'ip6tables -F'].join('\n');
  lab.daemon?.kill('SIGSTOP');
  try {
    expect(await lab.in('host', 'sh', '-ec', script)).toMatchObject({ exitCode: 0 });
  } finally {
    lab.daemon?.kill('SIGCONT');
  }
}

test.each(['SIGTERM', 'SIGKILL'] as const)(
  '%s while the links of a network are put back',
  { timeout: 600_000 },
  async (signal) => {
    let inTheMiddle = 0;
    const isEnough = (round: number): boolean => round >= ROUNDS && (signal === 'SIGTERM' || inTheMiddle > 0);
    for (let round = 0; round < MAX_ROUNDS && !isEnough(round); round++) {
      await damage();
      // The bridge is made first, then the sandboxes are plugged in one by one.
      const isUnderWay = async (): Promise<boolean> => (await lab.in('host', 'ip', 'link', 'show', bridge)).exitCode === 0;
      await waitUntil(isUnderWay, LOOK_MS);
      await lab.stop(signal);
      if ((await ports()) < SANDBOXES) inTheMiddle++;
      const log = lab.log;
      await lab.start();
      expect(await untruths(lab), `round ${round}:\n${lab.log}`).toEqual([]);
      expect(await ports()).toBe(SANDBOXES);
      expect(log + lab.log).not.toMatch(/"level":50/);
    }
    // A stop waits for the look; only a kill can come between.
    if (signal === 'SIGKILL') expect(inTheMiddle).toBeGreaterThan(0);
    expect(await cleared(lab)).toEqual([]);
  },
);
