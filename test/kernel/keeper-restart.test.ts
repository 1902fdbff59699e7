import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createConnection, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { beforeEach, describe, expect, test } from 'vitest';
import { codeOf, newEndpointId, newSandboxId, type Address } from '../../src/base/index.ts';
import type { HoldRequest, KeeperLink } from '../../src/keeper/index.ts';
import { libc, openTcpListener, openUdpSocket } from '../../src/kernel/index.ts';
import { keeperPaths, makeFolders, writeEntry } from '../../src/keeper/files.ts';
import {
  afterTest,
  askRaw,
  connectTcp,
  decode,
  dig,
  eventually,
  isAlive,
  keeperLab,
  Lab,
  names,
  parentOf,
  query,
  type TestSandbox,
} from './keeper-lab.ts';
import { testFolder } from './support.ts';

let lab: Lab;
let link: KeeperLink;
beforeEach(async () => {
  lab = await keeperLab();
  link = await lab.open();
});

const KEEPER = new URL('../../dist/keeper.js', import.meta.url).pathname;

const owner = newSandboxId();
const hold = (port: number, protocol: HoldRequest['protocol'] = 'tcp', ...addresses: string[]): HoldRequest => ({
  protocol,
  port,
  addresses: (addresses.length === 0 ? ['0.0.0.0', '::'] : addresses) as Address[],
});

function listenOnHost(port: number, address = '0.0.0.0', protocol = 'tcp'): string {
  try {
    const spec = { address: address as Address, port };
    libc.close(lab.host.host.run(() => (protocol === 'tcp' ? openTcpListener(spec) : openUdpSocket({ ...spec, reuse: true }))));
    return 'free';
  } catch (error) {
    return error instanceof Error && 'errno' in error ? String(error.errno) : String(error);
  }
}

/** A keeper that answers has a processor by then, also where other tests want it. */
const ANSWER_MS = 500;

const resolves = async (box: TestSandbox, name = 'c1'): Promise<string | undefined> => {
  const reply = await askRaw(box.inside.host, box.ports.udp, query(name), ANSWER_MS);
  return reply === undefined ? undefined : (String(decode(reply).answers[0]?.data ?? decode(reply).rcode) as string);
};

async function killed(pid: number | undefined): Promise<void> {
  if (pid === undefined) throw new Error('no keeper');
  process.kill(pid, 'SIGKILL');
  await eventually(() => (isAlive(pid) ? undefined : true), 'the process is dead');
}

/** The keeper that a supervisor runs now. */
function childOf(supervisor: number): number | undefined {
  const children = readFileSync(`/proc/${supervisor}/task/${supervisor}/children`, 'utf8').trim().split(' ');
  return children.map(Number).find((pid) => isAlive(pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('keeper.js'));
}

/** Session id, field 6 of stat; the command in field 2 is in parentheses. */
const sessionOf = (pid: number): number => Number(readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ')[3]);

/** Again when the keeper did not answer in time: on a busy machine its successor may need longer than a call waits. */
const surely = (act: () => Promise<void>): Promise<boolean> =>
  eventually(
    () =>
      act().then(
        () => true,
        (error: unknown) => {
          if (codeOf(error) !== 'resolver_unavailable') throw error;
          return undefined;
        },
      ),
    'the keeper takes it',
  );

const other = (pid: number | undefined) => () => (link.pid !== undefined && link.pid !== pid ? link.pid : undefined);

describe('held host ports', () => {
  test('are taken for everybody else, and a connection to a TCP one is refused', async () => {
    await link.holds(owner, [hold(8080), hold(8080, 'udp')]);
    for (const address of ['0.0.0.0', '127.0.0.1']) {
      expect(listenOnHost(8080, address)).toBe('EADDRINUSE');
      expect(listenOnHost(8080, address, 'udp')).toBe('EADDRINUSE');
    }
    expect(listenOnHost(8080, '::')).toBe('EADDRINUSE');
    await expect(connectTcp(lab.host.host, 8080, '127.0.0.1' as Address)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    await link.holds(owner, []);
    expect([listenOnHost(8080), listenOnHost(8080, '0.0.0.0', 'udp')]).toEqual(['free', 'free']);
  });

  test('queue nothing that comes by UDP', async () => {
    await link.holds(owner, [hold(5000, 'udp', '127.0.0.1')]);
    await lab.host.exec('bash', ['-c', 'for i in $(seq 50); do echo hello > /dev/udp/127.0.0.1/5000; done']);
    const { stdout } = await lab.host.exec('ss', ['-Hlun', 'sport', '=', ':5000']);
    expect(stdout.trim().split(/\s+/)[1]).toBe('0');
  });

  test('can be taken while connections of an earlier server linger in TIME_WAIT', async () => {
    const server = spawn('nsenter', [
      `--net=${lab.host.path}`,
      process.execPath,
      '-e',
      `
      const net = require('net');
      const s = net.createServer((c) => c.end('x')).listen(7070, '127.0.0.1', () => net.connect(7070, '127.0.0.1').on('close', () => process.exit()).resume());`,
    ]);
    await once(server, 'exit');
    const { stdout } = await lab.host.exec('ss', ['-Htan', 'state', 'time-wait', '( sport = :7070 )']);
    expect(stdout).toContain('7070');
    expect(await link.holds(owner, [hold(7070)])).toEqual([{ ok: true }]);
    expect(listenOnHost(7070)).toBe('EADDRINUSE');
  });

  test('stay with the very same sockets over a restart of the daemon', async () => {
    await link.holds(owner, [hold(8080)]);
    const inodes = (): string[] =>
      readdirSync(`/proc/${second.pid}/fd`)
        .map((fd) => readlinkSync(`/proc/${second.pid}/fd/${fd}`))
        .filter((to) => to.startsWith('socket:'))
        .sort();
    const { pid } = link;
    await link.close();
    expect(listenOnHost(8080)).toBe('EADDRINUSE');
    const second = await lab.open();
    expect(second.pid).toBe(pid);
    expect((await second.inventory()).holds).toEqual([{ ...hold(8080), owner }]);
    const before = inodes();
    expect(await second.holds(owner, [hold(8080), hold(8081)])).toEqual([{ ok: true }, { ok: true }]);
    const after = inodes();
    expect(before.every((inode) => after.includes(inode))).toBe(true);
    expect(after).toHaveLength(before.length + 2);
  });
});

describe('a keeper killed with SIGKILL', () => {
  test('is back with the same answers on the same ports and the same holds; the daemon need do nothing', async () => {
    const box = await lab.sandbox(link);
    await link.names(newEndpointId(), names('c1').to('10.0.0.2'));
    await link.holds(owner, [hold(8080), hold(8081, 'udp', '127.0.0.1')]);
    const { network, networkName, ...far } = names('far').to('10.0.0.9');
    await link.peers('net-host', { network, networkName, endpoints: [{ id: newEndpointId(), ...far }] });
    const { pid } = link;
    await killed(pid);
    await eventually(() => resolves(box), 'the name resolves again');
    expect([await resolves(box), await resolves(box, 'far')]).toEqual(['10.0.0.2', '10.0.0.9']);
    expect(await dig(box, '+tcp', 'c1')).toEqual(['10.0.0.2']);
    expect([listenOnHost(8080), listenOnHost(8081, '127.0.0.1', 'udp')]).toEqual(['EADDRINUSE', 'EADDRINUSE']);
    await eventually(other(pid), 'the link is up again');
    await link.names(newEndpointId(), names('c2').to('10.0.0.3'));
    expect(await resolves(box, 'c2')).toBe('10.0.0.3');
    expect(await link.sandbox(box.id, box.wish)).toEqual(box.ports);
  });

  test('is back while no daemon runs', async () => {
    const box = await lab.sandbox(link);
    await link.names(newEndpointId(), names('c1').to('10.0.0.2'));
    await link.holds(owner, [hold(8080)]);
    const pid = link.pid!;
    await link.close();
    for (let round = 0, now = pid; round < 2; round++) {
      const supervisor = parentOf(now);
      await killed(now);
      expect(await eventually(() => resolves(box), 'the name resolves again')).toBe('10.0.0.2');
      now = await eventually(() => childOf(supervisor), 'the supervisor has a new keeper');
      expect(listenOnHost(8080)).toBe('EADDRINUSE');
    }
    expect((await lab.open()).pid).not.toBe(pid);
  });

  test('together with its supervisor is brought back by the daemon, with a supervisor', async () => {
    const box = await lab.sandbox(link);
    await link.names(newEndpointId(), names('c1').to('10.0.0.2'));
    const pid = link.pid!;
    process.kill(parentOf(pid), 'SIGKILL');
    await killed(pid);
    expect(await eventually(() => resolves(box), 'the name resolves again')).toBe('10.0.0.2');
    const second = await eventually(other(pid), 'the link is up again');
    await link.close();
    await killed(second);
    expect(await eventually(() => resolves(box), 'the name resolves again')).toBe('10.0.0.2');
    await lab.open();
  });

  test('whose supervisor was killed has another soon, which brings it back while no daemon runs, and ends with it', async () => {
    const box = await lab.sandbox(link);
    await link.names(newEndpointId(), names('c1').to('10.0.0.2'));
    let supervisor = parentOf(link.pid!);
    await link.close();
    for (let round = 0; round < 2; round++) {
      const lone = await eventually(() => childOf(supervisor), 'a keeper runs');
      process.kill(supervisor, 'SIGKILL');
      supervisor = await eventually(() => childOf(lone), 'the keeper has a supervisor again');
      expect(await resolves(box)).toBe('10.0.0.2');
      await killed(lone);
      expect(await eventually(() => resolves(box), 'the name resolves again')).toBe('10.0.0.2');
    }
    const last = await eventually(() => childOf(supervisor), 'a keeper runs');
    process.kill(supervisor, 'SIGKILL');
    const successor = await eventually(() => childOf(last), 'the keeper has a supervisor again');
    process.kill(last, 'SIGTERM');
    await eventually(() => (isAlive(successor) || isAlive(last) ? undefined : true), 'both have ended');
  });

  test('in the middle of changes leaves what was acknowledged, and a pending call is answered by its successor', async () => {
    const box = await lab.sandbox(link);
    const endpoint = newEndpointId();
    for (let i = 2; i < 6; i++) {
      const { pid } = link;
      if (i % 2 === 0) process.kill(pid!, 'SIGKILL');
      await surely(() => link.names(endpoint, names('c1').to(`10.0.0.${i}`)));
      expect(await eventually(() => resolves(box), 'the name resolves')).toBe(`10.0.0.${i}`);
      if (i % 2 === 0) await eventually(other(pid), 'the link is up again');
    }
    process.kill(link.pid!, 'SIGKILL');
    await surely(() => link.names(endpoint, null));
    expect(await eventually(() => resolves(box), 'the resolver answers')).toBe('SERVFAIL');
    expect(await link.holds(owner, [hold(8080)])).toEqual([{ ok: true }]);
  });

  test('passes over a torn file and a namespace that is gone, and still takes the rest', async () => {
    const [gone, box] = [await lab.sandbox(link), await lab.sandbox(link)];
    await link.names(newEndpointId(), names('c1').to('10.0.0.2'));
    const folder = join(lab.runDir, 'keeper');
    writeFileSync(join(folder, 'names', 'torn.json'), '{"id":"torn","rev');
    writeFileSync(
      join(folder, 'sandboxes', `${gone.id}.json`),
      JSON.stringify({ id: gone.id, revision: 'x', value: { ...gone.wish, netns: { path: '/gone', identity: 'x' } } }),
    );
    const { pid } = link;
    await killed(pid);
    expect(await eventually(() => resolves(box), 'the name resolves again')).toBe('10.0.0.2');
    await eventually(other(pid), 'the link is up again');
    // What the daemon knows better than the file, it tells again.
    expect(await eventually(() => resolves(gone), 'the other sandbox resolves again')).toBe('10.0.0.2');
  });

  test('lists a sandbox that it cannot restore, so that a daemon which knows nothing of it can drop it', async () => {
    const box = await lab.sandbox(link);
    const stray = newSandboxId();
    const paths = keeperPaths(lab.runDir);
    writeEntry(paths, 'sandboxes', { id: stray, revision: 'x', value: { ...box.wish, netns: { path: '/gone', identity: 'x' } } });
    const { pid } = link;
    await killed(pid);
    await eventually(other(pid), 'the link is up again');
    expect([...(await link.inventory()).sandboxes].sort()).toEqual([box.id, stray].sort());
    await link.sandbox(stray, null);
    expect((await link.inventory()).sandboxes).toEqual([box.id]);
    expect(readdirSync(join(paths.folder, 'sandboxes'))).toEqual([`${box.id}.json`]);
  });

  test('gets a port back that another process took meanwhile as soon as it is free', async () => {
    await link.holds(owner, [hold(8080, 'tcp', '127.0.0.1')]);
    const { pid } = link;
    const supervisor = parentOf(pid!);
    process.kill(supervisor, 'SIGSTOP');
    afterTest(() => void (isAlive(supervisor) && process.kill(supervisor, 'SIGCONT')));
    await killed(pid);
    const thief = await eventually(() => {
      try {
        return lab.host.host.run(() => openTcpListener({ address: '127.0.0.1' as Address, port: 8080 }));
      } catch {
        // The threads of the dead are not all gone yet.
        return undefined;
      }
    }, 'the port is free');
    process.kill(supervisor, 'SIGCONT');
    await eventually(other(pid), 'the link is up again');
    expect((await link.inventory()).holds).toEqual([]);
    const log = (): string => readFileSync(join(lab.runDir, 'keeper', 'log'), 'utf8');
    expect(log()).toContain('another process has a host port of ours');
    libc.close(thief);
    await eventually(async () => ((await link.inventory()).holds.length === 1 ? true : undefined), 'the port is held again');
    expect(listenOnHost(8080, '127.0.0.1')).toBe('EADDRINUSE');
    await eventually(() => (log().includes('a host port is held again') ? true : undefined), 'the log says so');
  });
});

describe('the life of a keeper', () => {
  const ended = (pid: number): Promise<true> =>
    eventually(() => (isAlive(pid) ? undefined : (true as const)), `process ${pid} ends`, 15_000);

  test('ends, with its supervisor, when it holds nothing and no daemon is connected; not before', async () => {
    const pid = link.pid!;
    const supervisor = parentOf(pid);
    await link.names(newEndpointId(), names('c1').to('10.0.0.2'));
    await sleep(6000);
    expect(isAlive(pid)).toBe(true);
    await link.close();
    const second = await lab.open();
    for (const endpoint of (await second.inventory()).endpoints) await second.names(endpoint, null);
    await second.close();
    await ended(pid);
    await ended(supervisor);
    expect((await lab.open()).pid).not.toBe(pid);
  });

  test('stays without a daemon while it holds something', async () => {
    const pid = link.pid!;
    await link.holds(owner, [hold(8080)]);
    await link.close();
    await sleep(6500);
    expect(isAlive(pid)).toBe(true);
    expect(listenOnHost(8080)).toBe('EADDRINUSE');
  });

  test('ends, with its supervisor, when its run directory is removed', async () => {
    const pid = link.pid!;
    const supervisor = parentOf(pid);
    await link.holds(owner, [hold(8080)]);
    await link.close();
    rmSync(lab.runDir, { recursive: true });
    await ended(pid);
    await ended(supervisor);
    expect(listenOnHost(8080)).toBe('free');
  });

  test('does not come back into a run directory that was removed while it was started', async () => {
    const gone = join(testFolder(), 'run');
    const { exitCode } = await execa(process.execPath, [KEEPER, '--run-dir', gone, '--supervised'], { reject: false });
    expect(exitCode).toBe(0);
    expect(existsSync(gone)).toBe(false);
  });

  test('is in a session of its own, away from the daemon, and inherits no descriptor of it', async () => {
    const file = join(lab.runDir, 'daemon-lock');
    const fd = openSync(file, 'w');
    libc.setInheritable(fd, true);
    afterTest(() => closeSync(fd));
    const { pid } = link;
    process.kill(parentOf(pid!), 'SIGKILL');
    await killed(pid);
    const now = await eventually(other(pid), 'the link is up again');
    for (const one of [now, parentOf(now)]) {
      const open = readdirSync(`/proc/${one}/fd`).map((name) => readlinkSync(`/proc/${one}/fd/${name}`));
      expect(open).not.toContain(file);
      expect(sessionOf(one)).toBe(parentOf(now));
    }
    expect(sessionOf(process.pid)).not.toBe(parentOf(now));
    const child = spawn('readlink', [`/proc/self/fd/${fd}`], { stdio: ['ignore', 'pipe', 'ignore'] });
    expect(String((await once(child.stdout, 'data'))[0]).trim()).toBe(file);
  });

  test('keeps only the capabilities it needs, in every thread that works, and can bind low ports', async () => {
    const threads = readdirSync(`/proc/${link.pid}/task`).map((id) =>
      readFileSync(`/proc/${link.pid}/task/${id}/status`, 'utf8'),
    );
    const main = threads.find((status) => status.includes(`Pid:\t${link.pid}\n`))!;
    // Bits 10, 12, 21.
    for (const set of ['CapEff', 'CapPrm', 'CapBnd']) expect(main).toMatch(new RegExp(`^${set}:\\s+0000000000201400$`, 'm'));
    expect(main).toMatch(/^NoNewPrivs:\s+1$/m);
    expect(
      threads.some((status) => !status.includes(`Pid:\t${link.pid}\n`) && /^CapEff:\s+0000000000201400$/m.test(status)),
    ).toBe(true);
    expect(await link.holds(owner, [hold(80), hold(443, 'udp')])).toEqual([{ ok: true }, { ok: true }]);
  });

  test('two run directories on one host are two keepers, which see each other only by the ports', async () => {
    const neighbour = new Lab(lab.host, testFolder());
    const second = await neighbour.open();
    expect(second.pid).not.toBe(link.pid);
    const [mine, theirs] = [await lab.sandbox(link), await neighbour.sandbox(second)];
    const endpoint = newEndpointId();
    await link.names(endpoint, names('c1').to('10.0.0.2'));
    await second.names(endpoint, names('c1').to('10.0.0.3'));
    expect([await resolves(mine), await resolves(theirs)]).toEqual(['10.0.0.2', '10.0.0.3']);
    expect(await link.holds(owner, [hold(8080)])).toEqual([{ ok: true }]);
    expect(await second.holds(owner, [hold(8080)])).toEqual([{ ok: false, address: '0.0.0.0', errno: 'EADDRINUSE' }]);
  });

  test('of another version is asked to end, and one of ours takes over its files', async () => {
    const folder = join(lab.runDir, 'old');
    const before = new Lab(lab.host, folder);
    const asked: string[] = [];
    const old = createServer((socket) => {
      socket.on('data', (chunk) => {
        const { seq, op } = JSON.parse(chunk.toString()) as { seq: number; op: string };
        asked.push(op);
        socket.write(
          `${JSON.stringify({ seq, ok: op === 'hello' ? { version: 0, pid: process.pid, supervisor: 1, revisions: {} } : null })}\n`,
        );
        if (op === 'retire') {
          old.close();
          socket.end();
        }
      });
    });
    const inside = await lab.sandbox(link);
    const paths = keeperPaths(folder);
    makeFolders(paths);
    writeEntry(paths, 'holds', { id: owner, revision: 'r', value: [hold(8088)] });
    old.listen(paths.socket);
    await once(old, 'listening');
    const fresh = await before.open();
    expect(asked).toEqual(['hello', 'retire']);
    expect((await fresh.inventory()).holds).toEqual([{ ...hold(8088), owner }]);
    await link.sandbox(inside.id, null);
  });

  test('keeps its log and its socket from others, and the log bounded', async () => {
    const folder = join(lab.runDir, 'keeper');
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    expect(statSync(join(folder, 'keeper.sock')).mode & 0o777).toBe(0o600);
    writeFileSync(join(folder, 'log'), Buffer.alloc(3 * 1024 * 1024, 'x'));
    await expect(
      link.sandbox(newSandboxId(), {
        netns: { path: '/gone', identity: 'x' },
        view: { networks: [], forwardsFromHost: true },
        upstreams: [],
        ports: { udp: 0, tcp: 0 },
      }),
    ).rejects.toMatchObject({ code: 'bad_netns' });
    expect(statSync(join(folder, 'log')).size).toBeLessThan(1024 * 1024);
  });

  test('a change that the keeper does not take is refused, and what else is asked at that moment is answered', async () => {
    const { pid } = link;
    const many = names(...Array.from({ length: 300 }, (_, i) => `a${i}`)).to('10.0.0.2');
    const [refused, ...others] = await Promise.allSettled([
      link.names(newEndpointId(), many),
      ...Array.from({ length: 20 }, (_, i) => link.names(newEndpointId(), names(`c${i}`).to('10.0.0.3'))),
    ]);
    expect(refused).toMatchObject({ status: 'rejected', reason: { code: 'bad_request' } });
    expect(others.map(({ status }) => status)).toEqual(Array(20).fill('fulfilled'));
    expect(link.pid).toBe(pid);
    expect((await link.inventory()).endpoints).toHaveLength(20);
  });

  test('a message that makes no sense ends its connection and nothing else', async () => {
    const { pid } = link;
    for (const nonsense of ['garbage\n', '{"seq":1}\n', '[]\n', 'x'.repeat(17 * 1024 * 1024)]) {
      const socket = createConnection(join(lab.runDir, 'keeper', 'keeper.sock'));
      socket.on('error', () => {});
      socket.on('data', () => {});
      socket.write(nonsense);
      await new Promise((resolve) => socket.on('close', resolve));
    }
    expect(link.pid).toBe(pid);
    expect((await link.inventory()).sandboxes).toEqual([]);
  });
});

test('a keeper that is slow for more than the wait for one that is gone is waited for', async () => {
  const { pid } = link;
  const box = await lab.sandbox(link);
  process.kill(pid!, 'SIGSTOP');
  const told = link.names(newEndpointId(), names('c1').to('10.0.0.2'));
  try {
    await sleep(2500);
  } finally {
    process.kill(pid!, 'SIGCONT');
  }
  await told;
  expect(await resolves(box)).toBe('10.0.0.2');
});

test('a keeper that hangs makes a call fail within its limit, and the next one succeed when it is back', async () => {
  const { pid } = link;
  const endpoint = newEndpointId();
  const box = await lab.sandbox(link);
  process.kill(pid!, 'SIGSTOP');
  afterTest(() => void process.kill(pid!, 'SIGCONT'));
  await expect(link.names(endpoint, names('c1').to('10.0.0.2'))).rejects.toMatchObject({ code: 'resolver_unavailable' });
  await expect(link.names(endpoint, null)).rejects.toMatchObject({ code: 'resolver_unavailable' });
  process.kill(pid!, 'SIGCONT');
  await link.names(endpoint, names('c1').to('10.0.0.3'));
  expect(await resolves(box)).toBe('10.0.0.3');
});

test(
  'a keeper that hangs while no daemon runs ends too and is replaced, but not for some seconds',
  { timeout: 120_000 },
  async () => {
    const pid = link.pid!;
    const supervisor = parentOf(pid);
    const box = await lab.sandbox(link);
    await link.names(newEndpointId(), names('c1').to('10.0.0.2'));
    await link.holds(owner, [hold(8080)]);
    await link.close();
    process.kill(pid, 'SIGSTOP');
    await sleep(5000);
    process.kill(pid, 'SIGCONT');
    expect(await eventually(() => resolves(box), 'the name resolves')).toBe('10.0.0.2');
    expect(childOf(supervisor)).toBe(pid);
    process.kill(pid, 'SIGSTOP');
    await eventually(() => (isAlive(pid) ? undefined : true), 'the hanging keeper is ended', 60_000);
    expect(await eventually(() => resolves(box), 'the name resolves again')).toBe('10.0.0.2');
    expect(listenOnHost(8080)).toBe('EADDRINUSE');
    expect(childOf(supervisor)).not.toBe(pid);
    expect(readFileSync(join(lab.runDir, 'keeper', 'log'), 'utf8')).toContain('died, another is started');
  },
);

test('a keeper that goes on hanging is ended and replaced; the daemon need not be asked', { timeout: 60_000 }, async () => {
  const pid = link.pid!;
  const box = await lab.sandbox(link);
  await link.names(newEndpointId(), names('c1').to('10.0.0.2'));
  process.kill(pid, 'SIGSTOP');
  await eventually(() => (isAlive(pid) ? undefined : true), 'the hanging keeper is ended', 40_000);
  expect(await eventually(() => resolves(box), 'the name resolves again')).toBe('10.0.0.2');
  await eventually(other(pid), 'the link is up again');
  await link.names(newEndpointId(), names('c2').to('10.0.0.3'));
  expect(await resolves(box, 'c2')).toBe('10.0.0.3');
});
