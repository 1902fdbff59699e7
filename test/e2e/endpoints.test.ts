/** Endpoints by themselves, through the CLI: what they keep while no sandbox has them, and what moves with them. */

import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { EndpointJson, NetworkJson } from '../../src/base/index.ts';
import { Lab, WIRE, waitUntil } from './lab.ts';

const SERVER = `require('http').createServer((q,r)=>r.end('from '+require('os').hostname())).listen(80,'::')`;
const ADDRESS = '10.77.0.50';
const MAC = '02:11:22:33:44:55';

// Dozens of commands a test, each a process: a busy machine needs its time.
vi.setConfig({ testTimeout: 180_000 });

let lab: Lab;
beforeAll(async () => {
  lab = await Lab.open();
  await lab.ok('create', '--subnet', '10.77.0.0/24', 'net');
  await lab.ok('create', 'other');
  for (const name of ['one', 'two']) {
    await lab.ok('run', '-d', '--name', name, '--hostname', name, '--network', 'other', '--', process.execPath, '-e', SERVER);
  }
  await lab.ok('run', '-d', '--name', 'client', '--network', 'net', '--', 'sleep', '1000');
});
afterAll(async () => {
  await lab.close();
});

const inspect = async (name: string): Promise<EndpointJson> => {
  const [found] = JSON.parse(await lab.ok('endpoint', 'inspect', name)) as [EndpointJson];
  return found;
};
const dig = async (name: string): Promise<string> =>
  (await lab.cli('exec', 'client', '--', 'dig', '+short', '+tries=1', '+time=2', name)).stdout.trim();
const fetched = async (): Promise<string> =>
  (await lab.cli('exec', 'client', '--', 'curl', '-s', '-m', '3', `http://${ADDRESS}/`)).stdout;
/** Its server may still be starting. */
const reached = (name: string): Promise<void> => waitUntil(async () => (await fetched()) === `from ${name}`, 15_000);

describe('an endpoint with address, MAC and alias', () => {
  beforeAll(async () => {
    const id = await lab.ok('endpoint', 'create', '--ip', ADDRESS, '--mac-address', MAC, '--alias', 'www', 'net', 'ep');
    expect(id).toMatch(/^[0-9a-f]{64}$/);
  });

  test('has them before any sandbox has it, and its name does not resolve yet', async () => {
    expect(await inspect('ep')).toMatchObject({
      State: 'ready',
      IPAddress: ADDRESS,
      MacAddress: MAC,
      Sandbox: null,
      ByConnect: false,
      Aliases: ['www'],
    });
    expect(await Promise.all(['ep', 'www'].map(dig))).toEqual(['', '']);
    const [net] = JSON.parse(await lab.ok('inspect', 'net')) as [NetworkJson];
    expect(Object.entries(net.Containers ?? {}).filter(([key]) => key.startsWith('ep-'))).toEqual([
      [expect.any(String), expect.objectContaining({ Name: 'ep', IPv4Address: `${ADDRESS}/24`, MacAddress: MAC })],
    ]);
  });

  test('keeps its address from everyone else, and its name too', async () => {
    expect(await lab.cli('endpoint', 'create', '--ip', ADDRESS, 'net', 'thief')).toMatchObject({ exitCode: 1 });
    const twice = await lab.cli('endpoint', 'create', 'net', 'ep');
    expect(twice).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('endpoint with name ep already exists') });
    const sandbox = await lab.cli('sandbox', 'create', '--network', 'net', 'ep');
    expect(sandbox).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('endpoint with name ep already exists') });
    expect(await lab.ok('sandbox', 'ls', '-q', '--filter', 'name=^ep$')).toBe('');
    expect(await lab.ok('endpoint', 'ls', '--format', '{{.Name}} {{.State}}', '--filter', 'network=net')).toBe(
      'client joined\nep ready',
    );
  });

  test('keeps the network from being removed, by name, and from being pruned', async () => {
    await lab.ok('disconnect', 'net', 'client');
    const removed = await lab.cli('rm', 'net');
    expect(removed).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('name:"ep"') });
    expect(await lab.ok('prune', '-f')).not.toContain('net');
    await lab.ok('connect', 'net', 'client');
  });

  test.each(['SIGTERM', 'SIGKILL'] as const)(
    'is the same after the daemon ended by %s while it was joined to nothing',
    async (signal) => {
      const before = await inspect('ep');
      await lab.stop(signal);
      await lab.start();
      expect(await inspect('ep')).toEqual(before);
      expect(await lab.cli('endpoint', 'create', '--ip', ADDRESS, 'net', 'thief')).toMatchObject({ exitCode: 1 });
    },
  );

  test('moves from one sandbox to another with address, MAC and names, and the names follow at once', async () => {
    const interfaceOf = async (name: string) => JSON.parse(await lab.ok('exec', name, '--', 'ip', '-j', 'addr', 'show', 'eth1'));
    for (const name of ['one', 'two']) {
      await lab.ok('endpoint', 'join', 'ep', name);
      expect(await Promise.all(['ep', 'www', 'www.net', name].map(dig))).toEqual(Array(4).fill(ADDRESS));
      await reached(name);
      const [link] = (await interfaceOf(name)) as [{ address: string; addr_info: { local: string }[] }];
      expect([link.address, link.addr_info[0]?.local]).toEqual([MAC, ADDRESS]);
      expect(await inspect('ep')).toMatchObject({ State: 'joined', Sandbox: { Name: name }, Interface: 'eth1' });
      await lab.ok('endpoint', 'leave', 'ep');
      expect(await Promise.all(['ep', 'www', name].map(dig))).toEqual(['', '', '']);
      expect((await lab.cli('exec', name, '--', 'ip', 'link', 'show', 'eth1')).exitCode).not.toBe(0);
      expect(await inspect('ep')).toMatchObject({ State: 'ready', IPAddress: ADDRESS, MacAddress: MAC, Sandbox: null });
    }
  });

  test('is in one sandbox at a time, and only what is joined can leave', async () => {
    await lab.ok('endpoint', 'join', 'ep', 'one');
    for (const sandbox of ['one', 'two']) expect(await lab.cli('endpoint', 'join', 'ep', sandbox)).toMatchObject({ exitCode: 1 });
    expect((await inspect('ep')).Sandbox?.Name).toBe('one');
    await lab.ok('endpoint', 'leave', 'ep');
    expect(await lab.cli('endpoint', 'leave', 'ep')).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining('endpoint ep is not joined'),
    });
  });

  test('of two joins at the same time one wins, and the endpoint is where it says', async () => {
    const outcomes = await Promise.all(['one', 'two'].map((name) => lab.cli('endpoint', 'join', 'ep', name)));
    expect(outcomes.map((o) => o.exitCode).toSorted()).toEqual([0, 1]);
    const winner = outcomes[0]?.exitCode === 0 ? 'one' : 'two';
    expect((await inspect('ep')).Sandbox?.Name).toBe(winner);
    await reached(winner);
    await lab.ok('endpoint', 'leave', 'ep');
  });

  test('stays joined over a kill of the daemon, and leaves afterwards as ever', async () => {
    await lab.ok('endpoint', 'join', 'ep', 'one');
    await lab.stop('SIGKILL');
    await lab.start();
    await reached('one');
    expect(await dig('www')).toBe(ADDRESS);
    await lab.ok('endpoint', 'leave', 'ep');
    expect(await inspect('ep')).toMatchObject({ State: 'ready', IPAddress: ADDRESS });
  });

  test('a disconnect and the end of its sandbox take it out and keep it', async () => {
    await lab.ok('endpoint', 'join', 'ep', 'one');
    await lab.ok('disconnect', 'net', 'one');
    expect(await inspect('ep')).toMatchObject({ State: 'ready', IPAddress: ADDRESS });
    await lab.ok('sandbox', 'create', '--network', 'other', 'short');
    await lab.ok('endpoint', 'join', 'ep', 'short');
    await lab.ok('sandbox', 'rm', 'short');
    expect(await inspect('ep')).toMatchObject({ State: 'ready', IPAddress: ADDRESS });
  });

  test('is removed only by force while it is joined', async () => {
    await lab.ok('endpoint', 'join', 'ep', 'two');
    const refused = await lab.api<{ code: string }>('DELETE', '/endpoints/ep');
    expect(refused).toMatchObject({ status: 403, json: { code: 'endpoint_active' } });
    expect(await lab.ok('endpoint', 'rm', '-f', 'net/ep')).toBe('net/ep');
    expect((await lab.cli('exec', 'two', '--', 'ip', 'link', 'show', 'eth1')).exitCode).not.toBe(0);
    expect(await lab.api('GET', '/endpoints/ep')).toMatchObject({ status: 404, json: { code: 'no_endpoint' } });
    await lab.ok('endpoint', 'rm', await lab.ok('endpoint', 'create', '--ip', ADDRESS, 'net'));
  });
});

test('published ports of the sandbox follow an endpoint that becomes its gateway, and come back', async () => {
  await lab.ok('run', '-d', '--name', 'web', '--network', 'other', '-p', '8081:80', '--', process.execPath, '-e', SERVER);
  await lab.ok('endpoint', 'create', '--gw-priority', '9', '--ip', ADDRESS, 'net', 'front');
  const answers = async () => (await lab.in('outside', 'curl', '-s', '-m', '3', `http://${WIRE.host}:8081/`)).exitCode === 0;
  await waitUntil(answers, 15_000);
  const rules = async () => (await lab.in('host', 'iptables-save')).stdout.match(/--to-destination \S+/g);
  const before = await rules();
  await lab.ok('endpoint', 'join', 'front', 'web');
  expect(await rules()).toEqual([`--to-destination ${ADDRESS}:80`]);
  await waitUntil(answers, 15_000);
  await lab.ok('endpoint', 'leave', 'front');
  expect(await rules()).toEqual(before);
  await waitUntil(answers, 15_000);
});

test('an endpoint that a connect made neither joins nor leaves by itself', async () => {
  const joined = await lab.cli('endpoint', 'join', 'net/client', 'one');
  expect(joined).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('made by a connect') });
  const left = await lab.cli('endpoint', 'leave', 'net/client');
  expect(left).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('disconnect the sandbox') });
});

test('a name that two networks have is told apart by the network', async () => {
  for (const net of ['net', 'other']) await lab.ok('endpoint', 'create', net, 'twin');
  expect(await lab.cli('endpoint', 'rm', 'twin')).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('ambiguous') });
  expect((await inspect('other/twin')).Network.Name).toBe('other');
  await lab.ok('endpoint', 'rm', 'net/twin', 'other/twin');
});

test('networks without links of their own have no endpoints by themselves, and nonsense is refused', async () => {
  for (const net of ['host', 'none']) {
    expect(await lab.cli('endpoint', 'create', net, 'x')).toMatchObject({ exitCode: 1, stderr: expect.stringContaining(net) });
  }
  for (const name of ['a/b', '-x', 'ä', 'x'.repeat(300)]) {
    expect((await lab.api('POST', '/endpoints/create', { Network: 'net', Name: name })).status, name).toBe(400);
  }
  expect((await lab.api('POST', '/endpoints/create', { Name: 'x' })).status).toBe(400);
  expect((await lab.api('POST', '/endpoints/missing/join', { Sandbox: 'one' })).status).toBe(404);
});
