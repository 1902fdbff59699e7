/** The plugin, the engine, or both end and come back, in any order; what the engine knows lives on, and nothing else. */

import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { waitUntil } from '../e2e/lab.ts';
import { EngineLab, WIRE } from './lab.ts';

/** Minutes of kills in random order. */
const MINUTES = Number(process.env['PATCHBAY_ENGINE_MINUTES'] ?? 0.5);
/** Each takes minutes: a run that takes its time for kills takes both. */
const GENERATIONS =
  process.env['PATCHBAY_ENGINE_MINUTES'] === undefined ? (['newest'] as const) : (['stable', 'newest'] as const);
const URL = `http://${WIRE.host}:8080/`;

describe.each(GENERATIONS)('the %s engine', { timeout: 180_000 }, (generation) => {
  let lab: EngineLab;
  beforeAll(async () => {
    lab = await EngineLab.open(generation);
  }, 300_000);
  afterAll(() => lab?.close());
  afterEach(async () => {
    await lab.engine.clear();
    expect(await lab.leftovers()).toEqual([]);
  });

  const run = (name: string, ...args: string[]): Promise<string> =>
    lab.ok('run', '-d', '--stop-signal', 'KILL', '--name', name, '--network', 'net', ...args);
  const isServed = async (): Promise<boolean> => (await lab.out('curl', '-s', '--max-time', '3', URL)).stdout === 'served';
  const sees = async (name: string, url: string): Promise<boolean> =>
    (await lab.docker('exec', name, 'timeout', '5', 'wget', '-qO-', url)).stdout === 'served';

  async function twoContainers(): Promise<void> {
    await lab.ok('network', 'create', '-d', 'patchbay-bridge', 'net');
    await run('web', '-p', '8080:80', 'bb:1', 'httpd', '-f', '-h', '/www');
    await run('asker', 'bb:1', 'sleep', '6000');
    await waitUntil(() => sees('asker', 'http://web/'), 20_000);
    await waitUntil(isServed, 20_000);
  }

  test('the plugin is killed and comes back under running traffic', async () => {
    await twoContainers();
    const lost: number[] = [];
    let isOver = false;
    const traffic = (async () => {
      while (!isOver) {
        if (!(await isServed())) lost.push(performance.now());
        await sleep(50);
      }
    })();
    for (let i = 0; i < 3; i++) {
      await lab.stopPlugin('SIGKILL');
      expect(await sees('asker', 'http://web/')).toBe(true);
      await lab.startPlugin();
      expect(await sees('asker', 'http://web/')).toBe(true);
    }
    isOver = true;
    await traffic;
    expect(lost).toEqual([]);
    await lab.ok('restart', 'web');
    await waitUntil(isServed, 20_000);
  });

  test('the engine is restarted: its networks are there, its containers start again', async () => {
    await twoContainers();
    await lab.stopEngine();
    await lab.startEngine();
    expect(await lab.ok('network', 'ls', '--format', '{{.Name}}')).toContain('net');
    await lab.ok('start', 'web', 'asker');
    await waitUntil(() => sees('asker', 'http://web/'), 20_000);
    await waitUntil(isServed, 20_000);
  });

  test('the engine is killed, with the plugin or without, and either comes back first', async () => {
    await twoContainers();
    for (const [withPlugin, isPluginFirst] of [
      [false, false],
      [true, true],
      [true, false],
    ] as const) {
      await lab.killEngine();
      if (withPlugin) await lab.stopPlugin('SIGKILL');
      if (withPlugin && isPluginFirst) await lab.startPlugin();
      const engine = lab.startEngine();
      if (withPlugin && !isPluginFirst) await lab.startPlugin();
      await engine;
      await lab.ok('start', 'web', 'asker');
      await waitUntil(() => sees('asker', 'http://web/'), 20_000);
      await waitUntil(isServed, 20_000);
    }
  });

  test('with live restore the containers and their ports outlive the engine', async () => {
    await lab.stopEngine();
    await lab.startEngine('--live-restore');
    try {
      await twoContainers();
      await lab.stopEngine();
      expect(await isServed()).toBe(true);
      await lab.stopPlugin();
      await lab.startPlugin();
      expect(await isServed()).toBe(true);
      await lab.startEngine('--live-restore');
      expect(await sees('asker', 'http://web/')).toBe(true);
      expect(await isServed()).toBe(true);
      await lab.ok('rm', '-f', 'web', 'asker');
      expect(await isServed()).toBe(false);
      await lab.ok('network', 'rm', 'net');
      expect(await lab.leftovers()).toEqual([]);
    } finally {
      await lab.stopEngine();
      await lab.startEngine();
    }
  });

  test('what the engine removes while the plugin is down goes when it is back, and nothing else', async () => {
    await twoContainers();
    await lab.ok('network', 'create', '-d', 'patchbay-bridge', 'doomed');
    await lab.ok('run', '-d', '--stop-signal', 'KILL', '--name', 'gone', '--network', 'doomed', 'bb:1', 'sleep', '600');
    // So that the engine was seen to have them.
    await sleep(12_000);
    const doomed = await lab.ok('network', 'inspect', '-f', '{{.Id}}', 'doomed');
    await lab.stopPlugin();
    // Each call that fails costs the engine 15 seconds.
    await lab.ok('rm', '-f', 'gone');
    await lab.ok('network', 'rm', 'doomed');
    expect(await lab.on('ip', '-o', 'link')).toContain(doomed.slice(0, 12));
    await lab.startPlugin();
    await waitUntil(async () => !(await lab.on('ip', '-o', 'link')).includes(doomed.slice(0, 12)), 60_000);
    expect(await sees('asker', 'http://web/')).toBe(true);
    expect(await isServed()).toBe(true);
  }, 300_000);

  test(
    `kills of engine and plugin in random order for ${MINUTES} minutes leave a truth that works`,
    async () => {
      await twoContainers();
      const end = performance.now() + MINUTES * 60_000;
      let kills = 0;
      while (performance.now() < end) {
        kills++;
        if (Math.random() < 0.5) {
          await lab.stopPlugin('SIGKILL');
          await sleep(Math.random() * 500);
          await lab.startPlugin();
        } else {
          await lab.killEngine();
          await lab.startEngine();
        }
        await lab.docker(...(Math.random() < 0.5 ? ['restart', 'web', 'asker'] : ['start', 'web', 'asker']));
      }
      await lab.ok('start', 'web', 'asker');
      await waitUntil(() => sees('asker', 'http://web/'), 30_000);
      await waitUntil(isServed, 20_000);
      console.log(`${kills} kills`);
    },
    MINUTES * 60_000 + 180_000,
  );
});
