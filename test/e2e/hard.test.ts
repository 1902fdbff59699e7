/** What goes wrong in the field: damage behind the daemon's back, races between clients, and clients that misbehave. */

import { type ChildProcess, spawn } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { NetworkJson, SandboxAnswer } from '../../src/base/index.ts';
import { DIST, LOG, Lab, WIRE, mountsUnder, waitUntil } from './lab.ts';

interface Failed {
  readonly message: string;
  readonly code: string;
}

const SERVER = `require('http').createServer((q,r)=>r.end('hello')).listen(80,'::',()=>console.log('up'))`;

let lab: Lab;
const children: ChildProcess[] = [];
beforeAll(async () => {
  lab = await Lab.open();
});
afterAll(async () => {
  for (const child of children) child.kill('SIGKILL');
  await lab.close();
});

const sandboxOf = async (name: string) => (await lab.api<SandboxAnswer>('GET', `/sandboxes/${name}`)).json;
const networkOf = async (name: string) => (await lab.api<NetworkJson>('GET', `/networks/${name}`)).json;
const create = (name: string, body: object = {}) => lab.api<Failed>('POST', '/sandboxes/create', { Name: name, ...body });
const inside = async (netns: string, command: string, ...args: string[]) =>
  execa('nsenter', [`--net=${netns}`, command, ...args], { reject: false, stdin: 'ignore' });

async function serve(netns: string, code = SERVER): Promise<ChildProcess> {
  const child = spawn('nsenter', [`--net=${netns}`, process.execPath, '-e', code]);
  children.push(child);
  await new Promise((resolve) => child.stdout.once('data', resolve));
  return child;
}

const keeperPids = (): number[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
        return words.includes(lab.runDir) && words.some((word) => word.endsWith('keeper.js'));
      } catch {
        return false;
      }
    })
    .map(Number);

describe('races', () => {
  test('of many sandboxes that take one namespace at once, one has it', async () => {
    const name = `${lab.prefix}-given`;
    await execa('ip', ['netns', 'add', name]);
    try {
      for (let round = 0; round < 3; round++) {
        const answers = await Promise.all([1, 2, 3, 4].map((i) => create(`taker${i}`, { Netns: `/run/netns/${name}` })));
        expect(answers.map(({ status }) => status).sort()).toEqual([201, 400, 400, 400]);
        expect(answers.filter(({ status }) => status !== 201).map(({ json }) => json.code)).toEqual(Array(3).fill('bad_netns'));
        const won = answers.findIndex(({ status }) => status === 201) + 1;
        await lab.ok('sandbox', 'rm', `taker${won}`);
      }
    } finally {
      await execa('ip', ['netns', 'del', name]);
    }
  });

  test('of many removals of one sandbox, one is told that it removed it', async () => {
    await create('once');
    const answers = await Promise.all(Array.from({ length: 8 }, () => lab.api('DELETE', '/sandboxes/once')));
    expect(answers.map(({ status }) => status).sort()).toEqual([204, ...Array<number>(7).fill(404)]);
  });
});

describe('what is refused, is refused in words and with a code', () => {
  test('loopback subnets', async () => {
    for (const config of [{ Subnet: '127.0.0.0/8' }, { Subnet: '127.5.0.0/16' }, { Subnet: '::1/128' }]) {
      const { status, json } = await lab.api<Failed>('POST', '/networks/create', {
        Name: 'loop',
        EnableIPv6: true,
        IPAM: { Config: [config] },
      });
      expect([status, json.code], config.Subnet).toEqual([400, 'bad_subnet']);
    }
  });

  test('interface names that the kernel keeps, and sysctls that it does not have', async () => {
    await lab.ok('create', 'opts');
    await create('box', { Networks: { bridge: {} } });
    const wrong = [
      ...['lo', 'all', 'default', '..'].map((name) => ({ 'com.docker.network.endpoint.ifname': name })),
      { 'com.docker.network.endpoint.sysctls': 'net.ipv4.conf.IFNAME.nothing=1' },
      { 'com.docker.network.endpoint.sysctls': 'net.ipv4.conf.IFNAME.log_martians=x' },
    ];
    for (const DriverOpts of wrong) {
      const { status, json } = await lab.api<Failed>('POST', '/networks/opts/connect', {
        Container: 'box',
        EndpointConfig: { DriverOpts },
      });
      expect([status, json.code], JSON.stringify(DriverOpts)).toEqual([400, 'bad_option']);
    }
    expect(Object.keys((await sandboxOf('box')).Networks)).toEqual(['bridge']);
    await lab.ok('sandbox', 'rm', 'box');
    await lab.ok('rm', 'opts');
  });

  test('a label filter knows labels only, not what every object has', async () => {
    for (const label of ['toString', 'constructor', '__proto__']) {
      const filters = encodeURIComponent(JSON.stringify({ label: [label] }));
      expect((await lab.api('GET', `/networks?filters=${filters}`)).json, label).toEqual([]);
    }
  });

  test('an answer has exactly the type from which stock clients read an error', async () => {
    const { stdout } = await execa('curl', ['-si', '--unix-socket', lab.socket, 'http://x/networks/missing']);
    expect(stdout).toMatch(/^content-type: application\/json\r?$/im);
  });

  test.each([
    ['what is no HTTP request', 'nonsense', /^HTTP\/1\.1 400 [^]*method is none of HTTP[^]*"code":"bad_request"/],
    [
      'a body of two lengths',
      'POST /networks/create HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked',
      /^HTTP\/1\.1 400 [^]*send one of the two[^]*"bad_request"/,
    ],
    [
      'a request without Host',
      'GET /networks HTTP/1.1\r\nConnection: close',
      /^HTTP\/1\.1 400 [^]*Host is missing[^]*"bad_request"/,
    ],
    [
      'an expectation that is none',
      'GET /networks HTTP/1.1\r\nHost: x\r\nExpect: tea',
      /^HTTP\/1\.1 417 [^]*100-continue[^]*"bad_request"/,
    ],
    ['a tunnel', 'CONNECT x:80 HTTP/1.1\r\nHost: x', /^HTTP\/1\.1 404 [^]*page not found[^]*"no_page"/],
  ])('%s is told so in the form of all errors', async (_what, head, said) => {
    const answer = await new Promise<string>((resolve) => {
      let text = '';
      const socket = connect(lab.socket, () => socket.write(`${head}\r\n\r\n`));
      socket.on('data', (chunk) => (text += chunk.toString()));
      socket.on('close', () => resolve(text));
    });
    expect(answer).toMatch(said);
  });
});

test('tunnels whose clients are gone before the refusal end nobody', async () => {
  const pid = lab.daemon?.pid;
  for (let round = 0; round < 20; round++) {
    const socket = connect(lab.socket);
    socket.on('error', () => {});
    await new Promise<void>((resolve) => {
      socket.write('CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n', () => resolve());
    });
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.destroy();
    await closed;
  }
  expect((await lab.api('GET', '/networks')).status).toBe(200);
  expect(lab.daemon?.pid).toBe(pid);
  expect(lab.daemon?.exitCode).toBeNull();
});

test('a client that never sends the rest of its request does not hold up a stop; work under way is answered', async () => {
  const slow = connect(lab.socket);
  slow.on('error', () => {});
  slow.write('POST /networks/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{');
  const closed = new Promise((resolve) => slow.once('close', resolve));
  await sleep(200);
  // Rejects when the daemon ends with anything but 0, as it does after its last resort.
  await lab.stop('SIGTERM');
  await closed;
  await lab.start();
});

test('signals by which other daemons are asked for something end neither process, and open no debugger to the host', async () => {
  const isSupervisor = (pid: number): boolean => readFileSync(`/proc/${pid}/cmdline`).includes('supervisor');
  const [keeper] = keeperPids().filter((pid) => !isSupervisor(pid));
  const daemon = lab.daemon?.pid;
  if (keeper === undefined || daemon === undefined) throw new Error('no daemon with a keeper');
  for (const pid of [keeper, daemon])
    for (const signal of ['SIGUSR1', 'SIGHUP'] as const) {
      process.kill(pid, signal);
      await sleep(500);
      expect((await lab.in('host', 'ss', '-Hlnt', 'sport = :9229')).stdout).toBe('');
    }
  expect(keeperPids()).toContain(keeper);
  expect(lab.daemon?.exitCode).toBeNull();
  expect(lab.daemon?.signalCode).toBeNull();
  expect((await lab.api('GET', '/networks')).status).toBe(200);
  await expect.poll(() => lab.log, LOG).toContain('nothing is read anew');
});

test('a sandbox that blows up its own files holds up neither the daemon nor its own connects, and can be removed', async () => {
  await lab.ok('create', 'blown');
  await lab.ok('create', 'second');
  await create('boaster', { Networks: { blown: {} } });
  const { Files } = await sandboxOf('boaster');
  // Without a byte of memory: a process inside may do the same.
  for (const path of [Files.Hosts, Files.ResolvConf]) truncateSync(path, 1024 ** 3);
  await lab.ok('connect', 'second', 'boaster');
  await lab.ok('disconnect', 'second', 'boaster');
  await lab.ok('disconnect', 'blown', 'boaster');
  await lab.ok('connect', 'blown', 'boaster');
  // What somebody inside has written is his.
  expect([Files.Hosts, Files.ResolvConf].map((path) => statSync(path).size)).toEqual([1024 ** 3, 1024 ** 3]);
  await expect.poll(() => lab.log, LOG).toContain('lines of networks are not kept in it');
  // Neither is one waited for that was put there to be waited for.
  await execa('mkfifo', [`${Files.Hosts}.pipe`]);
  // In one step: in between the daemon would put the file back.
  renameSync(`${Files.Hosts}.pipe`, Files.Hosts);
  await lab.ok('connect', 'second', 'boaster');
  await lab.ok('sandbox', 'rm', '-f', 'boaster');
  for (const name of ['blown', 'second']) await lab.ok('rm', name);
}, 120_000);

test('a process inside that takes the name of our table for itself keeps nobody from removing the sandbox', async () => {
  const netns = `${lab.prefix}-own`;
  const path = `/run/netns/${netns}`;
  await execa('ip', ['netns', 'add', netns]);
  const owner = spawn('nsenter', [`--net=${path}`, 'nft', '-i'], { stdio: ['pipe', 'ignore', 'ignore'] });
  children.push(owner);
  try {
    await lab.ok('create', 'taken');
    expect((await create('taker', { Netns: path, Networks: { taken: {} } })).status).toBe(201);
    const [table] = /patchbay-\w+/.exec((await inside(path, 'nft', 'list', 'tables')).stdout) ?? [];
    owner.stdin.write(`delete table ip ${table}; add table ip ${table} { flags owner; }\n`);
    await waitUntil(async () => (await inside(path, 'nft', 'list', 'ruleset')).stdout.includes('owner'), 10_000);
    await lab.ok('disconnect', 'taken', 'taker');
    await lab.ok('sandbox', 'rm', '-f', 'taker');
    expect((await lab.api('GET', '/sandboxes/taker')).status).toBe(404);
    await lab.ok('rm', 'taken');
  } finally {
    owner.kill('SIGKILL');
    await execa('ip', ['netns', 'del', netns]);
  }
});

test('links that a process inside has made or renamed keep no network from being connected', async () => {
  for (const name of ['inner', 'outer']) await lab.ok('create', name);
  await create('maker', { Networks: { inner: {} } });
  const { Netns } = await sandboxOf('maker');
  const ip = (...words: string[]) => inside(Netns, 'ip', ...words);
  expect((await ip('link', 'add', 'eth1', 'type', 'veth', 'peer', 'name', 'eth2')).exitCode).toBe(0);
  await lab.ok('connect', 'outer', 'maker');
  expect((await ip('-o', 'addr', 'show', 'eth3')).stdout).toContain('inet ');
  await lab.ok('disconnect', 'outer', 'maker');
  const body = { Container: 'maker', EndpointConfig: { DriverOpts: { 'com.docker.network.endpoint.ifname': 'eth2' } } };
  const { status, json } = await lab.api<Failed>('POST', '/networks/outer/connect', body);
  expect([status, json.code, json.message]).toEqual([400, 'bad_option', expect.stringContaining('eth2 is taken')]);
  await lab.ok('sandbox', 'rm', '-f', 'maker');
  for (const name of ['inner', 'outer']) await lab.ok('rm', name);
});

test('a large pipe into a process arrives whole', async () => {
  const octets = 8_000_000;
  const { stdout, exitCode } = await execa(
    'sh',
    [
      '-c',
      'head -c "$1" /dev/zero | "$2" "$3" --host "$4" run --rm --name pipe -- wc -c',
      'sh',
      String(octets),
      lab.node,
      join(DIST, 'network.js'),
      `unix://${lab.socket}`,
    ],
    { reject: false },
  );
  expect([exitCode, stdout.trim()]).toEqual([0, String(octets)]);
});

test('ports are shown in the same order after a start, whichever network leads outside', async () => {
  await lab.ok('create', '--ipv6', 'both');
  await lab.ok('create', '--ipv6', '--ipv4=false', 'six');
  await create('ordered', { Networks: { both: {} }, PortBindings: { '80/tcp': [{ HostPort: '8099' }] } });
  await lab.api('POST', '/networks/six/connect', { Container: 'ordered', EndpointConfig: { GwPriority: 10 } });
  const before = await sandboxOf('ordered');
  expect(before.Ports['80/tcp']).toHaveLength(2);
  await lab.stop('SIGKILL');
  await lab.start();
  expect(JSON.stringify(await sandboxOf('ordered'))).toBe(JSON.stringify(before));
  await lab.ok('sandbox', 'rm', 'ordered');
  await lab.ok('rm', 'both', 'six');
});

describe('damage behind the back of the daemon: the next start puts it right', () => {
  let web: SandboxAnswer;
  let asker: SandboxAnswer;
  let bridge: string;

  beforeAll(async () => {
    await lab.ok('create', '--ipv6', 'net');
    await create('web', {
      Networks: { net: {} },
      PortBindings: { '80/tcp': [{ HostPort: '8080' }] },
      ExtraHosts: ['extra:192.0.2.1'],
    });
    await create('asker', { Networks: { net: {} } });
    web = await sandboxOf('web');
    asker = await sandboxOf('asker');
    bridge = `br-${(await networkOf('net')).Id.slice(0, 12)}`;
    await serve(web.Netns);
  });
  afterAll(async () => {
    await lab.ok('sandbox', 'rm', '-f', 'web', 'asker');
    await lab.ok('rm', 'net');
    expect(await lab.leftovers()).toEqual([]);
  });

  const hostLink = async (): Promise<string> => {
    const index = /eth0@if(\d+)/.exec((await inside(web.Netns, 'ip', '-o', 'link')).stdout)?.[1];
    const links = (await lab.in('host', 'ip', '-o', 'link')).stdout;
    const name = new RegExp(`^${index}: ([^@:]+)`, 'm').exec(links)?.[1];
    if (name === undefined) throw new Error(`no link ${index} in:\n${links}`);
    return name;
  };

  const damages: Readonly<Record<string, () => Promise<unknown>>> = {
    'the bridge deleted': () => lab.in('host', 'ip', 'link', 'del', bridge),
    'the bridge down': () => lab.in('host', 'ip', 'link', 'set', bridge, 'down'),
    "the bridge's addresses flushed": () => lab.in('host', 'ip', 'addr', 'flush', 'dev', bridge),
    'a pair deleted': async () => lab.in('host', 'ip', 'link', 'del', await hostLink()),
    'a port off its bridge': async () => lab.in('host', 'ip', 'link', 'set', await hostLink(), 'nomaster', 'down'),
    'addresses inside flushed': () => inside(web.Netns, 'ip', 'addr', 'flush', 'dev', 'eth0'),
    'the link inside down': () => inside(web.Netns, 'ip', 'link', 'set', 'eth0', 'down'),
    'the default route inside deleted': async () => {
      await inside(web.Netns, 'ip', 'route', 'del', 'default');
      await inside(web.Netns, 'ip', '-6', 'route', 'del', 'default');
    },
    'the redirect of the resolver flushed': () => inside(asker.Netns, 'nft', 'flush', 'ruleset'),
    'all rules flushed': async () => {
      for (const tool of ['iptables', 'ip6tables'])
        for (const table of ['filter', 'nat', 'raw'])
          await lab.in('host', 'sh', '-c', `${tool} -t ${table} -F; ${tool} -t ${table} -X`);
    },
    'routing off': () => lab.in('host', 'sh', '-c', 'echo 0 >/proc/sys/net/ipv4/ip_forward'),
    'files of sandboxes gone': async () => rmSync(join(lab.runDir, 'sandboxes'), { recursive: true }),
    "the keeper's tables gone": async () => {
      for (const table of ['names', 'holds', 'sandboxes']) rmSync(join(lab.runDir, 'keeper', table), { recursive: true });
    },
    "the keeper's tables broken, keeper dead": async () => {
      for (const pid of keeperPids()) process.kill(pid, 'SIGKILL');
      for (const table of ['names', 'holds', 'sandboxes'])
        for (const name of readdirSync(join(lab.runDir, 'keeper', table)))
          writeFileSync(join(lab.runDir, 'keeper', table, name), '{broken');
    },
  };

  test.each(Object.entries(damages))(
    '%s',
    async (_what, damage) => {
      // Half of the damage happens while the daemon runs, half while it is down.
      for (const isUp of [true, false]) {
        if (!isUp) await lab.stop('SIGTERM');
        await damage();
        if (isUp) await lab.stop('SIGKILL');
        lab.log = '';
        await lab.start();
        const works = async (): Promise<boolean> => {
          const get = async (host: string) => (await lab.in('outside', 'curl', '-s', '-m', '3', `http://${host}:8080/`)).stdout;
          const dig = await inside(asker.Netns, 'dig', '+short', '+tries=1', '+time=1', '@127.0.0.11', 'web');
          const address = web.Networks['net']?.IPAddress ?? '';
          return (
            (await get(WIRE.host)) === 'hello' &&
            (await get(`[${WIRE.host6}]`)) === 'hello' &&
            dig.stdout.trim() === address &&
            (await inside(asker.Netns, 'ping', '-c1', '-W1', address)).exitCode === 0
          );
        };
        await waitUntil(works, 30_000);
        expect(lab.log).not.toContain('"level":50');
        expect(await sandboxOf('web')).toEqual(web);
        const hosts = await lab.cli('exec', 'web', '--', 'cat', '/etc/hosts', '/etc/resolv.conf', '/etc/hostname');
        expect(hosts.stdout).toContain(`${web.Networks['net']?.IPAddress}\t${web.Hostname}`);
        expect(hosts.stdout).toContain('192.0.2.1\textra');
        expect(hosts.stdout).toContain('nameserver 127.0.0.11');
        expect((await networkOf('net')).Degraded).toBeUndefined();
      }
    },
    180_000,
  );

  test('a pin unmounted: it is laid again while a process of the sandbox lives', async () => {
    await lab.ok('run', '-d', '--name', 'pinned', '--network', 'net', '--', 'sleep', '1000');
    const before = await sandboxOf('pinned');
    await lab.stop('SIGTERM');
    await execa('umount', ['-l', before.Netns]);
    await lab.start();
    expect(await sandboxOf('pinned')).toEqual(before);
    expect((await inside(asker.Netns, 'ping', '-c1', '-W1', before.Networks['net']?.IPAddress ?? '')).exitCode).toBe(0);
    expect((await lab.cli('exec', 'pinned', '--', 'true')).exitCode).toBe(0);
    await lab.ok('sandbox', 'rm', '-f', 'pinned');
  });

  test('a pin unmounted, and nothing leads to the namespace: the sandbox is gone, and what it had is free', async () => {
    await create('lost', { Networks: { net: {} }, PortBindings: { '81/tcp': [{ HostPort: '8181' }] } });
    const { Netns } = await sandboxOf('lost');
    await lab.stop('SIGKILL');
    await execa('umount', ['-l', Netns]);
    lab.log = '';
    await lab.start();
    await expect.poll(() => lab.log, LOG).toContain('the namespace of a sandbox is gone');
    expect((await lab.api('GET', '/sandboxes/lost')).status).toBe(404);
    expect((await create('lost', { PortBindings: { '81/tcp': [{ HostPort: '8181' }] } })).status).toBe(201);
    await lab.ok('sandbox', 'rm', 'lost');
  });

  test('junk in the run directory: the daemon starts and leaves it alone', async () => {
    await lab.stop('SIGTERM');
    const [folder, file] = [join(lab.runDir, 'netns', 'folder'), join(lab.runDir, 'netns', 'file')];
    mkdirSync(folder);
    writeFileSync(file, 'text');
    await lab.start();
    expect([existsSync(folder), existsSync(file)]).toEqual([true, true]);
    rmSync(folder, { recursive: true });
    rmSync(file);
  });
});

test('a bridge that is gone is told in words; nothing is left of the try, and the network can be removed', async () => {
  await lab.ok('create', 'bare');
  const link = `br-${(await networkOf('bare')).Id.slice(0, 12)}`;
  let refused = 0;
  for (let i = 0; i < 10 && refused < 2; i++) {
    await lab.in('host', 'ip', 'link', 'del', link);
    const { status, json } = await create('early', { Networks: { bare: {} } });
    if (status === 201) {
      // The daemon had made the bridge again in between.
      await lab.ok('sandbox', 'rm', 'early');
      continue;
    }
    refused++;
    expect([status, json.code, json.message]).toEqual([
      500,
      'syscall_failed',
      expect.stringContaining(`bridge ${link} of network bare is gone`),
    ]);
  }
  expect(refused).toBe(2);
  await lab.ok('rm', 'bare');
  expect(await lab.leftovers()).toEqual([]);
});

test('without icc a bridge made anew keeps sandboxes apart as before', async () => {
  await lab.ok('create', '-o', 'com.docker.network.bridge.enable_icc=false', 'apart');
  for (const name of ['one', 'two']) await create(name, { Networks: { apart: {} } });
  const [one, two] = [await sandboxOf('one'), await sandboxOf('two')];
  await lab.stop('SIGTERM');
  await lab.in('host', 'ip', 'link', 'del', `br-${(await networkIdOf(one)).slice(0, 12)}`);
  await lab.start();
  await waitUntil(
    async () => (await inside(one.Netns, 'ping', '-c1', '-W1', one.Networks['apart']?.Gateway ?? '')).exitCode === 0,
    30_000,
  );
  expect((await inside(one.Netns, 'ping', '-c1', '-W1', two.Networks['apart']?.IPAddress ?? '')).exitCode).not.toBe(0);
  await lab.ok('sandbox', 'rm', 'one', 'two');
  await lab.ok('rm', 'apart');
});

const networkIdOf = async (sandbox: SandboxAnswer): Promise<string> => sandbox.Networks['apart']?.NetworkID ?? '';

describe('a machine that starts anew: kernel state and run directory gone, state directory kept', () => {
  const labs: Lab[] = [];
  afterEach(async () => {
    for (const one of labs.splice(0)) await one.close();
  });

  test('networks are as before, sandboxes are gone and their names and ports free', async () => {
    const machine = await Lab.open();
    labs.push(machine);
    await machine.ok('create', '--ipv6', 'net');
    const body = { Name: 'web', Networks: { net: {} }, PortBindings: { '80/tcp': [{ HostPort: '8080' }] } };
    expect((await machine.api('POST', '/sandboxes/create', body)).status).toBe(201);
    const before = await machine.ok('inspect', '--format', '{{json .IPAM}} {{.Id}}', 'net', 'bridge');
    await machine.stop('SIGKILL');
    for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
      try {
        if (readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(machine.runDir))
          process.kill(Number(pid), 'SIGKILL');
      } catch {
        // Ended meanwhile.
      }
    }
    for (const mount of mountsUnder(machine.runDir)) await execa('umount', ['-l', mount]);
    rmSync(machine.runDir, { recursive: true });
    const wipe = `for l in $(ip -o link | grep -oE '(br-|patchbay|veth)[0-9a-z]+'); do ip link del $l 2>/dev/null; done
      for t in iptables ip6tables; do for b in filter nat raw; do $t -t $b -F; $t -t $b -X; done; done`;
    await machine.in('host', 'sh', '-c', wipe);
    machine.log = '';
    await machine.start();
    expect(machine.log).not.toContain('"level":50');
    expect(await machine.ok('inspect', '--format', '{{json .IPAM}} {{.Id}}', 'net', 'bridge')).toBe(before);
    expect((await machine.api('GET', '/sandboxes')).json).toEqual([]);
    expect((await machine.api('POST', '/sandboxes/create', body)).status).toBe(201);
    expect((await machine.cli('exec', 'web', '--', 'ping', '-c1', '-W2', WIRE.outside)).exitCode).toBe(0);
    await machine.ok('sandbox', 'rm', 'web');
    await machine.ok('rm', 'net');
    expect(await machine.leftovers()).toEqual([]);
  });
});
