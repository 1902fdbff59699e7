/** All hosts ask for one thing at once: one gets it. */

import type { Host } from '../host.ts';
import type { Lab } from '../lab.ts';
import type { Scenario } from '../scenario.ts';
import { must, until } from '../wait.ts';
import { SPREAD_MS, createBox } from './common.ts';
import { everyHost, lists } from './overlay.ts';

/** What one who is too late may be told. */
const LOST = new Set([403, 409]);

/** Exactly one of the answers is 201, and the others say that it is taken. */
function oneWins(what: string, answers: readonly { readonly status: number; readonly message: string }[]): void {
  const codes = answers.map(({ status }) => status);
  const isSo = codes.filter((code) => code === 201).length === 1 && codes.every((code) => code === 201 || LOST.has(code));
  must(
    isSo,
    `one host gets ${what}, and the others are told that it is taken: ${answers.map(({ status, message }) => `${status} ${message}`).join('; ')}`,
  );
}

async function network(host: Host, name: string): Promise<{ status: number; message: string; id: string }> {
  const body = { Name: name, Driver: 'overlay', IPAM: { Config: [{ Subnet: '10.81.0.0/24' }] } };
  const { status, json } = await host.api<{ Id?: string; message?: string }>('POST', '/networks/create', body);
  return { status, message: json.message ?? '', id: json.Id ?? '' };
}

async function round(lab: Lab, number: number): Promise<void> {
  const name = `race-${number}`;
  const made = await Promise.all(lab.hosts.map((host) => network(host, name)));
  oneWins(`the network ${name}`, made);
  const id = made.find(({ status }) => status === 201)?.id ?? '';
  await until(`every host lists ${name}`, () => everyHost(lab, (host) => lists(host, id)), SPREAD_MS, lab.commands.signal);
  const boxes = await Promise.all(lab.hosts.map((host) => createBox(host, `racer-${number}`, name, '10.81.0.77')));
  oneWins('the address', boxes);
  for (const [at, { status }] of boxes.entries())
    if (status === 201) await lab.host(at + 1).must('DELETE', `/sandboxes/racer-${number}`);
  await lab.host((number % lab.hosts.length) + 1).must('DELETE', `/networks/${id}`);
  const isGone = (): Promise<boolean> => everyHost(lab, async (host) => !(await lists(host, id)));
  await until(`no host lists ${name}`, isGone, SPREAD_MS, lab.commands.signal);
}

export const race: Scenario = {
  name: 'race',
  about: 'all hosts make one network at once and ask for one address at once: exactly one gets each',
  hosts: 2,
  async run(lab, { rounds }) {
    for (let number = 1; number <= rounds; number++) await round(lab, number);
    return `${rounds} rounds of ${lab.hosts.length} hosts, one winner each`;
  },
};
