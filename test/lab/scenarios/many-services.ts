/** Many services of twenty members each: how long a change takes to all hosts, in names and in what clients balance. */

import { type ServiceJson, shortId } from '../../../src/base/index.ts';
import type { Host } from '../host.ts';
import type { Lab } from '../lab.ts';
import type { Box } from '../sandboxes.ts';
import type { Scenario } from '../scenario.ts';
import { must, until } from '../wait.ts';
import { SPREAD_MS, chances, createBox, ms } from './common.ts';
import { boxesEverywhere, makeOverlay } from './overlay.ts';
import { everywhere, partOf, spreadOf } from './services.ts';

const MEMBERS = 20;
/** Services that one sandbox is a member of. */
const EACH = 10;

/** A sandbox that is a member. */
interface Place {
  readonly host: Host;
  readonly name: string;
}

export const manyServices: Scenario = {
  name: 'many-services',
  about: 'a change of one member among many services is everywhere at once, and whoever reads it in names balances so',
  hosts: 3,
  async run(lab, { seed, services: count }) {
    const overlay = await makeOverlay(lab, 'crowd', 86);
    const clients = await boxesEverywhere(lab, overlay);
    const places = await placesOn(lab, overlay.name, (count * MEMBERS) / EACH);
    const of = (service: number): Place[] =>
      Array.from({ length: MEMBERS }, (_, i) => places[(service * MEMBERS + i) % places.length]).filter(
        (one) => one !== undefined,
      );
    for (let s = 0; s < count; s++) {
      const body = { Name: `s${s}`, Network: overlay.name };
      const { status } = await lab.host(1 + (s % lab.hosts.length)).api('POST', '/network-services/create', body);
      must(status === 201, `s${s} is made: ${status}`);
    }
    for (let s = 0; s < count; s++)
      await everywhere(lab, clients, `s${s}`, (await look(lab, s)).VirtualIPs.slice(0, 1), 3 * SPREAD_MS);
    const calls: number[] = [];
    // Each host by itself, all of them at once.
    const memberships = Array.from({ length: count }, (_, s) => of(s).map((place) => ({ s, place }))).flat();
    await Promise.all(
      lab.hosts.map(async (host) => {
        for (const { s, place } of memberships) if (place.host === host) calls.push(await change(s, place, 'add'));
      }),
    );
    for (let s = 0; s < count; s++) await everywhere(lab, clients, `tasks.s${s}`, await addressesOf(lab, s), 3 * SPREAD_MS);

    const chance = chances(seed);
    const ways: number[] = [];
    for (let n = 0; n < count; n++) {
      const service = chance(count);
      const place = of(service)[chance(MEMBERS)];
      if (place === undefined) throw new Error('no member');
      const { VirtualIPs, Members, Id } = await look(lab, service);
      must(VirtualIPs.length === 2 && Members.length === MEMBERS, `s${service} is whole`);
      for (const verb of ['drain', 'add'] as const) {
        const wanted = Members.filter(({ Name }) => verb === 'add' || Name !== place.name).map(({ IPAddress }) => IPAddress);
        await change(service, place, verb);
        ways.push(await everywhere(lab, clients, `tasks.s${service}`, wanted));
        // Nothing is waited for.
        for (const client of clients) await balances(client, Id, wanted);
      }
    }
    return `${count} services of ${MEMBERS} on ${lab.hosts.length} hosts: ${spreadOf(ways)}; adds all at once took ${ms(partOf(calls, 0.5))} each, 99 % at most ${ms(partOf(calls, 0.99))}`;
  },
};

/** So many sandboxes without a process, in turns on all hosts. */
async function placesOn(lab: Lab, network: string, count: number): Promise<Place[]> {
  const places: Place[] = Array.from({ length: count }, (_, n) => ({
    host: lab.host(1 + (n % lab.hosts.length)),
    name: `${network}-m${n}`,
  }));
  const onHost = async (host: Host): Promise<void> => {
    for (const { name } of places.filter((place) => place.host === host)) {
      const { status, message } = await createBox(host, name, network);
      must(status === 201, `${name} is made: ${message}`);
    }
  };
  await Promise.all(lab.hosts.map(onHost));
  return places;
}

const look = (lab: Lab, service: number): Promise<ServiceJson> =>
  lab.host(1).must<ServiceJson>('GET', `/network-services/s${service}`);

const addressesOf = async (lab: Lab, service: number): Promise<string[]> => {
  let found: string[] = [];
  const isWhole = async (): Promise<boolean> =>
    (found = (await look(lab, service)).Members.map(({ IPAddress }) => IPAddress)).length === MEMBERS;
  await until(`host 1 knows all members of s${service}`, isWhole, SPREAD_MS, lab.commands.signal);
  return found;
};

/** Answers the milliseconds that the call took. */
async function change(service: number, { host, name }: Place, verb: 'add' | 'drain'): Promise<number> {
  const begin = performance.now();
  const { status, json } = await host.api<{ message?: string }>('POST', `/network-services/s${service}/${verb}`, {
    Sandbox: name,
  });
  must(status < 300, `${verb} of ${name} to s${service}: ${json?.message}`);
  return performance.now() - begin;
}

/** The sandbox's rules lead connections to the service to exactly these. */
async function balances({ host, name, pin }: Box, service: string, wanted: readonly string[]): Promise<void> {
  const { stdout, stderr, exitCode } = await host.inside(pin, 'nft', 'list', 'ruleset');
  must(exitCode === 0, `rules of ${name} are listed: ${stderr}`);
  const chain = new RegExp(`chain to-${service.slice(0, 32)} \\{[^]*?\\n\\t\\}`).exec(stdout)?.[0] ?? '';
  const found = chain.match(/\b\d+\.\d+\.\d+\.\d+\b/g) ?? [];
  must(
    found.toSorted().join() === wanted.toSorted().join(),
    `${name} balances ${shortId(service)} to ${wanted.length} members: ${found.join()}`,
  );
}
