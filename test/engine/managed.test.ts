/** The daemon as a managed plugin: made, enabled, used, killed, disabled and removed by the engine itself. */

import { mkdtempSync, readFileSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { waitUntil } from '../e2e/lab.ts';
import { EngineLab, WIRE } from './lab.ts';

const NAME = 'patchbay:latest';
/** The engine's API below the lab's own /run/docker, where the plugin sees it. */
const API = '/run/docker/api.sock';
const URL = `http://${WIRE.host}:8080/`;

let folder: string;
beforeAll(async () => {
  folder = mkdtempSync('/tmp/pbt-');
  await execa(process.execPath, [join(import.meta.dirname, '../tools/plugin-rootfs.mjs'), join(folder, 'plugin')]);
}, 60_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('it asks for the capabilities that the daemon keeps, and for nothing of the host but its network and /run', () => {
  const config = JSON.parse(readFileSync(join(folder, 'plugin/config.json'), 'utf8')) as {
    readonly linux: { readonly capabilities: readonly string[] };
    readonly network: unknown;
    readonly mounts: readonly { readonly source: string }[];
  };
  const kept = /const KEPT[^=]*= \[([^\]]+)\]/.exec(
    readFileSync(new globalThis.URL('../../src/start.ts', import.meta.url), 'utf8'),
  )?.[1];
  expect(config.linux).toEqual({ capabilities: [...(kept ?? '').matchAll(/CAP_\w+/g)].map(([name]) => name) });
  expect(config.linux.capabilities.length).toBeGreaterThan(5);
  expect(config.network).toEqual({ type: 'host' });
  expect(config.mounts.map(({ source }) => source)).toEqual(['/run']);
});

describe.each(['stable', 'newest'] as const)('the %s engine', { timeout: 120_000 }, (generation) => {
  let lab: EngineLab;
  beforeAll(async () => {
    lab = await EngineLab.alone(generation, '-H', `unix://${API}`);
  }, 300_000);
  afterAll(() => lab?.close());

  const run = (name: string, ...args: string[]): Promise<string> =>
    lab.ok('run', '-d', '--stop-signal', 'KILL', '--name', name, ...args);
  const isServed = async (): Promise<boolean> => (await lab.out('curl', '-s', '--max-time', '3', URL)).stdout === 'served';
  const sees = async (name: string): Promise<boolean> =>
    (await lab.docker('exec', name, 'timeout', '5', 'wget', '-qO-', 'http://web/')).stdout === 'served';

  /** The daemon inside the plugin, in the lab's namespace. */
  function daemons(): number[] {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .filter((pid) => {
        try {
          return (
            readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('/opt/patchbay/dist/patchbayd.js') &&
            readFileSync(`/proc/${pid}/mountinfo`, 'utf8').includes(lab.folder) &&
            readlinkSync(`/proc/${pid}/ns/net`) !== readlinkSync('/proc/self/ns/net')
          );
        } catch {
          return false;
        }
      })
      .map(Number);
  }

  test('it is created and enabled, and serves networks, addresses and ports', async () => {
    await lab.ok('plugin', 'create', NAME, join(folder, 'plugin'));
    await lab.ok('plugin', 'set', NAME, `flags=--engine unix:///host${API}`);
    await lab.ok('plugin', 'enable', NAME);
    expect(await lab.ok('plugin', 'ls', '--format', '{{.Name}} {{.Enabled}}')).toBe(`${NAME} true`);
    await lab.ok('network', 'create', '-d', NAME, '--ipam-driver', NAME, 'net');
    await run('web', '--network', 'net', '-p', '8080:80', 'bb:1', 'httpd', '-f', '-h', '/www');
    await run('asker', '--network', 'net', 'bb:1', 'sleep', '600');
    await waitUntil(() => sees('asker'), 20_000);
    await waitUntil(isServed, 20_000);
  });

  test('a running container is connected inside its namespace, which the plugin sees', async () => {
    await run('late', 'bb:1', 'sleep', '600');
    const key = await lab.ok('inspect', '-f', '{{.NetworkSettings.SandboxKey}}', 'late');
    await waitUntil(async () => Number(await lab.on('sh', '-c', `echo $(($(date +%s) - $(stat -c %Z ${key})))`)) > 2, 10_000);
    await lab.ok('network', 'connect', 'net', 'late');
    expect(await lab.ok('exec', 'late', 'ip', '-o', 'link')).toContain('eth100');
    await waitUntil(() => sees('late'), 20_000);
  });

  test('a plugin in use is not disabled, and one that is killed is started again by the engine', async () => {
    expect((await lab.docker('plugin', 'disable', NAME)).stderr).toContain('in use');
    const [pid = 0] = daemons();
    expect(pid).toBeGreaterThan(1);
    process.kill(pid, 'SIGKILL');
    expect(await sees('asker')).toBe(true);
    expect(await isServed()).toBe(true);
    await waitUntil(() => daemons().some((other) => other !== pid), 30_000);
    await lab.ok('restart', 'web');
    await waitUntil(() => sees('asker'), 20_000);
    await waitUntil(isServed, 20_000);
  });

  test('it comes back with its engine, before the networks are needed', async () => {
    await lab.stopEngine();
    expect(daemons()).toEqual([]);
    await lab.startEngine('-H', `unix://${API}`);
    await lab.ok('start', 'web', 'asker');
    await waitUntil(() => sees('asker'), 20_000);
    await waitUntil(isServed, 20_000);
  });

  test('disabled by force and enabled again it knows its networks; it goes with everything that it made', async () => {
    await lab.ok('plugin', 'disable', '-f', NAME);
    expect(await isServed()).toBe(true);
    await lab.ok('plugin', 'enable', NAME);
    await lab.ok('restart', 'web');
    await waitUntil(() => sees('asker'), 20_000);
    await waitUntil(isServed, 20_000);
    await lab.engine.clear();
    expect(await lab.leftovers()).toEqual([]);
    await lab.ok('plugin', 'disable', NAME);
    await lab.ok('plugin', 'rm', NAME);
    expect(daemons()).toEqual([]);
  });
});
