/** `npm run lab`: a lab with a shell, or scenarios on it. Whatever ends it, nothing stays. */

import { join } from 'node:path';
import { Lab } from './lab.ts';
import { type Options, USAGE, readOptions } from './options.ts';
import { Running, say } from './running.ts';
import { FULL, SCENARIO_LEASE_S, type Scenario, type Size, runScenario, verdictLine } from './scenario.ts';
import { SCENARIOS } from './scenarios/index.ts';
import { openShell } from './shell.ts';

const SHELL_LEASE_S = 10;
const EXIT_USAGE = 2;
const running = new Running();

const openLab = (hosts: number, options: Options, leaseSeconds: number): Promise<Lab> =>
  Lab.open(
    { hosts, underlay: options.underlay, leaseSeconds: options.leaseSeconds ?? leaseSeconds },
    (lab) => (running.made = lab),
  );

async function withShell(options: Options): Promise<number> {
  say(`making ${options.hosts} hosts, and an etcd of three members`);
  const lab = await openLab(options.hosts, options, SHELL_LEASE_S);
  say(await lab.host(1).ok('node', 'ls'));
  running.isShell = true;
  const code = await openShell(lab);
  running.isShell = false;
  await lab.close();
  return code;
}

function chosen(names: readonly string[]): readonly Scenario[] {
  if (names.includes('all')) return SCENARIOS;
  return names.map((name) => {
    const found = SCENARIOS.find((scenario) => scenario.name === name);
    if (found === undefined) throw new Error(`there is no scenario ${JSON.stringify(name)}; --list shows them`);
    return found;
  });
}

async function withScenarios(options: Options, scenarios: readonly Scenario[]): Promise<number> {
  const size: Size = {
    seed: options.seed,
    churn: options.churn ?? FULL.churn,
    rounds: options.rounds ?? FULL.rounds,
    services: FULL.services,
    awayMs: options.awayMs ?? FULL.awayMs,
    stormMs: options.stormMs ?? FULL.stormMs,
  };
  const hosts = Math.max(options.hosts, ...scenarios.map((scenario) => scenario.hosts));
  let lab: Lab | undefined;
  let failed = 0;
  for (const scenario of scenarios) {
    lab ??= await openLab(hosts, options, SCENARIO_LEASE_S);
    const verdict = await runScenario(lab, scenario, size);
    if (options.logs !== undefined) lab.keepLogs(join(options.logs, scenario.name));
    // A signal made it fail: the lab is going, and so are we.
    if (running.isEnded) return 1;
    if (verdict.error !== undefined) failed++;
    say(verdictLine(verdict));
    if (verdict.isUsable) continue;
    await lab.close();
    lab = undefined;
  }
  await lab?.close();
  say(
    `${scenarios.length - failed} of ${scenarios.length} hold, ${hosts} hosts, underlay ${options.underlay}, seed ${size.seed}`,
  );
  return failed === 0 ? 0 : 1;
}

async function main(args: readonly string[]): Promise<number> {
  let options: Options;
  let scenarios: readonly Scenario[] | undefined;
  try {
    options = readOptions(args);
    scenarios = options.scenarios && chosen(options.scenarios);
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n\n${USAGE}`);
    return EXIT_USAGE;
  }
  if (options.isHelp) {
    say(USAGE.trimEnd());
    return 0;
  }
  if (options.isList) {
    for (const { name, about } of SCENARIOS) say(`${name.padEnd(20)} ${about}`);
    return 0;
  }
  return scenarios === undefined ? await withShell(options) : await withScenarios(options, scenarios);
}

await running.run(() => main(process.argv.slice(2)));
