import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { codeOf, messageOf } from '../../src/base/index.ts';
import { readConfigFile } from '../../src/daemon/config-file.ts';
import { AskedForHelp, type DaemonConfig, readConfig } from '../../src/daemon/config.ts';

let folder = '';
let written = 0;
beforeAll(() => void (folder = mkdtempSync(join(tmpdir(), 'patchbay-config-'))));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A configuration file, so that none of the machine is read. */
function file(content: unknown): string {
  const path = join(folder, `${written++}.json`);
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
}

/** Runs a shell's line with its output into a named pipe; it ends with the pipe. */
const writesTo = (pipe: string, line: string): void => void spawn('sh', ['-c', `{ ${line}; } > '${pipe}'`], { stdio: 'ignore' });

const read = (flags: readonly string[], content: unknown = {}): DaemonConfig => readConfig(['--config', file(content), ...flags]);

function expectRefused(work: () => unknown, ...words: string[]): void {
  let seen: unknown = 'accepted';
  try {
    work();
  } catch (error) {
    seen = error;
  }
  expect(codeOf(seen), messageOf(seen)).toBe('bad_config');
  for (const word of words) expect(messageOf(seen)).toContain(word);
}

const defaults: DaemonConfig = {
  socket: '/run/patchbay/patchbay.sock',
  stateDir: '/var/lib/patchbay',
  runDir: '/run/patchbay',
  pluginDir: '/run/docker/plugins',
  pluginPath: ['/run/docker/plugins', '/etc/docker/plugins', '/usr/lib/docker/plugins'],
  pluginTimeoutMs: 20_000,
  engines: ['/run/docker.sock'],
  firewall: 'iptables',
  serviceBalancer: 'nft',
  pools: [],
  bridge: { kind: 'auto' },
  dns: [],
  logLevel: 'info',
};

describe('values', () => {
  test('nothing given: the defaults', () => {
    expect(read([])).toEqual(defaults);
  });

  const good: readonly [key: string, values: string[], expected: Partial<DaemonConfig>][] = [
    ['host', ['unix:///tmp/x.sock'], { socket: '/tmp/x.sock' }],
    ['state-dir', ['/a/b'], { stateDir: '/a/b' }],
    ['run-dir', ['/a/b'], { runDir: '/a/b' }],
    ['plugin-dir', ['/a/b'], { pluginDir: '/a/b' }],
    ['plugin-path', ['/a', '/b'], { pluginPath: ['/a', '/b'] }],
    ['plugin-path', ['none'], { pluginPath: [] }],
    ['plugin-timeout', ['2.5'], { pluginTimeoutMs: 2500 }],
    ['engine', ['unix:///a.sock', 'unix:///b.sock'], { engines: ['/a.sock', '/b.sock'] }],
    ['engine', ['none'], { engines: [] }],
    ['firewall', ['iptables'], { firewall: 'iptables' }],
    ['firewall', ['nftables'], { firewall: 'nftables' }],
    ['service-balancer', ['ipvs'], { serviceBalancer: 'ipvs' }],
    ['bridge', ['none'], { bridge: { kind: 'none' } }],
    ['bridge', ['br-lan.7'], { bridge: { kind: 'adopt', name: 'br-lan.7' } }],
    ['group', ['staff'], { group: 'staff' }],
    ['log-level', ['debug'], { logLevel: 'debug' }],
    ['log-level', ['error'], { logLevel: 'error' }],
    ['dns', ['192.0.2.1', 'FD00:0::1'], { dns: ['192.0.2.1', 'fd00::1'] as unknown as DaemonConfig['dns'] }],
    [
      'default-address-pool',
      ['base=10.0.0.0/8,size=24', 'base=fd00::/48,size=64'],
      { pools: ['base=10.0.0.0/8,size=24', 'base=fd00::/48,size=64'] },
    ],
  ];
  const lists = new Set(['dns', 'default-address-pool', 'engine', 'plugin-path']);
  const asKey = (key: string, values: readonly string[]) => ({ [key]: lists.has(key) ? values : values[0] });

  test.each(good)('--%s %j is taken, as a flag, as a key and as both', (key, values, expected) => {
    const flags = values.flatMap((value) => [`--${key}`, value]);
    const inFile = asKey(key, values);
    for (const config of [read(flags), read([], inFile), read(flags, inFile)])
      expect(config).toEqual({ ...defaults, ...expected });
  });

  const bad: readonly [key: string, value: string, words: string][] = [
    ['host', 'tcp://127.0.0.1:2375', 'plain TCP is refused'],
    ['host', 'tcp://127.0.0.1', 'tcp://ADDRESS:PORT'],
    ['host', 'tcp://127.0.0.1:0', 'tcp://ADDRESS:PORT'],
    ['host', 'tcp://example.org:2376', 'with an IP address'],
    ['tlskey', '/a/key.pem', 'are for --host tcp://'],
    ['host', '/run/x.sock', 'use unix:///PATH'],
    ['host', 'unix://relative', 'use unix:///PATH'],
    ['host', 'unix:///', 'use unix:///PATH'],
    ['state-dir', 'relative', '--state-dir relative: it must be an absolute path'],
    ['state-dir', '', 'it must be an absolute path'],
    ['run-dir', './x', '--run-dir ./x: it must be an absolute path'],
    ['plugin-dir', 'x', '--plugin-dir x: it must be an absolute path'],
    ['plugin-path', 'x', '--plugin-path x: use an absolute path, or none'],
    ['plugin-timeout', '0', '--plugin-timeout 0: use 1 to 600 seconds'],
    ['plugin-timeout', 'long', '--plugin-timeout long: use 1 to 600 seconds'],
    ['engine', 'tcp://127.0.0.1:2375', 'use unix:///PATH, or none'],
    ['firewall', 'pf', '--firewall pf: use iptables'],
    ['service-balancer', 'lvs', '--service-balancer lvs: use nft or ipvs'],
    ['firewall', 'IPTABLES', '--firewall IPTABLES'],
    ['bridge', '', 'use the name of a bridge, or none'],
    ['bridge', 'a/b', '--bridge a/b: use the name of a bridge'],
    ['bridge', 'sixteencharacter', '--bridge sixteencharacter'],
    ['dns', 'localhost', 'invalid IP address: "localhost"'],
    ['dns', '10.0.0.1/24', 'invalid IP address'],
    ['log-level', 'trace', '--log-level trace: use debug, info, warn, error'],
    ['log-level', '', '--log-level'],
  ];
  test.each(bad)('--%s %j is refused, as a flag and as a key', (key, value, words) => {
    expectRefused(() => read([`--${key}`, value]), words);
    expectRefused(() => read([], asKey(key, [value])), words);
  });

  test('TCP with three files is taken beside the unix socket, which is the default one when none is named', () => {
    const files = ['--tlscacert', '/a/ca', '--tlscert', '/a/cert', '--tlskey', '/a/key'];
    const tls = { ca: '/a/ca', cert: '/a/cert', key: '/a/key' };
    const tcp = { hosts: [{ address: '::1', port: 2376 }], tls };
    expect(read(['--host', 'tcp://[::1]:2376', ...files])).toEqual({ ...defaults, tcp });
    const both = ['--host', 'unix:///s', '--host', 'tcp://[::1]:2376'];
    expect(read([...both, ...files])).toEqual({ ...defaults, socket: '/s', tcp });
    expect(read(files, { host: ['unix:///s', 'tcp://[::1]:2376'] })).toEqual({ ...defaults, socket: '/s', tcp });
    expectRefused(() => read(['--host', 'unix:///s', '--host', 'unix:///t']), '/s and /t');
  });

  test('all problems are named at once', () => {
    expectRefused(
      () => read(['--host', 'x', '--run-dir', 'y', '--firewall', 'z', '--dns', 'q', '--log-level', 'w']),
      '--host x',
      '--run-dir y',
      '--firewall z',
      '"q"',
      '--log-level w',
    );
  });
});

describe('flags', () => {
  test.each([
    ['host', 5],
    ['plugin-path', { a: 'b' }],
    ['engine', ['unix:///e', null]],
  ])('%s: %j in the file is refused with what it takes', (key, value) => {
    expectRefused(() => read([], { [key]: value }), `${key}: expected string, or array of strings`);
  });

  test.each([
    [['--nonsense'], "unknown option '--nonsense': see patchbayd --help"],
    [['--host'], "'--host <url>' argument missing"],
    [['stray'], 'too many arguments'],
  ])('%j is refused', (flags, words) => {
    expectRefused(() => read(flags), words);
  });

  test('--key=value is the same as --key value', () => {
    expect(read(['--state-dir=/s'])).toEqual({ ...defaults, stateDir: '/s' });
  });

  test.each([
    'host',
    'state-dir',
    'run-dir',
    'plugin-dir',
    'plugin-path',
    'plugin-timeout',
    'engine',
    'firewall',
    'service-balancer',
    'default-address-pool',
    'bridge',
    'group',
    'dns',
    'log-level',
  ])('help names --%s', (key) => {
    expect(() => readConfig(['--help'])).toThrow(AskedForHelp);
    expect(() => readConfig(['--help'])).toThrow(`--${key} <`);
  });

  test('the version is asked for like help', () => {
    expect(() => readConfig(['--version'])).toThrow(AskedForHelp);
    expect(() => readConfig(['--version'])).toThrow(/^\d+\.\d+/);
  });
});

describe('file', () => {
  test.each([
    ['', 'is not JSON'],
    ['{', 'is not JSON'],
    ['{} {}', 'is not JSON'],
    ['[]', 'invalid configuration file'],
    ['null', 'invalid configuration file'],
    [{ nonsense: 1 }, 'nonsense'],
    [{ config: '/x' }, 'config'],
    [{ stateDir: '/x' }, 'stateDir'],
    [{ dns: '10.0.0.1' }, 'dns'],
    [{ bridge: true }, 'bridge'],
    [{ 'default-address-pool': [1] }, 'default-address-pool.0'],
  ])('%j is refused', (content, words) => {
    expectRefused(() => read([], content), words);
  });

  test('all problems of a file are named at once', () => {
    expectRefused(() => read([], { host: 1, dns: 2, other: 3 }), 'host', 'dns', 'other');
  });

  test('a file that was named must exist', () => {
    expectRefused(() => readConfig(['--config', join(folder, 'absent')]), join(folder, 'absent'), 'ENOENT');
    expectRefused(() => readConfig(['--config', folder]), folder, 'not a file');
    expectRefused(() => readConfig(['--config', '']), '--config', 'path of a file');
  });

  test('a pipe is read to its end, as what a shell puts in the place of a file is', () => {
    const pipe = join(folder, 'named');
    execFileSync('mkfifo', [pipe]);
    // In parts, the first of them late.
    writesTo(pipe, `sleep 0.2; printf '{"log-level":'; sleep 0.2; printf '"debug"}'`);
    expect(readConfig(['--config', pipe]).logLevel).toBe('debug');
  });

  test('what would be read without end is no file', () => {
    const pipe = join(folder, 'pipe');
    execFileSync('mkfifo', [pipe]);
    expectRefused(() => readConfigFile(pipe, 50), pipe, 'its end did not come', 'use a file');
    expectRefused(() => readConfig(['--config', '/dev/zero']), '/dev/zero', 'not a file');
    writesTo(pipe, 'yes');
    expectRefused(() => readConfigFile(pipe), pipe, 'larger than 1 MiB');
    expectRefused(() => read([], ' '.repeat(2 * 1024 * 1024)), 'larger than 1 MiB');
  });

  test('an unknown key is answered with those that there are', () => {
    expectRefused(() => read([], { colour: 'red' }), 'unknown key "colour"', 'use host, ', 'log-level');
  });
});

test('of a flag given twice the last one counts, as with the engine', () => {
  expect(read(['--state-dir', '/a', '--state-dir', '/b']).stateDir).toBe('/b');
});

describe('a flag and a key', () => {
  test.each([
    [['--group', 'a'], { group: 'b' }, '--group is "a" as a flag and "b" in the configuration file'],
    [['--dns', '10.0.0.1'], { dns: ['10.0.0.1', '10.0.0.2'] }, '--dns is ["10.0.0.1"] as a flag'],
    [['--dns', '10.0.0.2', '--dns', '10.0.0.1'], { dns: ['10.0.0.1', '10.0.0.2'] }, '--dns is'],
  ])('%j and %j disagree', (flags, content, words) => {
    expectRefused(() => read(flags, content), words);
  });

  test('every disagreement is named', () => {
    expectRefused(() => read(['--group', 'a', '--bridge', 'x'], { group: 'b', bridge: 'y' }), '--group is', '--bridge is');
  });

  test('different keys are put together', () => {
    expect(read(['--group', 'a'], { bridge: 'none' })).toEqual({ ...defaults, group: 'a', bridge: { kind: 'none' } });
  });
});

describe('a cluster', () => {
  test('is read with its companions', () => {
    expect(
      read([
        '--cluster',
        'etcd://h1,h2:1234',
        '--node-name',
        'a',
        '--advertise',
        'fd00::1',
        '--node-lease',
        '30',
        '--data-path-port',
        '4790',
      ]).cluster,
    ).toEqual({
      address: { members: ['h1:2379', 'h2:1234'], prefix: '/patchbay/' },
      nodeName: 'a',
      advertise: 'fd00::1',
      leaseSeconds: 30,
      dataPathPort: 4790,
    });
    expect(read([], { cluster: 'etcd://h1', 'node-name': 'b' }).cluster).toMatchObject({ nodeName: 'b', leaseSeconds: 10 });
    expect(read([]).cluster).toBeUndefined();
  });

  test.each([
    [['--cluster', 'http://x:1'], 'etcd://'],
    [['--node-name', 'x'], '--node-name needs --cluster'],
    [['--advertise', '10.0.0.1'], '--advertise needs --cluster'],
    [['--cluster', 'etcd://x:1', '--node-lease', '1'], '3 to 300 seconds'],
    [['--data-path-port', '4790'], '--data-path-port needs --cluster'],
    [['--cluster', 'etcd://x:1', '--data-path-port', '80'], '1024 to 49151'],
    [['--cluster', 'etcd://x:1', '--data-path-port', '0x1fff'], '1024 to 49151'],
    [['--cluster', 'etcd://x:1', '--node-lease', 'soon'], '3 to 300 seconds'],
    [['--cluster', 'etcd://x:1', '--node-name', 'a b'], '--node-name'],
    [['--cluster', 'etcd://x:1', '--advertise', '10.0.0.0/8'], '10.0.0.0/8'],
  ])('%j is refused', (flags, words) => {
    expectRefused(() => read(flags), words);
  });
});
