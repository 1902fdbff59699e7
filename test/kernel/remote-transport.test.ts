/** Plugins that are reached over TCP and TLS, and answers of chance. */

import { createServer as createPlain } from 'node:http';
import { createServer as createSecure } from 'node:https';
import type { AddressInfo, Server } from 'node:net';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { expect, onTestFinished, test } from 'vitest';
import { PluginClient } from '../../drivers/remote/client.ts';
import { Debts } from '../../drivers/remote/debts.ts';
import { Discovery } from '../../drivers/remote/discovery.ts';
import { silentLogger } from '../../src/base/index.ts';
import { MemoryStore } from '../../src/store/index.ts';
import { ForeignPlugin, GATEWAY, innerOf } from './foreign-plugin.ts';
import { House } from './house-lab.ts';
import { afterTest } from './keeper-lab.ts';
import { testFolder } from './support.ts';

const ctx = { signal: new AbortController().signal };

async function clientOf(folder: string): Promise<PluginClient> {
  const debts = await Debts.open(new MemoryStore(), { log: silentLogger, now: Date.now });
  return new PluginClient('p', { discovery: new Discovery([folder]), debts, log: silentLogger, replyMs: 2000 });
}

const answer = (url: string | undefined): string =>
  JSON.stringify(url === '/Plugin.Activate' ? { Implements: ['NetworkDriver'] } : { Scope: 'local' });

async function listen(server: Server): Promise<number> {
  onTestFinished(() => void server.close());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

test('a plugin over TCP', async () => {
  const folder = testFolder();
  const hosts: (string | undefined)[] = [];
  const server = createPlain((request, response) => {
    hosts.push(request.headers.host);
    response.end(answer(request.url));
  });
  const port = await listen(server);
  writeFileSync(join(folder, 'p.spec'), `tcp://127.0.0.1:${port}\n`);
  const client = await clientOf(folder);
  const { network } = await client.activate('NetworkDriver');
  expect(network).toEqual({ scope: 'local', connectivity: 'local', checksGateway: false });
  expect(new Set(hosts)).toEqual(new Set([`127.0.0.1:${port}`]));
  // Its having been away is all that shows that it was started anew.
  const before = await client.era();
  await new Promise((resolve) => server.close(resolve));
  await expect(client.call('NetworkDriver.DeleteNetwork', {}, anything, ctx, 'probe')).rejects.toMatchObject({ fate: 'unsent' });
  expect(await client.era()).not.toBe(before);
});

const anything = { safeParse: (data: unknown) => ({ success: true, data }) } as never;

/** A folder with cert.pem and key.pem of somebody whom the authority in `ca` signed. */
async function certificates(folder: string, name: string, ca?: string): Promise<string> {
  const at = join(folder, name);
  mkdirSync(at);
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', join(at, 'key.pem')];
  const signer = ca === undefined ? [] : ['-CA', join(ca, 'cert.pem'), '-CAkey', join(ca, 'key.pem')];
  const purpose = ca === undefined ? [] : ['-addext', 'subjectAltName=IP:127.0.0.1'];
  const subject = ['-subj', `/CN=${name}`, '-days', '2'];
  await execa('openssl', ['req', '-x509', ...key, ...subject, ...purpose, ...signer, '-out', join(at, 'cert.pem')]);
  return at;
}

test('a plugin over TLS: both sides are verified, unless the file says otherwise', async () => {
  const folder = testFolder();
  const authority = await certificates(folder, 'authority');
  const other = await certificates(folder, 'other');
  const server = await certificates(folder, 'server', authority);
  const client = await certificates(folder, 'client', authority);
  const pem = (at: string, name: string): Buffer => readFileSync(join(at, `${name}.pem`));
  const secure = createSecure(
    {
      cert: pem(server, 'cert'),
      key: pem(server, 'key'),
      ca: pem(authority, 'cert'),
      requestCert: true,
      rejectUnauthorized: true,
    },
    (request, response) => response.end(answer(request.url)),
  );
  const port = await listen(secure);
  const activated = async (tls: object, scheme = 'https'): Promise<unknown> => {
    writeFileSync(join(folder, 'p.json'), JSON.stringify({ Name: 'p', Addr: `${scheme}://127.0.0.1:${port}`, TLSConfig: tls }));
    const one = await clientOf(folder);
    return one.activate('NetworkDriver', 'probe').then(
      ({ network }) => network?.scope,
      (error: unknown) => error,
    );
  };
  const mine = { CertFile: join(client, 'cert.pem'), KeyFile: join(client, 'key.pem') };
  const known = { ...mine, CAFile: join(authority, 'cert.pem') };
  expect(await activated(known)).toBe('local');
  expect(await activated(known, 'tcp')).toBe('local');
  expect(await activated(mine)).toBe('local');
  const stranger = { ...mine, CAFile: join(other, 'cert.pem') };
  expect(await activated(stranger)).toMatchObject({ code: 'plugin_unreachable' });
  expect(await activated({ ...stranger, InsecureSkipVerify: true })).toBe('local');
  expect(await activated({ CAFile: known.CAFile })).toMatchObject({ code: 'plugin_unreachable' });
  expect(await activated({ ...known, KeyFile: join(other, 'key.pem') })).toMatchObject({ code: 'plugin_failed', fate: 'unsent' });
});

/** Numbers from 0 to `below`, the same for the same seed (mulberry32). */
function chance(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

const ODD: readonly unknown[] = [
  null,
  '',
  0,
  -1,
  true,
  [],
  {},
  'eth0',
  'wire0',
  'lo',
  '0.0.0.0',
  '0.0.0.0/0',
  '255.255.255.255',
  '224.0.0.1',
  '::',
  '::/0',
  'ff02::1',
  'fe80::1%eth0',
  '10.77.0.300',
  '10.77.0.0/33',
  '\u0000',
  '../..',
  'x'.repeat(300),
  { toString: 7 },
  [[[]]],
];

/** Replaces, removes or adds something at a place of chance. */
function mutated(value: unknown, pick: (below: number) => number): unknown {
  if (typeof value !== 'object' || value === null || pick(4) === 0) return ODD[pick(ODD.length)];
  if (Array.isArray(value)) {
    const at = pick(value.length + 1);
    return pick(3) === 0
      ? value.filter((_, i) => i !== at)
      : [...value.slice(0, at), mutated(value[at], pick), ...value.slice(at + 1)];
  }
  const entries = Object.entries(value);
  const [key = 'Other', field] = entries[pick(entries.length)] ?? [];
  const rest = entries.filter(([name]) => name !== key);
  return Object.fromEntries(pick(4) === 0 ? rest : [...rest, [key, mutated(field, pick)]]);
}

const ROUNDS = 120;

test('answers of chance: an endpoint comes about as it should, or nothing does', { timeout: 240_000 }, async () => {
  const house = await House.open();
  const plugin = await ForeignPlugin.open(join(house.plugins, 'foreign.sock'), (command, args) => house.host.exec(command, args));
  afterTest(() => plugin.stop());
  await house.network('net', { driver: 'foreign', ipam: { driver: 'foreign' } });
  await house.network('own');
  await house.controller.createSandbox({ name: 'box', networks: [['own', {}]] });
  await house.controller.createSandbox({ name: 'warm', networks: [['net', {}]] });
  const before = await house.world();
  const held = (): unknown => [[...plugin.networks], [...plugin.endpoints], [...plugin.pools], [...plugin.addresses]];
  const heldBefore = held();
  let made = 0;
  let refused = 0;
  for (let seed = 1; seed <= ROUNDS; seed++) {
    const pick = chance(seed);
    const whole: Record<string, (body: Record<string, unknown>) => unknown> = {
      'NetworkDriver.Join': (body) => ({
        InterfaceName: { SrcName: innerOf(String(body['EndpointID'])), DstPrefix: 'eth' },
        Gateway: GATEWAY,
        GatewayIPv6: 'fe80::1',
        StaticRoutes: [
          { Destination: '10.78.0.0/24', RouteType: 1 },
          { Destination: '10.79.0.0/24', RouteType: 0, NextHop: '10.78.0.9' },
        ],
        DisableGatewayService: false,
      }),
      'NetworkDriver.ProgramExternalConnectivity': () => ({ Err: '' }),
    };
    const method = pick(5) === 0 ? 'NetworkDriver.ProgramExternalConnectivity' : 'NetworkDriver.Join';
    plugin.instead = { ...whole, [method]: (body) => mutated(whole[method]?.(body), pick) ?? null };
    const error: unknown = await house.controller.connect('net', 'box', {}).then(
      () => undefined,
      (e: unknown) => e,
    );
    plugin.instead = {};
    const where = `seed ${seed}: ${String(error)}`;
    if (error === undefined) {
      made++;
      await house.controller.disconnect('net', 'box', false);
    } else {
      refused++;
      expect(error, where).toMatchObject({ code: expect.stringMatching(/^(plugin_failed|syscall_failed)$/) as string });
      expect((error as { undoFailures?: unknown }).undoFailures, where).toBeUndefined();
    }
    expect(held(), where).toEqual(heldBefore);
    if (seed % 10 === 0) expect(await house.world(), where).toEqual(before);
  }
  expect(made).toBeGreaterThan(5);
  expect(refused).toBeGreaterThan(20);
});
