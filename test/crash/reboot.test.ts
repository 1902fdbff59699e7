/**
 * The machine restarts, or another namespace lies where a sandbox was: networks come back as they were, sandboxes that are no
 * more are cleared, and the log says so.
 */

import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, expect, test } from 'vitest';
import type { SandboxAnswer } from '../../src/base/index.ts';
import { openNetns } from '../../src/kernel/index.ts';
import { openEmbeddedStore } from '../../src/store/index.ts';
import { LOG, Lab } from '../e2e/lab.ts';
import { ask } from './client.ts';
import { cleared, stateOf, untruths } from './truth.ts';

const open: Lab[] = [];
afterEach(async () => {
  for (const lab of open.splice(0)) await lab.close();
});

test(
  'after a restart of the machine the networks are back, dead sandboxes are gone, and all can be made again',
  { timeout: 120_000 },
  async () => {
    const lab = await Lab.open();
    open.push(lab);
    for (const [Name, EnableIPv6] of [
      ['one', true],
      ['two', false],
    ] as const)
      expect((await ask(lab, 'POST', '/networks/create', { Name, EnableIPv6 })).status).toBe(201);
    const wish = {
      Name: 'web',
      Networks: { one: { IPAMConfig: null }, two: {} },
      PortBindings: { '80/tcp': [{ HostPort: '8080' }] },
    };
    expect((await ask(lab, 'POST', '/sandboxes/create', wish)).status).toBe(201);
    expect(await untruths(lab)).toEqual([]);
    const before = await stateOf(lab);
    lab.log = '';
    await lab.reboot();
    const after = await stateOf(lab);
    expect(after.sandboxes).toEqual([]);
    const lasting = (state: typeof before): unknown =>
      state.networks.map(({ Id, Name, IPAM, Created }) => ({ Id, Name, IPAM, Created }));
    expect(lasting(after)).toEqual(lasting(before));
    await expect.poll(() => lab.log, LOG).toContain(before.sandboxes[0]?.Id.slice(0, 12));
    expect(lab.log).toContain(
      '"networks":["bridge","one","two"],"links":3,"msg":"links of networks were gone: they are made again"',
    );
    expect(lab.log).not.toContain('"level":50');
    expect(await untruths(lab)).toEqual([]);
    expect((await ask(lab, 'POST', '/sandboxes/create', wish)).status).toBe(201);
    expect(await untruths(lab)).toEqual([]);
    await lab.stop('SIGKILL');
    lab.log = '';
    await lab.start();
    expect(await untruths(lab)).toEqual([]);
    expect(lab.log).not.toContain('made again');
    expect(await cleared(lab)).toEqual([]);
  },
);

/**
 * As after a restart of the machine by whose chance the namespace at `path` has the cookie that the sandbox's had before, while
 * the run directory has lasted: all that is recorded of it is of another boot.
 */
async function asOfAnotherBoot(lab: Lab, { Id }: SandboxAnswer, path: string): Promise<void> {
  const { keeper, supervisor } = await lab.keeperProcesses();
  for (const pid of [supervisor, keeper]) process.kill(pid, 'SIGKILL');
  using foreign = openNetns(path);
  const [boot = '', cookie = ''] = foreign.identity.split(':');
  expect(boot).toBe(readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim());
  const identity = `00000000-0000-4000-8000-000000000000:${cookie}`;
  const store = await openEmbeddedStore(join(lab.stateDir, 'store'));
  const key = `sandbox/${Id}`;
  const record = (await store.get(key))?.value as Record<string, string>;
  expect(record['identity']).toMatch(new RegExp(`^${boot}:`));
  await store.commit({ put: [{ key, value: { ...record, identity } }], durable: true });
  await store.close();
  const folder = join(lab.runDir, 'keeper', 'sandboxes');
  const files = readdirSync(folder);
  expect(files).toEqual([`${Id}.json`]);
  const file = join(folder, files[0] ?? '');
  const told = readFileSync(file, 'utf8');
  writeFileSync(file, told.replace(record['identity'] ?? 'none', identity));
  expect(readFileSync(file, 'utf8')).toContain(identity);
}

test.each([
  ['the same boot', async () => {}],
  ['an earlier boot, with the same cookie by chance', asOfAnotherBoot],
])(
  'another namespace at the place of a sandbox of %s while the daemon was dead: the sandbox is cleared, the other is untouched',
  { timeout: 120_000 },
  async (_, prepare) => {
    const lab = await Lab.open();
    open.push(lab);
    expect((await ask(lab, 'POST', '/networks/create', { Name: 'one' })).status).toBe(201);
    const wish = { Name: 'web', Networks: { one: {} }, PortBindings: { '80/tcp': [{ HostPort: '8080' }] } };
    expect((await ask(lab, 'POST', '/sandboxes/create', wish)).status).toBe(201);
    const [box] = (await stateOf(lab)).sandboxes;
    if (box === undefined) throw new Error('no sandbox');
    const pin = box.Netns;
    await lab.stop('SIGKILL');
    await execa('umount', ['-l', pin]);
    const foreign = `${lab.prefix}-other`;
    await execa('ip', ['netns', 'add', foreign]);
    try {
      await execa('ip', ['-n', foreign, 'link', 'add', 'eth0', 'type', 'bridge']);
      await execa('ip', ['-n', foreign, 'addr', 'add', '192.0.2.1/24', 'dev', 'eth0']);
      const look = async (): Promise<string> => {
        const links = await execa('ip', ['-n', foreign, '-o', 'addr']);
        const rules = await execa('nsenter', [`--net=/run/netns/${foreign}`, 'nft', 'list', 'ruleset']);
        return links.stdout + rules.stdout;
      };
      const before = await look();
      await prepare(lab, box, `/run/netns/${foreign}`);
      await execa('mount', ['--bind', `/run/netns/${foreign}`, pin]);
      lab.log = '';
      await lab.start();
      expect((await stateOf(lab)).sandboxes).toEqual([]);
      await expect.poll(() => lab.log, LOG).toContain(box.Id.slice(0, 12));
      expect(await look()).toBe(before);
      expect(await untruths(lab)).toEqual([]);
      expect((await ask(lab, 'POST', '/sandboxes/create', wish)).status).toBe(201);
      expect(await untruths(lab)).toEqual([]);
      expect(await cleared(lab)).toEqual([]);
      expect(await look()).toBe(before);
    } finally {
      await execa('ip', ['netns', 'del', foreign], { reject: false });
    }
  },
);
