/** Where plugins are looked for, with real sockets and files. */

import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { type Server, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Discovery, isPluginName } from '../../drivers/remote/discovery.ts';

let root = '';
const servers: Server[] = [];
beforeEach(() => void (root = mkdtempSync(join(tmpdir(), 'pbt-discovery-'))));
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => new Promise((resolve) => server.close(resolve))));
  rmSync(root, { recursive: true, force: true });
});

async function socket(path: string): Promise<string> {
  const full = join(root, path);
  mkdirSync(dirname(full), { recursive: true });
  const server = createServer();
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(full, resolve));
  return full;
}

function file(path: string, content: string): string {
  const full = join(root, path);
  mkdirSync(dirname(full), { recursive: true });
  writeFileSync(full, content);
  return full;
}

const discovery = (own?: string): Discovery => new Discovery([join(root, 'run'), join(root, 'etc'), join(root, 'lib')], own);
const find = (name = 'p') => discovery().find(name);

test.each(['p', 'P9', 'a.b', 'a_b-c', 'x'.repeat(128)])('%j is a name', (name) => {
  expect(isPluginName(name)).toBe(true);
});

test.each(['', '.', '..', '-x', '.p', 'a/b', '../p', 'p\n', 'p q', 'ä', 'a:b', 'x'.repeat(129)])('%j is none', async (name) => {
  expect(isPluginName(name)).toBe(false);
  expect(await find(name)).toBeUndefined();
});

describe('which one', () => {
  test('nothing there: nothing found', async () => {
    expect(await find()).toBeUndefined();
  });

  test('a socket in the folder, then in a folder of its name', async () => {
    const inner = await socket('run/p/p.sock');
    expect((await find())?.path).toBe(inner);
    const outer = await socket('run/p.sock');
    expect((await find())?.path).toBe(outer);
  });

  test('a socket comes before any file, and folders come in order', async () => {
    file('etc/p.spec', 'tcp://192.0.2.1:1');
    file('etc/p.json', '{"Addr":"tcp://192.0.2.2:1"}');
    file('lib/p.spec', 'tcp://192.0.2.3:1');
    expect((await find())?.place).toEqual({ host: '192.0.2.1', port: 1 });
    rmSync(join(root, 'etc/p.spec'));
    expect((await find())?.place).toEqual({ host: '192.0.2.2', port: 1 });
    rmSync(join(root, 'etc/p.json'));
    expect((await find())?.place).toEqual({ host: '192.0.2.3', port: 1 });
    const path = await socket('lib/p/p.sock');
    expect((await find())?.place).toEqual({ socketPath: path });
  });

  test('what is no socket is passed over: a file, a folder, a link that leads nowhere, a circle', async () => {
    file('run/p.sock', '');
    mkdirSync(join(root, 'run/p/p.sock'), { recursive: true });
    mkdirSync(join(root, 'etc'), { recursive: true });
    symlinkSync(join(root, 'nowhere'), join(root, 'etc/p.sock'));
    mkdirSync(join(root, 'lib'), { recursive: true });
    symlinkSync(join(root, 'lib/p.sock'), join(root, 'lib/p.sock'));
    expect(await find()).toBeUndefined();
    file('lib/p.spec', 'tcp://192.0.2.1:1');
    expect((await find())?.place).toEqual({ host: '192.0.2.1', port: 1 });
  });

  test('two names may lead to one socket', async () => {
    const path = await socket('run/p.sock');
    symlinkSync(path, join(root, 'run/q.sock'));
    const [p, q] = [await find('p'), await find('q')];
    expect(p?.era).toBe(q?.era);
  });

  test('a socket that is made anew is another era', async () => {
    await socket('run/p.sock');
    const before = (await find())?.era;
    expect((await find())?.era).toBe(before);
    await new Promise((resolve) => servers.splice(0)[0]?.close(resolve));
    await socket('run/p.sock');
    expect((await find())?.era).not.toBe(before);
  });

  test('our own sockets are no plugins of ours', async () => {
    await socket('run/patchbay-bridge.sock');
    await expect(discovery(join(root, 'run')).find('patchbay-bridge')).rejects.toMatchObject({ code: 'no_driver' });
    expect((await discovery(join(root, 'etc')).find('patchbay-bridge'))?.path).toContain('patchbay-bridge.sock');
  });
});

describe('files', () => {
  test.each([
    ['unix:///run/x.sock', { socketPath: '/run/x.sock' }],
    ['  tcp://plugin.example:7000\n', { host: 'plugin.example', port: 7000 }],
    ['tcp://[2001:db8::1]:7000', { host: '2001:db8::1', port: 7000 }],
    ['http://plugin.example', { host: 'plugin.example', port: 80 }],
    ['https://plugin.example', { host: 'plugin.example', port: 443, tls: { isVerified: true } }],
  ])('%j', async (text, place) => {
    file('etc/p.spec', text);
    expect((await find())?.place).toEqual(place);
  });

  test.each([
    ['plugin.example:7000', 'unknown protocol'],
    ['/run/x.sock', 'unknown protocol'],
    ['ftp://plugin.example', 'unknown protocol'],
    ['', 'unknown protocol'],
    ['unix://relative.sock', 'no absolute path'],
    ['tcp://plugin.example', 'no port'],
    ['http://[:', 'not a URL'],
  ])('%j is refused', async (text, words) => {
    file('etc/p.spec', text);
    await expect(find()).rejects.toMatchObject({ code: 'plugin_failed', message: expect.stringContaining(words) as string });
  });

  test('certificates, and whether the plugin is verified', async () => {
    const [CAFile, CertFile, KeyFile] = ['ca', 'cert', 'key'].map((name) => file(`tls/${name}`, `the ${name}`));
    const json = (TLSConfig: unknown): unknown =>
      file('etc/p.json', JSON.stringify({ Name: 'q', Addr: 'https://x:1', TLSConfig }));
    json({ CAFile, CertFile, KeyFile });
    const files = { ca: 'the ca', cert: 'the cert', key: 'the key' };
    expect((await find())?.place).toEqual({ host: 'x', port: 1, tls: { ...files, isVerified: true } });
    json({ CAFile, InsecureSkipVerify: true });
    expect((await find())?.place).toEqual({ host: 'x', port: 1, tls: { ca: 'the ca', isVerified: false } });
    json({});
    expect((await find())?.place).toEqual({ host: 'x', port: 1, tls: { isVerified: false } });
    json({ CAFile: join(root, 'none') });
    await expect(find()).rejects.toMatchObject({
      code: 'plugin_failed',
      message: expect.stringContaining('not there') as string,
    });
  });

  test.each([
    ['{', 'not JSON'],
    ['{}', 'Addr'],
    ['[]', 'expected object'],
    ['{"Addr":7}', 'Addr'],
    [`{"Addr":"${'x'.repeat(70_000)}"}`, 'longer than'],
  ])('%# is refused', async (text, words) => {
    file('etc/p.json', text);
    await expect(find()).rejects.toMatchObject({ code: 'plugin_failed', message: expect.stringContaining(words) as string });
  });
});
