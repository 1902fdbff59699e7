/** `npm run soak -- --minutes N`: the soak test for that long. */
import { parseArgs } from 'node:util';
import { execa } from 'execa';

const { values } = parseArgs({ options: { minutes: { type: 'string', default: '1' } } });
if (!/^\d{1,4}$/.test(values.minutes) || Number(values.minutes) === 0) {
  console.error('--minutes: a whole number from 1 to 9999');
  process.exit(2);
}
const { exitCode } = await execa('vitest', ['run', '--config', 'test/vitest.config.ts', 'test/load/soak.test.ts'], {
  cwd: new URL('../..', import.meta.url).pathname,
  preferLocal: true,
  stdio: 'inherit',
  reject: false,
  env: { PATCHBAY_SOAK_MINUTES: values.minutes },
});
process.exit(exitCode ?? 1);
