/** A daemon whose store was damaged: it does not start and says so, touches nothing, and starts with a copy put back. */

import { cpSync, readFileSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { LOG, Lab } from '../e2e/lab.ts';
import { ask } from './client.ts';
import { cleared, namesNotTrue, portsNotHeld, stateOf, untruths } from './truth.ts';

const open: Lab[] = [];
afterEach(async () => {
  for (const lab of open.splice(0)) await lab.close();
});

const content = (folder: string): Record<string, string> =>
  Object.fromEntries(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name), 'base64')]));

/** Links with their bridges, IPv4 addresses, and rules without counters. What the kernel goes on settling by itself is left out. */
async function kernelOf(lab: Lab): Promise<string> {
  const { stdout: links } = await lab.in('host', 'ip', '-o', 'link');
  const { stdout: addresses } = await lab.in('host', 'ip', '-o', '-4', 'addr');
  const rules = await Promise.all(['iptables-save', 'ip6tables-save'].map((tool) => lab.in('host', tool)));
  return [
    ...links.split('\n').map((line) => [/^\d+: [^:]+/.exec(line)?.[0], / master \S+/.exec(line)?.[0]].join('')),
    addresses,
    ...rules.map(({ stdout }) => stdout.replace(/^#.*$/gm, '').replace(/\[\d+:\d+\]/g, '')),
  ].join('\n');
}

const log = (folder: string): string => join(folder, readdirSync(folder).find((name) => name.endsWith('.log')) ?? 'none');

function flip(file: string): void {
  const bytes = readFileSync(file);
  const at = Math.floor(bytes.length / 3);
  bytes.writeUInt8(bytes.readUInt8(at) ^ 0x10, at);
  writeFileSync(file, bytes);
}

test.each([
  ['an octet of its log was changed', (store: string) => flip(log(store))],
  ['the end of its log was cut off', (store: string) => truncateSync(log(store), Math.floor(statSync(log(store)).size / 2))],
  ['its CURRENT is gone', (store: string) => rmSync(join(store, 'CURRENT'))],
])(
  'when %s, the daemon refuses to start, changes nothing, and starts again with a copy',
  { timeout: 120_000 },
  async (_, damage) => {
    const lab = await Lab.open();
    open.push(lab);
    for (const Name of ['one', 'two']) expect((await ask(lab, 'POST', '/networks/create', { Name })).status).toBe(201);
    const box = (Name: string, HostPort: string): unknown => ({
      Name,
      Networks: { one: {} },
      PortBindings: { '80/tcp': [{ HostPort }] },
    });
    for (const [i, name] of ['web', 'shop'].entries())
      expect((await ask(lab, 'POST', '/sandboxes/create', box(name, `808${i}`))).status).toBe(201);
    expect((await ask(lab, 'POST', '/networks/create', { Name: 'last' })).status).toBe(201);
    const state = await stateOf(lab);
    await lab.stop('SIGKILL');
    const store = join(lab.stateDir, 'store');
    const copy = join(lab.folder, 'copy');
    cpSync(store, copy, { recursive: true });
    damage(store);
    const [files, kernel] = [content(store), await kernelOf(lab)];
    lab.log = '';
    await expect(lab.start()).rejects.toThrow('before it was ready');
    lab.daemon = undefined;
    await expect.poll(() => lab.log, LOG).toContain('store_corrupt');
    await expect.poll(() => lab.log, LOG).toContain(store);
    await expect.poll(() => lab.log, LOG).toContain('Restore the state directory from a copy');
    expect(content(store)).toEqual(files);
    expect(await kernelOf(lab)).toBe(kernel);
    expect(await portsNotHeld(lab, state)).toEqual([]);
    expect(await namesNotTrue(state)).toEqual([]);
    rmSync(store, { recursive: true });
    cpSync(copy, store, { recursive: true });
    await lab.start();
    expect((await stateOf(lab)).sandboxes.map((one) => one.Id).toSorted()).toEqual(
      state.sandboxes.map((one) => one.Id).toSorted(),
    );
    expect(await untruths(lab)).toEqual([]);
    expect(await cleared(lab)).toEqual([]);
  },
);
