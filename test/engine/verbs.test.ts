/** A real engine runs its containers on our bridge driver. */

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EngineLab, WIRE } from './lab.ts';

describe.each(['stable', 'newest'] as const)('the %s engine', (generation) => {
  let lab: EngineLab;
  beforeAll(async () => {
    lab = await EngineLab.open(generation);
  }, 300_000);
  afterAll(() => lab?.close());

  test('creates a network, runs containers that reach each other by name and address, and leaves nothing', async () => {
    await lab.ok('network', 'create', '-d', 'patchbay-bridge', 'net');
    await lab.ok('run', '-d', '--stop-signal', 'KILL', '--name', 'web', '--network', 'net', 'bb:1', 'httpd', '-f', '-h', '/www');
    await lab.ok('run', '-d', '--stop-signal', 'KILL', '--name', 'asker', '--network', 'net', 'bb:1', 'sleep', '600');
    expect(await lab.ok('exec', 'asker', 'wget', '-qO-', 'http://web/')).toBe('served');
    const address = await lab.ok('inspect', '-f', '{{.NetworkSettings.Networks.net.IPAddress}}', 'web');
    expect(await lab.ok('exec', 'asker', 'wget', '-qO-', `http://${address}/`)).toBe('served');
    expect(await lab.ok('exec', 'asker', 'ip', '-o', '-4', 'addr', 'show', 'eth0')).toContain('inet ');
    await lab.ok('rm', '-f', 'web', 'asker');
    await lab.ok('network', 'rm', 'net');
    expect(await lab.leftovers()).toEqual([]);
  });
});
