/** How long the daemon's event loop is kept from turning, measured inside it by Node's own histogram. */

import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Lab } from '../e2e/lab.ts';

const ANSWER_MS = 5000;
const folder = mkdtempSync('/tmp/pbl-');
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));

/**
 * Loaded into the daemon before its own code: on SIGUSR2 it writes the 99th percentile, nanoseconds, and begins anew. It does
 * nothing before the first one: its own timer, each millisecond, costs two percent of a core.
 */
const PROBE = `const delay = require('perf_hooks').monitorEventLoopDelay({ resolution: 1 });
process.on('SIGUSR2', () => { require('fs').writeFileSync('${folder}/' + process.pid, String(delay.percentile(99))); delay.enable(); delay.reset(); });`;

/** Environment for a daemon that is to be asked. */
export function lagEnv(): Record<string, string> {
  const file = join(folder, 'probe.cjs');
  writeFileSync(file, PROBE);
  return { NODE_OPTIONS: `--require ${file}` };
}

export class LagProbe {
  readonly #pid: number;

  constructor(lab: Lab) {
    const isDaemon = (pid: string): boolean => {
      try {
        const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
        return command.includes('patchbayd.js') && command.includes(lab.runDir);
      } catch {
        return false;
      }
    };
    const found = readdirSync('/proc').find((name) => /^\d+$/.test(name) && isDaemon(name));
    if (found === undefined) throw new Error('no daemon to ask');
    this.#pid = Number(found);
  }

  /** 99th percentile since the last reading, milliseconds beyond the timer's own millisecond. */
  async read(): Promise<number> {
    const file = join(folder, String(this.#pid));
    rmSync(file, { force: true });
    process.kill(this.#pid, 'SIGUSR2');
    const deadline = performance.now() + ANSWER_MS;
    while (!existsSync(file) || readFileSync(file, 'utf8') === '') {
      if (performance.now() > deadline) throw new Error('the daemon does not tell its lag');
      await sleep(5);
    }
    return Math.max(0, Number(readFileSync(file, 'utf8')) / 1e6 - 1);
  }
}
