/** Another program has the lock of iptables-legacy while the daemon is killed and comes back. */

import { mkdtempSync, openSync, readdirSync, readlinkSync, rmSync, symlinkSync, closeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import { libc } from '../../src/kernel/index.ts';
import { Lab, waitUntil } from '../e2e/lab.ts';
import { ask } from './client.ts';
import { cleared, stateOf, untruths } from './truth.ts';

/** How long the other program keeps the lock after the kill, milliseconds. */
const HELD_MS = 3000;
const WAIT_MS = 30_000;

const closers: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

/** A folder with the older tools under their plain names, and the path of a lock that only this test uses. */
function legacyTools(): { readonly folder: string; readonly lock: string } {
  const folder = mkdtempSync(join(tmpdir(), 'pbt-legacy-'));
  closers.push(() => rmSync(folder, { recursive: true, force: true }));
  for (const family of ['iptables', 'ip6tables'])
    for (const verb of ['', '-restore', '-save']) symlinkSync('/usr/sbin/xtables-legacy-multi', join(folder, `${family}${verb}`));
  return { folder, lock: join(folder, 'xtables.lock') };
}

/** Processes besides this one that have the file open. */
function usersOf(path: string): number {
  const fds = (pid: string): string[] => {
    try {
      return readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
    } catch {
      // It has ended.
      return [];
    }
  };
  return readdirSync('/proc').filter((pid) => /^\d+$/.test(pid) && Number(pid) !== process.pid && fds(pid).includes(path)).length;
}

test(
  'a lock of iptables held over a kill of the daemon and its start: nothing is lost, nothing is there twice',
  { timeout: 180_000 },
  async () => {
    const { folder, lock } = legacyTools();
    const lab = await Lab.open({ env: { PATH: `${folder}:${process.env['PATH']}`, XTABLES_LOCKFILE: lock } });
    closers.push(() => lab.close());
    const wish = (Name: string, HostPort: string) => ({
      Name,
      Networks: { net: {} },
      PortBindings: { '80/tcp': [{ HostPort }], '81/tcp': [{ HostPort: String(Number(HostPort) + 1) }] },
    });
    expect((await ask(lab, 'POST', '/networks/create', { Name: 'net', EnableIPv6: true })).status).toBe(201);
    for (const [name, port] of [
      ['stays', '8000'],
      ['goes', '8010'],
    ] as const)
      expect((await ask(lab, 'POST', '/sandboxes/create', wish(name, port))).status).toBe(201);
    expect(await untruths(lab)).toEqual([]);

    const held = openSync(lock, 'a');
    let isOpen = true;
    const release = (): void => {
      if (isOpen) closeSync(held);
      isOpen = false;
    };
    closers.push(release);
    await waitUntil(() => libc.tryLockDescriptor(held), WAIT_MS);
    const asked = [ask(lab, 'POST', '/sandboxes/create', wish('comes', '8020')), ask(lab, 'DELETE', '/sandboxes/goes?force=1')];
    await waitUntil(() => usersOf(lock) > 0, WAIT_MS);
    await lab.stop('SIGKILL');
    expect((await Promise.all(asked)).map(({ status }) => status)).toEqual([0, 0]);
    lab.log = '';
    const freed = sleep(HELD_MS).then(() => {
      expect(usersOf(lock), 'who waits for the lock').toBeGreaterThan(0);
      release();
    });
    await Promise.all([lab.start(), freed]);
    expect(lab.log).not.toContain('"level":50');

    // Nothing was acknowledged: what was on its way in or out is wholly there or wholly gone.
    expect((await stateOf(lab)).sandboxes.map(({ Name }) => Name)).toContain('stays');
    expect(await untruths(lab)).toEqual([]);
    for (const tool of ['iptables-save', 'ip6tables-save']) {
      const rules = (await lab.in('host', tool)).stdout.split('\n').filter((line) => line.startsWith('-A'));
      expect(rules.length).toBeGreaterThan(10);
      expect(rules.filter((rule, i) => rules.indexOf(rule) !== i)).toEqual([]);
    }
    expect((await ask(lab, 'POST', '/sandboxes/create', wish('late', '8030'))).status).toBe(201);
    expect(await untruths(lab)).toEqual([]);
    expect(await cleared(lab)).toEqual([]);
  },
);
