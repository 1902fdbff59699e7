/** A store that cannot be read: the daemon does not start, says so, and changes nothing on disk or in the kernel. */

import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { SandboxAnswer } from '../../src/base/index.ts';
import { LOG, Lab, waitUntil } from './lab.ts';

let lab: Lab;
let kept: string;
const store = (): string => join(lab.stateDir, 'store');
const instance = (): string => join(lab.stateDir, 'instance-id');

beforeAll(async () => {
  lab = await Lab.open();
  await lab.ok('create', 'net');
  const body = { Name: 'web', Networks: { net: {} }, PortBindings: { '80/tcp': [{ HostPort: '8080' }] } };
  expect((await lab.api('POST', '/sandboxes/create', body)).status).toBe(201);
  // What has gathered in the journal goes to the store by itself, and the copy is of the store alone.
  const isEmpty = (name: string): boolean => statSync(join(lab.runDir, name)).size === 0;
  await waitUntil(() => isEmpty('journal-0') && isEmpty('journal-1'), 10_000);
  await lab.stop('SIGKILL');
  kept = join(lab.folder, 'kept');
  cpSync(store(), kept, { recursive: true });
});
afterAll(async () => {
  await lab.close();
});

/** Name and content of every file but LevelDB's own diary and lock. */
const files = (): string[] =>
  readdirSync(store())
    .filter((name) => !/^LOG(\.old)?$|^LOCK$/.test(name))
    .sort()
    .map(
      (name) =>
        `${name} ${createHash('sha256')
          .update(readFileSync(join(store(), name)))
          .digest('hex')}`,
    );

async function kernel(): Promise<string> {
  const looks = [['ip', '-o', 'link'], ['iptables-save'], ['ip6tables-save']] as const;
  const shown = await Promise.all(looks.map(([tool, ...args]) => lab.in('host', tool, ...args)));
  // Comments carry the time.
  return shown.map(({ stdout }) => stdout.replaceAll(/^#.*$/gm, '').replaceAll(/\[\d+:\d+\]/g, '')).join('\n');
}

const fileLike = (pattern: RegExp): string => join(store(), readdirSync(store()).find((name) => pattern.test(name)) ?? 'none');

/** Flips bits of the octet in the middle, which has sound ones after it. */
function damage(pattern: RegExp): void {
  const path = fileLike(pattern);
  const content = readFileSync(path);
  const at = Math.floor(content.length / 4);
  content.writeUInt8(content.readUInt8(at) ^ 0x5a, at);
  writeFileSync(path, content);
}

async function rewriteMeta(change: (meta: { schema: number }) => void): Promise<void> {
  const level = new ClassicLevel<string, string>(store(), { keyEncoding: 'utf8', valueEncoding: 'utf8' });
  const entry = JSON.parse((await level.get('!meta')) ?? '') as { value: { schema: number } };
  change(entry.value);
  await level.put('!meta', JSON.stringify(entry));
  await level.close();
}

test.each([
  { title: 'a damaged log', code: 'store_corrupt', harm: async () => damage(/\.log$/) },
  { title: 'a damaged manifest', code: 'store_corrupt', harm: async () => damage(/^MANIFEST/) },
  { title: 'no CURRENT', code: 'store_corrupt', harm: async () => rmSync(join(store(), 'CURRENT')) },
  { title: 'no instance id', code: 'store_corrupt', harm: async () => rmSync(instance()) },
  {
    title: 'a folder in the place of the instance id',
    code: 'store_corrupt',
    harm: async () => (rmSync(instance()), mkdirSync(instance())),
  },
  { title: 'a newer version', code: 'store_newer', harm: async () => rewriteMeta((meta) => void (meta.schema = 99)) },
])('with $title the daemon refuses with $code and touches nothing', { timeout: 60_000 }, async ({ code, harm }) => {
  const id = readFileSync(instance());
  await harm();
  const before = [await kernel(), files()];
  lab.log = '';
  await expect(lab.start()).rejects.toThrow('before it was ready');
  lab.daemon = undefined;
  await expect.poll(() => lab.log, LOG).toContain(code);
  expect(await kernel()).toBe(before[0]);
  if (code === 'store_corrupt') expect(files()).toEqual(before[1]);
  rmSync(instance(), { recursive: true, force: true });
  writeFileSync(instance(), id);
  rmSync(store(), { recursive: true });
  cpSync(kept, store(), { recursive: true });
  await lab.start();
  expect((await lab.api<SandboxAnswer>('GET', '/sandboxes/web')).status).toBe(200);
  await lab.stop('SIGKILL');
  rmSync(store(), { recursive: true });
  cpSync(kept, store(), { recursive: true });
});

test(
  'with the store moved away the daemon begins anew and takes back what nobody records any more',
  { timeout: 60_000 },
  async () => {
    renameSync(store(), `${store()}.broken`);
    await lab.start();
    expect((await lab.api('GET', '/sandboxes')).json).toEqual([]);
    expect((await lab.api('GET', '/networks/net')).status).toBe(404);
    expect(await lab.leftovers()).toEqual([]);
  },
);
