/** Who may do what: capabilities of our processes, files and sockets against another user, namespaces that may be named. */

import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, readFileSync, readdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { SandboxAnswer } from '../../src/base/index.ts';
import { openNetns } from '../../src/kernel/index.ts';
import { DIST, Lab, waitUntil } from './lab.ts';

/** Nobody's uid and gid, and a group that may use the socket. */
const UID = 65_533;
const GROUP = 65_532;

let lab: Lab;
beforeAll(async () => {
  lab = await Lab.open({ flags: ['--group', String(GROUP)] });
  // Others may look at the lab's folder, so that only the modes of our own files are between them and those.
  for (const folder of [lab.folder, lab.runDir]) chmodSync(folder, 0o755);
  await lab.ok('create', 'net');
  await lab.ok('run', '-d', '--name', 'box', '--network', 'net', '-p', '81:80', '--', 'sleep', '600');
});
afterAll(async () => {
  await lab.close();
});

/** A command of another user, in the socket's group or not. */
const asUser = async (isMember: boolean, command: string, ...args: string[]) => {
  const groups = isMember ? ['--groups', String(GROUP)] : ['--clear-groups'];
  const flags = ['--reuid', String(UID), '--regid', String(UID), ...groups, '--inh-caps=-all'];
  return execa('setpriv', [...flags, command, ...args], { reject: false, stdin: 'ignore', timeout: 30_000 });
};

const post = async (isMember: boolean, path: string, body: object) => {
  const data = ['-H', 'Content-Type: application/json', '-d', JSON.stringify(body)];
  const { stdout } = await asUser(isMember, 'curl', '-s', '--unix-socket', lab.socket, ...data, `http://x${path}`);
  return (stdout === '' ? undefined : JSON.parse(stdout)) as { code?: string; message?: string; Id?: string } | undefined;
};

describe('capabilities', () => {
  const BITS = { chown: 0, kill: 5, setpcap: 8, bind: 10, netAdmin: 12, netRaw: 13, ptrace: 19, sysAdmin: 21 } as const;
  const mask = (...names: (keyof typeof BITS)[]): bigint => names.reduce((sum, name) => sum | (1n << BigInt(BITS[name])), 0n);
  const DAEMON = mask('chown', 'kill', 'setpcap', 'bind', 'netAdmin', 'netRaw', 'ptrace', 'sysAdmin');
  const KEEPER = mask('bind', 'netAdmin', 'sysAdmin');

  interface Rights {
    readonly comm: string;
    readonly sets: readonly bigint[];
    readonly noNewPrivileges: boolean;
  }

  const threads = (pid: number): Rights[] =>
    readdirSync(`/proc/${pid}/task`).map((tid) => {
      const status = readFileSync(`/proc/${pid}/task/${tid}/status`, 'utf8');
      const sets = [...status.matchAll(/^Cap(?:Prm|Eff|Bnd):\s*([0-9a-f]+)$/gm)].map(([, bits]) => BigInt(`0x${bits}`));
      return { comm: /^Name:\s*(.+)$/m.exec(status)?.[1] ?? '', sets, noNewPrivileges: /^NoNewPrivs:\s*1$/m.test(status) };
    });

  const childrenOf = (pid: number): number[] =>
    readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number);

  test('every thread of the daemon has just what the daemon needs, and so has every child', () => {
    const pid = lab.daemon?.pid ?? 0;
    const all = threads(pid);
    expect(all.length).toBeGreaterThan(4);
    for (const { comm, sets, noNewPrivileges } of all) {
      expect([comm, noNewPrivileges, ...sets]).toEqual([comm, true, DAEMON, DAEMON, DAEMON]);
    }
    for (const child of childrenOf(pid))
      for (const { sets } of threads(child)) for (const set of sets) expect(set & ~DAEMON).toBe(0n);
  });

  test('every thread of the keeper has less', () => {
    const keeper = keeperPid();
    const all = threads(keeper);
    expect(all.length).toBeGreaterThan(4);
    for (const { comm, sets, noNewPrivileges } of all) {
      expect([comm, noNewPrivileges, ...sets]).toEqual([comm, true, KEEPER, KEEPER, KEEPER]);
    }
  });

  test('both run with a small memory, which costs no further process', () => {
    for (const pid of [lab.daemon?.pid ?? 0, keeperPid()]) {
      expect(readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')[1]).toBe('--max-semi-space-size=2');
      expect(readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0')).toContain('MALLOC_ARENA_MAX=1');
    }
  });

  test('a process of network run is not touched by it', async () => {
    const { json } = await lab.api<SandboxAnswer>('GET', '/sandboxes/box');
    const own = threads(process.pid)[0];
    expect(threads(json.Process?.Pid ?? 0)[0]?.sets).toEqual(own?.sets);
  });

  function keeperPid(): number {
    const found = readdirSync('/proc').filter((name) => {
      if (!/^\d+$/.test(name)) return false;
      try {
        const words = readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0');
        return words.includes(lab.runDir) && words[0] !== '/bin/sh' && words.some((word) => word.endsWith('keeper.js'));
      } catch {
        return false;
      }
    });
    expect(found).toHaveLength(1);
    return Number(found[0]);
  }
});

describe('files', () => {
  /** Everything below a folder, folders included. */
  function below(folder: string): string[] {
    return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
      const path = join(folder, entry.name);
      return entry.isDirectory() ? [path, ...below(path)] : [path];
    });
  }

  test('state and tables are for root alone, whatever was there before', () => {
    for (const top of [lab.stateDir, join(lab.runDir, 'keeper')]) {
      expect([top, (statSync(top).mode & 0o777).toString(8)]).toEqual([top, '700']);
      for (const path of below(top)) {
        const stat = statSync(path);
        expect([path, stat.mode & 0o077]).toEqual([path, 0]);
      }
    }
  });

  test('another user reads what processes in a sandbox read', async () => {
    const { json } = await lab.api<SandboxAnswer>('GET', '/sandboxes/box');
    for (const path of [json.Files.Hosts, json.Files.ResolvConf, json.Files.Hostname])
      expect([path, (await asUser(false, 'cat', path)).exitCode]).toEqual([path, 0]);
    expect((await asUser(false, 'ls', join(lab.runDir, 'netns'))).stdout).not.toBe('');
  });

  test('nothing of ours can be written by others', () => {
    for (const path of [...below(lab.runDir), ...below(lab.stateDir)]) {
      if (path.startsWith(join(lab.runDir, 'netns/'))) continue;
      expect([path, statSync(path).mode & 0o002]).toEqual([path, 0]);
    }
  });

  test('another user reads neither records, nor the instance id, nor the keeper, nor what a process wrote', async () => {
    const secrets = [join(lab.stateDir, 'instance-id'), join(lab.stateDir, 'store'), join(lab.runDir, 'keeper')];
    for (const path of [...secrets, ...below(join(lab.runDir, 'sandboxes')).filter((file) => file.endsWith('output.log'))]) {
      const { exitCode, stderr } = await asUser(false, 'ls', '-R', path);
      const read = await asUser(false, 'cat', path);
      expect([path, read.exitCode]).not.toEqual([path, 0]);
      if (!path.endsWith('output.log')) expect([path, exitCode, stderr]).toEqual([path, 2, expect.stringContaining('denied')]);
    }
  });

  test('only root and the group reach the socket, and nobody else the keeper', async () => {
    const stat = statSync(lab.socket);
    expect([(stat.mode & 0o777).toString(8), stat.uid, stat.gid]).toEqual(['660', 0, GROUP]);
    expect((await asUser(false, 'curl', '-s', '--unix-socket', lab.socket, 'http://x/_ping')).exitCode).not.toBe(0);
    expect((await asUser(true, 'curl', '-s', '--unix-socket', lab.socket, 'http://x/_ping')).stdout).toBe('OK');
    const keeper = join(lab.runDir, 'keeper/keeper.sock');
    expect((await asUser(true, 'curl', '-s', '--unix-socket', keeper, 'http://x/')).exitCode).not.toBe(0);
  });
});

describe('namespaces that a caller names', () => {
  const refusedFor = async (isRoot: boolean, path: string): Promise<string> => {
    const body = { Name: 'named', Netns: path };
    const answer = isRoot
      ? (await lab.api<{ code: string; message: string }>('POST', '/sandboxes/create', body)).json
      : await post(true, '/sandboxes/create', body);
    expect(answer?.code, answer?.message).toBe('bad_netns');
    return answer?.message ?? '';
  };

  test("the host's own is refused by every way to it", async () => {
    const host = `/run/netns/${lab.host}`;
    const link = join(lab.folder, 'link');
    symlinkSync(host, link);
    const chain = join(lab.folder, 'chain');
    symlinkSync(link, chain);
    const bound = join(lab.folder, 'bound');
    writeFileSync(bound, '');
    await execa('mount', ['--bind', host, bound]);
    try {
      const daemon = `/proc/${lab.daemon?.pid}`;
      for (const path of [
        host,
        link,
        chain,
        bound,
        `${daemon}/ns/net`,
        `${daemon}/root/${host}`,
        `${lab.folder}/../${lab.folder.split('/').pop()}/link`,
        '/proc/self/ns/net',
        '/proc/thread-self/ns/net',
      ])
        expect(await refusedFor(true, path)).toContain("host's own");
    } finally {
      await execa('umount', [bound]);
    }
  });

  test('a link that is turned over while it is looked at never leads into the host', async () => {
    const other = `${lab.prefix}-swap`;
    await execa('ip', ['netns', 'add', other]);
    const path = join(lab.folder, 'swapped');
    const script = `while :; do ln -sfn /run/netns/${lab.host} "$1.new"; mv -T "$1.new" "$1"; ln -sfn /run/netns/${other} "$1.new"; mv -T "$1.new" "$1"; done`;
    const swapper: ChildProcess = spawn('sh', ['-c', script, 'sh', path], { stdio: 'ignore' });
    try {
      await waitUntil(() => statSync(path, { throwIfNoEntry: false }) !== undefined, 10_000);
      using host = openNetns(`/run/netns/${lab.host}`);
      const seen = { accepted: 0, refused: 0 };
      for (let i = 0; i < 150; i++) {
        const { status, json } = await lab.api<{ Id: string; code: string }>('POST', '/sandboxes/create', {
          Name: 'swap',
          Netns: path,
        });
        if (status !== 201) {
          expect(json.code).toBe('bad_netns');
          seen.refused++;
          continue;
        }
        seen.accepted++;
        const { json: sandbox } = await lab.api<SandboxAnswer>('GET', '/sandboxes/swap');
        using netns = openNetns(sandbox.Netns);
        expect(netns.identity).not.toBe(host.identity);
        expect((await lab.api('DELETE', '/sandboxes/swap')).status).toBe(204);
      }
      expect(seen.accepted).toBeGreaterThan(0);
      expect(seen.refused).toBeGreaterThan(0);
    } finally {
      swapper.kill('SIGKILL');
      await execa('ip', ['netns', 'del', other]);
    }
  }, 120_000);

  test('a member of the group names none that he could not enter, and learns nothing from paths', async () => {
    const messages = new Set<string>();
    for (const path of [
      `/run/netns/${lab.outside}`,
      '/etc/shadow',
      '/etc/nothing',
      `/proc/${process.pid}/ns/net`,
      '/proc/1/ns/net',
      '/proc/999999999/ns/net',
      '/proc/self/ns/net',
    ])
      messages.add((await refusedFor(false, path)).replace(/"[^"]*"/, 'PATH'));
    expect([...messages]).toEqual([
      `namespace PATH: without root, use /proc/PID/ns/net of a network namespace that user ${UID} owns`,
    ]);
    // A shared file system that never answers would hold the daemon: nothing but /proc is looked at.
    expect(await refusedFor(false, `/proc/${process.pid}/root/etc/passwd`)).toContain('use /proc/PID/ns/net');
  });

  test('a member of the group names the one that he made himself', async () => {
    const unshared = spawn(
      'setpriv',
      [
        '--reuid',
        String(UID),
        '--regid',
        String(UID),
        '--groups',
        String(GROUP),
        'unshare',
        '--user',
        '--map-root-user',
        '--net',
        'sleep',
        '600',
      ],
      { stdio: 'ignore' },
    );
    try {
      using own = openNetns('/proc/self/ns/net');
      await waitUntil(() => {
        if (unshared.exitCode !== null) throw new Error('this kernel lets no user make namespaces');
        try {
          using netns = openNetns(`/proc/${unshared.pid}/ns/net`);
          return netns.identity !== own.identity;
        } catch {
          return false;
        }
      }, 10_000);
      const body = { Name: 'his', Networks: { net: {} }, Netns: `/proc/${unshared.pid}/ns/net` };
      expect(await post(true, '/sandboxes/create', body)).toMatchObject({ Id: expect.any(String) });
      const { stdout } = await execa('nsenter', [`--net=/proc/${unshared.pid}/ns/net`, 'ip', '-o', 'addr', 'show', 'eth0']);
      expect(stdout).toContain('inet ');
      expect(await post(true, '/sandboxes/his/process', { Pid: unshared.pid ?? 0 })).toBeUndefined();
    } finally {
      unshared.kill('SIGKILL');
      await lab.cli('sandbox', 'rm', '-f', 'his');
    }
  });

  test('a member of the group cannot run anything inside, since it is the caller who enters', async () => {
    for (const words of [
      ['exec', 'box', '--', 'id', '-u'],
      ['run', '--rm', '--name', 'his', '--network', 'net', '--', 'id', '-u'],
    ]) {
      const tool = [lab.node, join(DIST, 'network.js'), '--host', `unix://${lab.socket}`] as const;
      const { exitCode, stdout, stderr } = await asUser(true, ...tool, ...words);
      expect(stdout).not.toMatch(/^0$/m);
      expect(exitCode).not.toBe(0);
      expect(stderr).toMatch(/needs root/);
    }
    expect((await lab.api('GET', '/sandboxes/his')).status).toBe(404);
  });

  test('a member of the group changes no bridge and no route of the host', async () => {
    const ip = (...words: string[]) => lab.in('host', 'ip', ...words);
    await ip('link', 'add', 'hostbr', 'type', 'bridge');
    await ip('addr', 'add', '192.0.2.1/24', 'dev', 'hostbr');
    await ip('link', 'set', 'hostbr', 'up');
    // The state of a link settles on its own, in the seconds after it came up.
    const settling =
      / state \S+| linkdown|NO-CARRIER,|,LOWER_UP| inet6 fe80::\S+ scope link( tentative)?\s*valid_lft forever preferred_lft forever| tentative/g;
    const look = async (): Promise<string> =>
      `${(await ip('addr')).stdout}${(await ip('route')).stdout}`.replaceAll(settling, '').replaceAll(/\s+/g, ' ');
    const before = await look();
    const options = { 'com.docker.network.bridge.name': 'hostbr' };
    const subnet = (Subnet: string) => ({ Name: 'his', IPAM: { Config: [{ Subnet }] } });
    expect(await post(true, '/networks/create', { Name: 'tpl', ConfigOnly: true, Options: options })).toMatchObject({
      Id: expect.any(String),
    });
    for (const body of [
      { Name: 'his', Options: options },
      { Name: 'his', ConfigFrom: { Network: 'tpl' } },
      { Name: 'his', Options: { 'com.docker.network.bridge.name': 'wire0' } },
      { Name: 'his', Driver: 'macvlan', Options: { parent: 'wire0' } },
      { Name: 'his', Driver: 'ipvlan', Options: { parent: 'wire0.5' } },
      subnet('192.0.2.0/25'),
      subnet('198.51.100.0/24'),
    ])
      expect(await post(true, '/networks/create', body)).toMatchObject({ code: 'not_permitted' });
    expect(await look()).toBe(before);
    // With a name and a subnet of his own he may, and root may adopt.
    expect(
      await post(true, '/networks/create', {
        ...subnet('10.55.0.0/24'),
        Options: { ...options, 'com.docker.network.bridge.name': 'his0' },
      }),
    ).toMatchObject({
      Id: expect.any(String),
    });
    expect((await lab.api('POST', '/networks/create', { Name: 'roots', Options: options })).status).toBe(201);
    for (const name of ['his', 'roots', 'tpl']) await lab.ok('rm', name);
  });

  test('a member of the group declares nobody else’s process, hence ends none by force', async () => {
    expect(await post(true, '/sandboxes/create', { Name: 'all', Networks: { host: {} } })).toMatchObject({
      Id: expect.any(String),
    });
    expect(await post(true, '/sandboxes/all/process', { Pid: lab.daemon?.pid ?? 0 })).toMatchObject({
      code: 'bad_process',
      message: expect.stringContaining(`user ${UID}`),
    });
    expect((await lab.api('DELETE', '/sandboxes/all?force=1')).status).toBe(204);
    expect((await lab.api('GET', '/networks')).status).toBe(200);
  });
});
