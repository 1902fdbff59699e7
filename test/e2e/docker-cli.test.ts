/** The stock docker CLI's network commands against our socket. */

import { existsSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { execa } from 'execa';
import { Lab } from './lab.ts';

/** Where the test set-up unpacks Debian's client when the machine has none. */
const UNPACKED = '/var/cache/patchbay-test/docker/usr/bin/docker';

let lab: Lab;
beforeAll(async () => {
  lab = await Lab.open();
});
afterAll(async () => {
  await lab.close();
});

const binary = existsSync(UNPACKED) ? UNPACKED : 'docker';
async function docker(...args: string[]): Promise<{ stdout: string; stderr: string; exitCode: number }> {
  const env = { DOCKER_HOST: `unix://${lab.socket}`, HOME: lab.folder };
  const result = await execa(binary, args, { env, reject: false, stdin: 'ignore' });
  return { stdout: result.stdout, stderr: result.stderr, exitCode: result.exitCode ?? -1 };
}

test('ls, create, inspect, connect, disconnect, rm and prune work, and look like our own', async () => {
  const created = await docker(
    'network',
    'create',
    '--subnet',
    '10.44.0.0/16',
    '--label',
    'who=docker',
    '-o',
    'com.docker.network.bridge.name=dk0',
    'dnet',
  );
  expect(created).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/^[0-9a-f]{64}$/) });
  const listed = await docker('network', 'ls');
  expect(listed.stdout.split('\n').map((line) => line.trimEnd())).toEqual(
    (await lab.ok('ls')).split('\n').map((line) => line.trimEnd()),
  );
  expect((await docker('network', 'ls', '-q', '--filter', 'label=who=docker')).stdout).toBe(created.stdout.slice(0, 12));
  await lab.ok('sandbox', 'create', 'box');
  expect(await docker('network', 'connect', '--ip', '10.44.7.7', '--alias', 'boxy', 'dnet', 'box')).toMatchObject({
    exitCode: 0,
    stderr: '',
  });
  const inspected = await docker(
    'network',
    'inspect',
    'dnet',
    '--format',
    '{{range .Containers}}{{.Name}} {{.IPv4Address}}{{end}}',
  );
  expect(inspected.stdout).toBe('box 10.44.7.7/16');
  expect((await lab.cli('exec', 'box', '--', 'dig', '+short', 'boxy')).stdout).toBe('10.44.7.7');
  const inUse = await docker('network', 'rm', 'dnet');
  expect(inUse.exitCode).toBe(1);
  expect(inUse.stderr).toContain('has active endpoints');
  expect(await docker('network', 'disconnect', 'dnet', 'box')).toMatchObject({ exitCode: 0 });
  expect((await docker('network', 'inspect', 'missing')).stderr).toMatch(
    /^Error response from daemon: network missing not found$/m,
  );
  expect(await docker('network', 'prune', '-f')).toMatchObject({ exitCode: 0, stdout: expect.stringContaining('dnet') });
  expect((await docker('network', 'create', 'bridge')).stderr).toContain(
    'operation is not permitted on predefined bridge network',
  );
});

test('version and ps are understood', async () => {
  expect((await docker('version', '--format', '{{.Server.Version}}')).exitCode).toBe(0);
  expect((await docker('ps', '-a', '--format', '{{.Names}}')).stdout).toBe('box');
});
