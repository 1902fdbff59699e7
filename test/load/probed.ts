/** A dist folder whose daemon and keeper tell, when asked, what lives in their heaps; else they are the built ones. */

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DIST, waitUntil } from '../e2e/lab.ts';

const ANSWER_MS = 60_000;

/** On SIGUSR2 it collects garbage and writes the octets that are left: heap, and buffers outside it. */
const probe = (folder: string): string => `const v8 = require('v8'), fs = require('fs'), file = '${folder}/' + process.pid;
process.on('SIGUSR2', () => {
  v8.setFlagsFromString('--expose-gc');
  const collect = require('vm').runInNewContext('gc');
  collect(); collect();
  const { heapUsed, external } = process.memoryUsage();
  fs.writeFileSync(file + '.new', String(heapUsed + external));
  fs.renameSync(file + '.new', file);
});`;

export class Probed {
  /** For LabOptions.dist. */
  readonly folder = mkdtempSync('/tmp/pbp-');

  constructor() {
    writeFileSync(join(this.folder, 'probe.js'), probe(this.folder));
    const program = (name: string, first: string): void =>
      writeFileSync(join(this.folder, `${name}.js`), `${first}require(${JSON.stringify(join(DIST, `${name}.js`))});\n`);
    for (const name of ['patchbayd', 'keeper']) program(name, `require('./probe.js');\n`);
    program('keeper-worker', '');
  }

  /** KiB alive in the process's main thread, after a collection. */
  async living(pid: number): Promise<number> {
    const file = join(this.folder, String(pid));
    rmSync(file, { force: true });
    process.kill(pid, 'SIGUSR2');
    await waitUntil(() => existsSync(file), ANSWER_MS);
    return Number(readFileSync(file, 'utf8')) / 1024;
  }

  close(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
