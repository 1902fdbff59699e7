/** 64 clients at once: one winner a name, no lost change, and the state true afterwards. */

import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ask } from '../crash/client.ts';
import { COMMON, Client } from '../crash/load.ts';
import { cleared, stateOf, untruths, type State } from '../crash/truth.ts';
import { Lab, waitUntil } from '../e2e/lab.ts';

const CLIENTS = 64;
/** Operations of each client in the mixed load. */
const STEPS = 8;
const SETTLE_MS = 60_000;

let lab: Lab;
beforeEach(async () => {
  lab = await Lab.open();
});
afterEach(async () => {
  await lab.close();
});

const everyone = Array.from({ length: CLIENTS }, (_, i) => i);

/** All clients at once; answers how many got which status and code. */
async function rush(
  call: (i: number) => readonly [method: string, path: string, body?: unknown],
): Promise<Record<string, number>> {
  const answers = await Promise.all(everyone.map((i) => ask<{ code?: string }>(lab, ...call(i))));
  const counts: Record<string, number> = {};
  for (const { status, json } of answers) {
    const key = json?.code === undefined ? String(status) : `${status} ${json.code}`;
    counts[key] = (counts[key] ?? 0) + 1;
  }
  return counts;
}

const byId = (a: { Id: string }, b: { Id: string }): number => (a.Id < b.Id ? -1 : 1);
const sorted = ({ networks, sandboxes, gateways }: State): State => ({
  networks: networks.toSorted(byId),
  sandboxes: sandboxes.toSorted(byId),
  gateways: gateways.toSorted(byId),
});

const LOSERS = CLIENTS - 1;

test('of 64 clients that want the same, one gets it and the others are told why not', { timeout: 180_000 }, async () => {
  expect(await rush(() => ['POST', '/networks/create', { Name: 'same' }])).toEqual({ 201: 1, '409 name_taken': LOSERS });
  expect(await rush(() => ['POST', '/networks/create', { Name: 'other' }])).toEqual({ 201: 1, '409 name_taken': LOSERS });
  const box = { Name: 'box', Networks: { same: {} }, PortBindings: { '80/tcp': [{ HostPort: '8080' }] } };
  expect(await rush(() => ['POST', '/sandboxes/create', box])).toEqual({ 201: 1, '409 name_taken': LOSERS });
  expect(await rush(() => ['POST', '/networks/other/connect', { Container: 'box' }])).toEqual({
    200: 1,
    '403 already_joined': LOSERS,
  });
  expect(await untruths(lab)).toEqual([]);
  const rivals = await rush((i) => [
    'POST',
    '/sandboxes/create',
    { Name: `rival${i}`, Networks: { same: {} }, PortBindings: { '80/tcp': [{ HostPort: '8081' }] } },
  ]);
  expect(rivals).toEqual({ 201: 1, '500 port_taken': LOSERS });
  const address = { EndpointConfig: { IPAMConfig: { IPv4Address: '10.77.0.9' } } };
  expect(
    (await ask(lab, 'POST', '/networks/create', { Name: 'fixed', IPAM: { Config: [{ Subnet: '10.77.0.0/24' }] } })).status,
  ).toBe(201);
  expect(await rush((i) => ['POST', '/sandboxes/create', { Name: `plain${i}`, Networks: { same: {} } }])).toEqual({
    201: CLIENTS,
  });
  expect(await rush((i) => ['POST', '/networks/fixed/connect', { Container: `plain${i}`, ...address }])).toEqual({
    200: 1,
    '403 address_in_use': LOSERS,
  });
  expect(await rush(() => ['POST', '/networks/other/disconnect', { Container: 'box' }])).toEqual({
    200: 1,
    '500 not_connected': LOSERS,
  });
  expect(await untruths(lab)).toEqual([]);
  expect(await rush(() => ['DELETE', '/sandboxes/box'])).toEqual({ 204: 1, '404 no_sandbox': LOSERS });
  expect(await rush(() => ['DELETE', '/networks/other'])).toEqual({ 204: 1, '404 no_network': LOSERS });
  expect(await cleared(lab)).toEqual([]);
});

test('64 clients with a mixed load: every answer holds, and nothing is left', { timeout: 300_000 }, async () => {
  expect((await ask(lab, 'POST', '/networks/create', { Name: COMMON })).status).toBe(201);
  const clients = everyone.map((i) => new Client(lab, i));
  await Promise.all(
    clients.map(async (client) => {
      for (let step = 0; step < STEPS; step++) await client.step();
    }),
  );
  expect(clients.flatMap((client) => client.surprises)).toEqual([]);
  const before = await stateOf(lab);
  const { networks, sandboxes } = before;
  expect(clients.flatMap((client) => client.settle(networks, sandboxes))).toEqual([]);
  expect(sandboxes.length).toBeGreaterThan(CLIENTS / 2);
  expect(await untruths(lab)).toEqual([]);
  lab.log = '';
  await lab.stop('SIGTERM');
  await lab.start();
  expect(sorted(await stateOf(lab))).toEqual(sorted(before));
  expect(lab.log).not.toMatch(/"level":(40|50)/);
  expect(await cleared(lab)).toEqual([]);
});

test(
  'clients that vanish in the middle: each change is done or undone, and can be made again',
  { timeout: 180_000 },
  async () => {
    for (const Name of [COMMON, 'second']) expect((await ask(lab, 'POST', '/networks/create', { Name })).status).toBe(201);
    const wish = (i: number): unknown => ({
      Name: `gone${i}`,
      Networks: { [COMMON]: {}, second: {} },
      PortBindings: { '80/tcp': [{ HostPort: String(21_000 + i) }] },
    });
    const answers = await Promise.all(
      everyone.map((i) =>
        ask(lab, 'POST', '/sandboxes/create', wish(i), (request) => {
          // Some go at once, some when their turn has come.
          void sleep(i * 10).then(() => request.destroy());
        }),
      ),
    );
    expect(answers.filter(({ status }) => status === 0).length).toBeGreaterThan(0);
    let lies: string[] = ['not looked yet'];
    await waitUntil(async () => (lies = await untruths(lab)).length === 0, SETTLE_MS).catch(() => {});
    expect(lies).toEqual([]);
    const there = new Set((await stateOf(lab)).sandboxes.map((box) => box.Name));
    answers.forEach(({ status }, i) => {
      if (status === 201) expect(there).toContain(`gone${i}`);
    });
    expect(await rush((i) => ['POST', '/sandboxes/create', wish(i)])).toEqual({
      ...(there.size > 0 && { '409 name_taken': there.size }),
      201: CLIENTS - there.size,
    });
    expect(await untruths(lab)).toEqual([]);
    expect(await cleared(lab)).toEqual([]);
  },
);
