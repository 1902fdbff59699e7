/**
 * Runs the tests of `inside` in a virtual machine on Debian's kernel, which has the modules that this machine's may lack, and
 * reports each of them here.
 */

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { inMachine } from './machine.ts';

const ROOT = new URL('../..', import.meta.url).pathname;
const INSIDE = new URL('inside', import.meta.url).pathname;
/** What `npm test` has time for: drivers on kinds of link, and secure tunnels, each of them without programs. */
const SHARE = ['dhcp', 'ipvlan', 'kernel', 'netem', 'overlay', 'parents', 'secure', 'wireguard'].map((name) => `${name}.test.ts`);
/** Emulated processors are some twenty times slower, and there are machines that are half as quick as others. */
const LIMIT_MS = 30 * 60_000;

interface Report {
  readonly testResults: readonly {
    readonly name: string;
    readonly message?: string;
    readonly status: string;
    readonly assertionResults: readonly {
      readonly fullName: string;
      readonly status: string;
      readonly failureMessages: string[];
    }[];
  }[];
}

const isTest = (name: string): boolean => name.endsWith('.test.ts');
/** The share takes three minutes; all, with programs of Node's and an engine on emulated processors, a quarter of an hour and more. */
const chosen = process.env['PATCHBAY_VM_WHOLE'] === '1' ? readdirSync(INSIDE).filter(isTest) : SHARE;

const script = `cd '${ROOT}' && PATCHBAY_VM=1 exec '${process.execPath}' node_modules/vitest/vitest.mjs run \\
  --config test/vitest.config.ts --testTimeout=120000 --hookTimeout=120000 ${chosen.map((name) => join(INSIDE, name)).join(' ')} --reporter=default --reporter=json --outputFile.json=/job/report.json`;
const { status, output, files } = await inMachine({ script, wanted: ['report.json'], limitMs: LIMIT_MS });
const report = files['report.json'] === undefined ? undefined : (JSON.parse(files['report.json']) as Report);
const results = report?.testResults ?? [];

test('the machine boots, and runs every file to its end', () => {
  expect(report, output).toBeDefined();
  expect(results.map((file) => file.name.split('/').at(-1)).toSorted(), output).toEqual(chosen.toSorted());
  for (const file of results) expect(file.assertionResults.length, file.message).toBeGreaterThan(0);
  const isGreen = results.every((file) => file.status === 'passed');
  expect(status, output).toBe(isGreen ? 0 : 1);
});

/** What kept a file from its tests, such as a set-up that failed, is told with each of them. */
const cases = results.flatMap(({ assertionResults, message = '' }) => assertionResults.map((one) => ({ ...one, message })));

test.each(cases)('$fullName', ({ status: outcome, failureMessages, message }) => {
  expect(outcome, [...failureMessages, message].join('\n')).toBe('passed');
});
