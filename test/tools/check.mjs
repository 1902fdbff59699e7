/**
 * `npm run check`: everything that looks at the sources and runs nothing of them, side by side, since most of these programs use one core.
 * What each prints comes at its end, whole.
 */
import { execa } from 'execa';

const cwd = new URL('../..', import.meta.url).pathname;
/** Scripts of package.json, the longest first. */
const SCRIPTS = ['types', 'lint', 'dead', 'tidy', 'format:check'];

const results = await Promise.all(
  SCRIPTS.map(async (script) => {
    const { all, failed } = await execa('npm', ['run', script], { cwd, all: true, reject: false, stdin: 'ignore' });
    process.stdout.write(`${all}\n`);
    return { script, failed };
  }),
);
const bad = results.filter(({ failed }) => failed).map(({ script }) => script);
if (bad.length > 0) {
  process.stderr.write(`these failed: ${bad.join(', ')}\n`);
  process.exitCode = 1;
}
