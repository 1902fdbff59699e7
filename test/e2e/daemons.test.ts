/** Daemons and what surrounds them: two on one host, a second on the same folders, bridges given, Node releases. */

import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { libc, openNetns } from '../../src/kernel/index.ts';
import { unixAddress } from '../../src/kernel/notify.ts';
import { Lab, waitUntil } from './lab.ts';

/** Where the test set-up unpacks the newest long-term release. */
const NODE_26 = '/var/cache/patchbay-test/node-26/bin/node';

const labs: Lab[] = [];
const open = async (options: Parameters<typeof Lab.open>[0] = {}): Promise<Lab> => {
  const lab = await Lab.open(options);
  labs.push(lab);
  return lab;
};
afterEach(async () => {
  for (const lab of labs.splice(0).reverse()) await lab.close();
});

test("two daemons share a host: own networks, own rules, and neither removes what is the other's", async () => {
  const first = await open();
  const second = await open({ in: first });
  expect(await first.ok('inspect', '--format', '{{index .Options "com.docker.network.bridge.name"}}', 'bridge')).toBe(
    'patchbay0',
  );
  expect(await second.ok('inspect', '--format', '{{index .Options "com.docker.network.bridge.name"}}', 'bridge')).toBe(
    'patchbay1',
  );
  for (const lab of [first, second]) {
    await lab.ok('create', 'same');
    await lab.ok('sandbox', 'create', 'box', '--network', 'same');
  }
  const subnet = (lab: Lab) => lab.ok('inspect', '--format', '{{(index .IPAM.Config 0).Subnet}}', 'same');
  expect(await subnet(first)).not.toBe(await subnet(second));
  expect((await first.in('host', 'iptables-save')).stdout.match(/-A FORWARD -j PATCHBAY-USER/g)).toHaveLength(1);
  await second.stop('SIGKILL');
  await second.start();
  for (const lab of [first, second])
    expect((await lab.cli('exec', 'box', '--', 'dig', '+short', 'box')).stdout).toMatch(/^172\./);
  await second.ok('sandbox', 'rm', 'box');
  await second.ok('rm', 'same');
  expect((await first.cli('exec', 'box', '--', 'dig', '+short', 'box')).stdout).toMatch(/^172\./);
});

test('a second daemon on the same folders is refused, and the first one is not disturbed', async () => {
  const lab = await open();
  const { daemon } = lab;
  await expect(lab.start()).rejects.toThrow(/holds .*state\/lock/);
  lab.daemon = daemon;
  expect((await lab.cli('ls')).exitCode).toBe(0);
});

test('--bridge none makes no default network; --bridge adopts one and never deletes it', async () => {
  const lab = await open({ flags: ['--bridge', 'none'] });
  expect(await lab.ok('ls', '--format', '{{.Name}}')).toBe('host\nnone');
  await lab.ok('sandbox', 'create', 'alone');
  expect(await lab.ok('sandbox', 'ls', '--format', '{{.Networks}}')).toBe('none');
  await lab.ok('sandbox', 'rm', 'alone');
  await lab.close();
  labs.pop();
  const wire = await open({
    flags: ['--bridge', 'mybr0'],
    before: [
      ['ip', 'link', 'add', 'mybr0', 'type', 'bridge'],
      ['ip', 'addr', 'add', '10.77.0.1/24', 'dev', 'mybr0'],
    ],
  });
  expect(
    await wire.ok('inspect', '--format', '{{(index .IPAM.Config 0).Subnet}} {{(index .IPAM.Config 0).Gateway}}', 'bridge'),
  ).toBe('10.77.0.0/24 10.77.0.1');
  await wire.ok('sandbox', 'create', 'box');
  expect((await wire.cli('exec', 'box', '--', 'ping', '-c1', '-W2', '10.77.0.1')).exitCode).toBe(0);
  await wire.stop();
  await wire.start();
  expect((await wire.in('host', 'ip', '-o', 'link', 'show', 'mybr0')).exitCode).toBe(0);
});

test("the reference's pools by option: 31 networks and a clear refusal for the next", { timeout: 120_000 }, async () => {
  const pools = [
    '172.17.0.0/16,size=16',
    '172.18.0.0/16,size=16',
    '172.19.0.0/16,size=16',
    '172.20.0.0/14,size=16',
    '172.24.0.0/14,size=16',
    '172.28.0.0/14,size=16',
    '192.168.0.0/16,size=20',
  ];
  const lab = await open({ flags: [...pools.flatMap((pool) => ['--default-address-pool', `base=${pool}`]), '--bridge', 'none'] });
  const create = (i: number) => lab.api<{ message: string }>('POST', '/networks/create', { Name: `n${i}` });
  const subnet = (i: number) => lab.ok('inspect', '--format', '{{(index .IPAM.Config 0).Subnet}}', `n${i}`);
  for (let i = 0; i < 31; i++) expect((await create(i)).status, `network ${i}`).toBe(201);
  expect(await subnet(0)).toBe('172.17.0.0/16');
  const refused = await create(31);
  expect([refused.status, refused.json.message]).toEqual([
    400,
    expect.stringMatching(/all predefined address pools have been fully subnetted[\s\S]*172\.17\.0\.0\/16/),
  ]);
  expect(refused.json.message).toContain('default-address-pool');
  await lab.ok('rm', 'n2');
  expect((await create(2)).status).toBe(201);
  expect(await subnet(2)).toBe('172.19.0.0/16');
  for (let i = 0; i < 31; i++) await lab.ok('rm', `n${i}`);
  expect(await lab.leftovers()).toEqual([]);
});

test('the socket is for its group only, what is stored is for root', async () => {
  const lab = await open({ flags: ['--group', 'daemon'] });
  expect(statSync(lab.socket).mode & 0o777).toBe(0o660);
  expect(statSync(lab.socket).gid).toBe(1);
  expect(statSync(lab.stateDir).mode & 0o777).toBe(0o700);
});

test.each([
  ['off', 'DROP'],
  ['on', 'ACCEPT'],
])('where routing was %s, the policy of forwarded traffic is then %s', async (before, policy) => {
  const lab = await open({ before: [['sysctl', '-qw', `net.ipv4.ip_forward=${before === 'on' ? 1 : 0}`]] });
  expect((await lab.in('host', 'iptables', '-S', 'FORWARD')).stdout.split('\n')[0]).toBe(`-P FORWARD ${policy}`);
  expect((await lab.in('host', 'sysctl', '-n', 'net.ipv4.ip_forward')).stdout).toBe('1');
});

test('IPv6 routing, once switched on, leaves the host its router advertisements', async () => {
  const lab = await open();
  const acceptRa = async (link: string): Promise<string> =>
    (await lab.in('host', 'sysctl', '-n', `net.ipv6.conf.${link}.accept_ra`)).stdout;
  expect(await acceptRa('wire0')).toBe('1');
  await lab.ok('create', '--ipv6', '-o', 'com.docker.network.bridge.name=six0', 'six');
  expect([await acceptRa('wire0'), await acceptRa('six0')]).toEqual(['2', '0']);
});

describe('a service manager', () => {
  /** What it has been told and has not read. */
  interface Manager {
    readonly address: Buffer;
    read(): string[];
  }

  /** A name behind an @ is known in one network namespace: that of `lab`, else the one of the tests. */
  async function managed(name: string, work: (manager: Manager, name: string) => Promise<void>, lab?: Lab): Promise<void> {
    const folder = mkdtempSync(join(tmpdir(), 'pbt-notify-'));
    const path = name.startsWith('@') ? `${name}-${basename(folder)}` : join(folder, name);
    const address = unixAddress(path);
    using netns = openNetns(lab === undefined ? '/proc/self/ns/net' : `/run/netns/${lab.host}`);
    const fd = netns.run(() => libc.socket(libc.AF.unix, libc.SOCK.datagram | libc.SOCK.nonblock, 0));
    const read = (): string[] => {
      const told: string[] = [];
      const into = Buffer.alloc(4096);
      for (let size = 0; (size = libc.receive(fd, into)) >= 0;) told.push(...into.toString('utf8', 0, size).split('\n'));
      return told;
    };
    try {
      libc.bind(fd, address, path);
      await work({ address, read }, path);
    } finally {
      libc.close(fd);
      rmSync(folder, { recursive: true });
    }
  }

  test.each(['notify', '@pbt-notify'])(
    'at %s is told when the daemon serves, that it is alive, and when it stops',
    async (name) => {
      const machine = await open();
      const work = async ({ read }: Manager, path: string): Promise<void> => {
        const lab = await open({ in: machine, env: { NOTIFY_SOCKET: path, WATCHDOG_USEC: '400000' } });
        const [ready, ...later] = read();
        expect(ready).toBe('READY=1');
        const isAlive = (line: string): boolean => line === 'WATCHDOG=1';
        await waitUntil(() => later.push(...read()) > 0 && later.filter(isAlive).length > 2, 20_000);
        await lab.stop();
        expect(read()).toContain('STOPPING=1');
      };
      await managed(name, work, machine);
    },
  );

  test('that asks for no sign of life gets none, and one that asks another process none of ours', async () => {
    await managed('notify', async ({ read }, path) => {
      const lab = await open({ env: { NOTIFY_SOCKET: path, WATCHDOG_USEC: '1000', WATCHDOG_PID: '1' } });
      await lab.ok('create', 'net');
      await lab.stop();
      expect(read()).toEqual(['READY=1', expect.stringMatching(/^STATUS=/), 'STOPPING=1']);
    });
  });

  test('that does not read keeps nobody from serving, and is told when it reads', async () => {
    await managed('notify', async ({ address, read }, path) => {
      const full = libc.socket(libc.AF.unix, libc.SOCK.datagram | libc.SOCK.nonblock | libc.SOCK.cloexec, 0);
      while (libc.sendTo(full, Buffer.from('x'), address) >= 0);
      libc.close(full);
      const lab = await open({ env: { NOTIFY_SOCKET: path, WATCHDOG_USEC: '20000' } });
      await lab.ok('create', 'net');
      const told: string[] = [];
      await waitUntil(() => told.push(...read()) > 0 && told.includes('READY=1'), 20_000);
      await lab.stop();
    });
  }, 60_000);

  test.each(['/nowhere/notify', 'nonsense', '@', 'vsock:2:9', `/${'long/'.repeat(80)}`])(
    'that is not there, %s, keeps nobody from serving',
    async (path) => {
      const lab = await open({ env: { NOTIFY_SOCKET: path, WATCHDOG_USEC: '20000' } });
      expect((await lab.cli('ls')).exitCode).toBe(0);
      await lab.stop();
      expect(lab.log.match(/the service manager cannot be told/g)).toHaveLength(1);
    },
  );
});

describe('on Node 26', () => {
  let lab: Lab;
  beforeAll(async () => {
    expect(existsSync(NODE_26), `${NODE_26} is missing: npm test unpacks it`).toBe(true);
    lab = await Lab.open({ node: NODE_26 });
  });
  afterAll(async () => {
    await lab.close();
  });

  test('names, a published port, exec, and a restart', async () => {
    await lab.ok('create', '--ipv6', 'net');
    await lab.ok(
      'run',
      '-d',
      '--name',
      'web',
      '--network',
      'net',
      '-p',
      '8088:80',
      '--',
      lab.node,
      '-e',
      `require('http').createServer((q,r)=>r.end(process.version)).listen(80,'::')`,
    );
    await lab.ok('sandbox', 'create', 'asker', '--network', 'net');
    await expect
      .poll(async () => (await lab.in('outside', 'curl', '-s', '-m', '1', 'http://198.51.100.1:8088/')).stdout, {
        timeout: 10_000,
      })
      .toMatch(/^v26\./);
    expect((await lab.in('outside', 'curl', '-s', '-m', '1', 'http://[2001:db8:100::1]:8088/')).stdout).toMatch(/^v26\./);
    expect((await lab.cli('exec', 'asker', '--', 'curl', '-s', 'http://web/')).stdout).toMatch(/^v26\./);
    expect((await lab.cli('version', '--format', '{{.Server.NodeVersion}}')).stdout).toMatch(/^v26\./);
    await lab.stop('SIGKILL');
    await lab.start();
    expect((await lab.cli('exec', 'asker', '--', 'dig', '+short', 'AAAA', 'web')).stdout).toMatch(/^fd/);
    await lab.ok('sandbox', 'rm', '-f', 'web', 'asker');
    await lab.ok('rm', 'net');
    expect(await lab.leftovers()).toEqual([]);
  });
});
