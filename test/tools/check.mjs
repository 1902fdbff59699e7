/**
 * `npm run check`: everything that looks at the sources and runs nothing of them, side by side, since most of these programs use one core.
 * What each prints comes at its end, whole. Loads nothing but Node's own modules.
 */
import { spawn } from 'node:child_process';

const root = new URL('../..', import.meta.url).pathname;
/** Scripts of package.json, the longest first. */
const SCRIPTS = ['types', 'lint', 'dead', 'tidy', 'format:check'];

/** Whether it succeeds. */
const passes = (script) =>
  new Promise((resolve, reject) => {
    const child = spawn('npm', ['run', script], { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
    let text = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (text += chunk));
    child.once('error', reject);
    child.once('close', (code) => {
      process.stdout.write(text);
      resolve(code === 0);
    });
  });

const results = await Promise.all(SCRIPTS.map(async (script) => ({ script, isGood: await passes(script) })));
const bad = results.filter(({ isGood }) => !isGood).map(({ script }) => script);
if (bad.length > 0) {
  process.stderr.write(`these failed: ${bad.join(', ')}\n`);
  process.exitCode = 1;
}
