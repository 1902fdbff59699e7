/** What is asked for while the keeper is away for longer than anybody waits: refused, and nothing of it is left when it is back. */

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import type { SandboxAnswer } from '../../src/base/index.ts';
import { Lab, waitUntil } from '../e2e/lab.ts';
import { ask } from './client.ts';
import { untruths } from './truth.ts';

const SETTLE_MS = 30_000;

const closers: (() => Promise<void> | void)[] = [];
afterAll(async () => {
  for (const close of closers.reverse()) await close();
});

test('a sandbox that could not be made or removed meanwhile leaves no hold behind', { timeout: 120_000 }, async () => {
  const lab = await Lab.open();
  closers.push(() => lab.close());
  expect((await ask(lab, 'POST', '/networks/create', { Name: 'net' })).status).toBe(201);
  const sandbox = (Name: string, HostPort: string) =>
    ask(lab, 'POST', '/sandboxes/create', { Name, Networks: { net: {} }, PortBindings: { '80/tcp': [{ HostPort }] } });
  for (const [name, port] of [
    ['stays', '8080'],
    ['goes', '8082'],
  ] as const)
    expect((await sandbox(name, port)).status).toBe(201);
  const { keeper, supervisor } = await lab.keeperProcesses();
  process.kill(supervisor, 'SIGSTOP');
  try {
    process.kill(keeper, 'SIGKILL');
    const both = await Promise.all([sandbox('fails', '8081'), ask(lab, 'DELETE', '/sandboxes/goes?force=1')]);
    expect(both.map(({ status }) => status)).toEqual([503, 503]);
  } finally {
    process.kill(supervisor, 'SIGCONT');
  }
  await waitUntil(async () => (await untruths(lab)).length === 0, SETTLE_MS).catch(() => {});
  expect(await untruths(lab)).toEqual([]);
  expect(readdirSync(join(lab.runDir, 'keeper/holds'))).toHaveLength(1);
  expect((await sandbox('fails', '8081')).status).toBe(201);
  // A removal may be repeated, where the daemon has not done so itself by now; its name and port are free then.
  expect([204, 404]).toContain((await ask(lab, 'DELETE', '/sandboxes/goes?force=1')).status);
  expect((await sandbox('goes', '8082')).status).toBe(201);
});

test(
  'ports of a sandbox that could not leave its gateway meanwhile are shown where they lead',
  { timeout: 120_000 },
  async () => {
    const lab = await Lab.open();
    closers.push(() => lab.close());
    for (const Name of ['first', 'second']) expect((await ask(lab, 'POST', '/networks/create', { Name })).status).toBe(201);
    const Networks = { first: { GwPriority: 1 }, second: {} };
    const body = { Name: 'box', Networks, PortBindings: { '80/tcp': [{ HostPort: '8080' }] } };
    expect((await ask(lab, 'POST', '/sandboxes/create', body)).status).toBe(201);
    const { keeper, supervisor } = await lab.keeperProcesses();
    process.kill(supervisor, 'SIGSTOP');
    try {
      process.kill(keeper, 'SIGKILL');
      expect((await ask(lab, 'POST', '/networks/first/disconnect', { Container: 'box' })).status).toBe(503);
      const { json } = await ask<SandboxAnswer>(lab, 'GET', '/sandboxes/box');
      expect(Object.keys(json.Networks)).toEqual(['second']);
      expect(json.Ports).toEqual({ '80/tcp': [{ HostIp: '0.0.0.0', HostPort: '8080' }] });
      const { stdout } = await lab.in('host', 'iptables-save', '-t', 'nat');
      expect(stdout).toContain(`--to-destination ${json.Networks['second']?.IPAddress}:80`);
    } finally {
      process.kill(supervisor, 'SIGCONT');
    }
    await waitUntil(async () => (await untruths(lab)).length === 0, SETTLE_MS).catch(() => {});
    expect(await untruths(lab)).toEqual([]);
    // It may be repeated: not connected any more is what is said when the daemon has done so itself.
    const again = await ask<{ code: string }>(lab, 'POST', '/networks/first/disconnect', { Container: 'box' });
    expect([200, 'not_connected']).toContain(again.status === 200 ? 200 : again.json.code);
    expect((await ask(lab, 'POST', '/networks/first/connect', { Container: 'box' })).status).toBe(200);
  },
);

test(
  'the way outside of a sandbox that could not leave its last network meanwhile ends with that leave',
  { timeout: 120_000 },
  async () => {
    const lab = await Lab.open();
    closers.push(() => lab.close());
    expect((await ask(lab, 'POST', '/networks/create', { Name: 'far', Driver: 'overlay' })).status).toBe(201);
    const body = { Name: 'box', Networks: { far: {} }, PortBindings: { '80/tcp': [{ HostPort: '8080' }] } };
    expect((await ask(lab, 'POST', '/sandboxes/create', body)).status).toBe(201);
    const shown = async (): Promise<SandboxAnswer> => (await ask<SandboxAnswer>(lab, 'GET', '/sandboxes/box')).json;
    const rules = async (): Promise<string> => (await lab.in('host', 'iptables-save', '-t', 'nat')).stdout;
    const published = { '80/tcp': [{ HostIp: '0.0.0.0', HostPort: '8080' }] };
    expect((await shown()).Ports).toEqual(published);
    const { keeper, supervisor } = await lab.keeperProcesses();
    process.kill(supervisor, 'SIGSTOP');
    try {
      process.kill(keeper, 'SIGKILL');
      expect((await ask(lab, 'POST', '/networks/far/disconnect', { Container: 'box' })).status).toBe(503);
      expect((await shown()).Ports).toEqual(published);
      expect(await rules()).toContain('--dport 8080');
    } finally {
      process.kill(supervisor, 'SIGCONT');
    }
    // The daemon finishes what it began.
    await waitUntil(async () => !(await rules()).includes('--dport 8080'), SETTLE_MS);
    expect(await shown()).toMatchObject({ Networks: {}, Ports: { '80/tcp': null } });
    await waitUntil(async () => (await untruths(lab)).length === 0, SETTLE_MS).catch(() => {});
    expect(await untruths(lab)).toEqual([]);
    expect((await ask(lab, 'POST', '/networks/far/connect', { Container: 'box' })).status).toBe(200);
    expect((await shown()).Ports).toEqual(published);
  },
);
