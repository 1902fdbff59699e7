import {
  chmodSync,
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  readdirSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, onTestFinished, test } from 'vitest';
import { codeOf, messageOf, silentLogger, type Address } from '../../src/base/index.ts';
import { openFirewall, type Firewall } from '../../src/firewall/index.ts';
import { ask, makeLab, markOf, network, probe, publish, withdraw } from './firewall-lab.ts';
import { hostAt, testFolder, testHosts, type TestHost } from './support.ts';

const PATH = process.env['PATH'];
afterEach(() => void (process.env['PATH'] = PATH));

const TAG = 'c0ffee00';
async function open(at: TestHost, tag = TAG, lockFd?: number): Promise<Firewall> {
  const firewall = await openFirewall({
    backend: 'iptables',
    host: at.host,
    mark: markOf(tag),
    log: silentLogger,
    ...(lockFd === undefined ? {} : { lockFd }),
  });
  onTestFinished(() => firewall.close());
  return firewall;
}

const oneHost = async (): Promise<TestHost> => hostAt(await testHosts(1), 0);

/** What iptables-save prints, without dates and counters. */
async function saved(at: TestHost, family: 4 | 6 = 4): Promise<string[]> {
  const { stdout } = await at.exec(family === 4 ? 'iptables-save' : 'ip6tables-save', []);
  return stdout
    .split('\n')
    .filter((line) => !line.startsWith('#'))
    .map((line) => line.replace(/ \[\d+:\d+\]$/, ''));
}

const forward = async (at: TestHost): Promise<string[]> => (await saved(at)).filter((line) => line.startsWith('-A FORWARD'));
const iptables = (at: TestHost, ...args: string[]): Promise<unknown> => at.exec('iptables', args);

/** Pids of the running iptables-restore of both families in the host's namespace. */
function restorersIn(at: TestHost): number[] {
  const inode = statSync(at.path).ino;
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => {
      try {
        const isHere = pid > 0 && statSync(`/proc/${pid}/ns/net`).ino === inode;
        return isHere && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('tables-restore\0--noflush');
      } catch {
        return false;
      }
    });
}

/** Puts programs of our own before the real ones: they log each call, and fail once when told to. */
function watchTools(): { readonly calls: () => string[]; readonly failNext: (tool: string) => void } {
  const folder = testFolder();
  const log = join(folder, 'log');
  for (const tool of ['iptables-restore', 'ip6tables-restore']) {
    const script = `#!/bin/sh
case "$*" in *--test*) ;; *) echo "${tool} $(readlink /proc/self/fd/3)" >> ${log};; esac
if [ -e ${folder}/fail-${tool} ]; then rm ${folder}/fail-${tool}; echo "out of order" >&2; exit 1; fi
exec /usr/sbin/${tool} "$@"
`;
    writeFileSync(join(folder, tool), script);
    chmodSync(join(folder, tool), 0o755);
  }
  process.env['PATH'] = `${folder}:${PATH}`;
  return {
    calls: () => (existsSync(log) ? readFileSync(log, 'utf8').trim().split('\n') : []),
    failNext: (tool) => writeFileSync(join(folder, `fail-${tool}`), ''),
  };
}

describe("the administrator's chain", () => {
  test('is entered first, decides before our rules, and is never emptied', async () => {
    const lab = await makeLab();
    const firewall = await open(lab.host);
    await firewall.sync([network('a'), publish('a', 8080)]);
    expect(await forward(lab.host)).toEqual(['-A FORWARD -j PATCHBAY-USER', `-A FORWARD -j PATCHBAY-${TAG}`]);
    await iptables(lab.host, '-A', 'PATCHBAY-USER', '-s', '192.0.2.2', '-j', 'DROP');
    expect(await probe(lab.client, '192.0.2.1', 8080)).toBe('nothing');
    await firewall.sync([network('a'), publish('a', 8080)]);
    await firewall.reload();
    expect(await saved(lab.host)).toContain('-A PATCHBAY-USER -s 192.0.2.2/32 -j DROP');
    await firewall.purge();
    expect(await forward(lab.host)).toEqual(['-A FORWARD -j PATCHBAY-USER']);
    await iptables(lab.host, '-F', 'PATCHBAY-USER');
    await firewall.purge();
    expect((await saved(lab.host)).join('\n')).not.toContain('PATCHBAY');
  });

  test('stays while another instance needs it, and goes with the last one', async () => {
    const host = await oneHost();
    const [one, two] = await Promise.all([open(host), open(host, 'c0ffee01')]);
    await one.sync([]);
    await two.sync([]);
    await one.purge();
    expect(await forward(host)).toEqual(['-A FORWARD -j PATCHBAY-USER', '-A FORWARD -j PATCHBAY-c0ffee01']);
    await two.purge();
    expect((await saved(host)).join('\n')).not.toContain('PATCHBAY');
    expect((await saved(host, 6)).join('\n')).not.toContain('PATCHBAY');
  });

  test('is entered once when two instances start at the same moment', async () => {
    const host = await oneHost();
    for (let round = 0; round < 4; round++) {
      const both = await Promise.all([open(host), open(host, 'c0ffee01')]);
      await Promise.all(both.map((firewall) => firewall.sync([])));
      const jumps = await forward(host);
      expect(jumps[0]).toBe('-A FORWARD -j PATCHBAY-USER');
      expect(jumps.slice(1).sort()).toEqual(['-A FORWARD -j PATCHBAY-c0ffee00', '-A FORWARD -j PATCHBAY-c0ffee01']);
      for (const firewall of both) await firewall.purge();
    }
  });
});

describe("other people's rules", () => {
  test('a FORWARD policy of DROP stays, and what we allow works all the same', async () => {
    const lab = await makeLab();
    await iptables(lab.host, '-P', 'FORWARD', 'DROP');
    await lab.host.exec('ip6tables', ['-P', 'FORWARD', 'DROP']);
    const firewall = await open(lab.host);
    await firewall.sync([network('a'), network('b'), publish('a', 8080)]);
    expect(await ask(lab.client, '192.0.2.1', 8080)).toBe('a 192.0.2.2');
    expect(await ask(lab.client, '2001:db8::1', 8080)).toBe('a 2001:db8::2');
    expect(await ask(lab.b, '192.0.2.2', 80)).toBe('client 192.0.2.1');
    expect(await ask(lab.a, '10.1.0.3', 80)).toBe('c 10.1.0.2');
    await firewall.purge();
    expect(await saved(lab.host)).toContain(':FORWARD DROP');
  });

  test('stay as they are, in their order, before and after ours; a start puts ours first again', async () => {
    const host = await oneHost();
    const foreign = [
      ['-N', 'THEIRS'],
      ['-A', 'FORWARD', '-m', 'comment', '--comment', `a "quoted" -j PATCHBAY-${TAG} x`, '-j', 'THEIRS'],
      ['-A', 'FORWARD', '-s', '198.51.100.0/24', '-j', 'THEIRS'],
      ['-t', 'nat', '-A', 'PREROUTING', '-p', 'tcp', '--dport', '7', '-j', 'REDIRECT', '--to-ports', '8'],
      ['-t', 'nat', '-A', 'POSTROUTING', '-s', '198.51.100.0/24', '-j', 'MASQUERADE'],
      ['-t', 'raw', '-A', 'PREROUTING', '-s', '198.51.100.9', '-j', 'DROP'],
      ['-t', 'mangle', '-A', 'PREROUTING', '-j', 'MARK', '--set-mark', '7'],
    ];
    for (const rule of foreign) await iptables(host, ...rule);
    const before = await saved(host);
    const firewall = await open(host);
    await firewall.sync([network('a'), publish('a', 8080)]);
    await iptables(host, '-I', 'FORWARD', '1', '-s', '198.51.100.1', '-j', 'DROP');
    await iptables(host, '-A', 'FORWARD', '-s', '198.51.100.2', '-j', 'DROP');
    await firewall.apply([withdraw(publish('a', 0)), publish('c', 8081)]);
    await firewall.sync([network('a'), publish('c', 8081)]);
    expect(await forward(host)).toEqual([
      '-A FORWARD -j PATCHBAY-USER',
      `-A FORWARD -j PATCHBAY-${TAG}`,
      '-A FORWARD -s 198.51.100.1/32 -j DROP',
      `-A FORWARD -m comment --comment "a \\"quoted\\" -j PATCHBAY-${TAG} x" -j THEIRS`,
      '-A FORWARD -s 198.51.100.0/24 -j THEIRS',
      '-A FORWARD -s 198.51.100.2/32 -j DROP',
    ]);
    await iptables(host, '-D', 'FORWARD', '-s', '198.51.100.1', '-j', 'DROP');
    await iptables(host, '-D', 'FORWARD', '-s', '198.51.100.2', '-j', 'DROP');
    await firewall.purge();
    expect(await saved(host)).toEqual(before);
  });

  test('that lead to a chain of ours keep it from being deleted, not from being emptied', async () => {
    const host = await oneHost();
    const firewall = await open(host);
    await firewall.sync([network('a'), network('b')]);
    await iptables(host, '-A', 'FORWARD', '-s', '198.51.100.1', '-j', `PBN-${TAG}-brb`);
    await firewall.sync([network('a')]);
    const lines = await saved(host);
    expect(lines).toContain(`:PBN-${TAG}-brb -`);
    expect(lines.filter((line) => line.startsWith(`-A PBN-${TAG}-brb`))).toEqual([]);
    expect(lines).toContain(`-A FORWARD -s 198.51.100.1/32 -j PBN-${TAG}-brb`);
  });
});

describe('what is in the kernel', () => {
  test('is the same after a second start, in both families', async () => {
    const host = await oneHost();
    const wish = [network('a'), network('b', { internal: true }), publish('a', 8080), publish('c', 8081)];
    await (await open(host)).sync(wish);
    const first = [await saved(host, 4), await saved(host, 6)];
    await (await open(host)).sync(wish);
    expect([await saved(host, 4), await saved(host, 6)]).toEqual(first);
  });

  test('is the same by changes as by a start, apart from the order of what is independent', async () => {
    const host = await oneHost();
    const firewall = await open(host);
    await firewall.sync([network('a'), network('b'), publish('c', 8081)]);
    await firewall.apply([publish('a', 8080), network('b', { internal: true, icc: false })]);
    await firewall.apply([network('a', { trustedInterfaces: ['wg0'] }), withdraw(publish('c', 0))]);
    const byChanges = [...(await saved(host, 4)), ...(await saved(host, 6))].sort();
    await firewall.sync([
      network('a', { trustedInterfaces: ['wg0'] }),
      network('b', { internal: true, icc: false }),
      publish('a', 8080),
    ]);
    expect([...(await saved(host, 4)), ...(await saved(host, 6))].sort()).toEqual(byChanges);
  });

  test('is nothing of ours once every owner has withdrawn, except the empty frame', async () => {
    const host = await oneHost();
    const firewall = await open(host);
    await firewall.sync([]);
    const frame = await saved(host);
    const all = [network('a'), network('b'), publish('a', 8080), publish('c', 8081)];
    await firewall.apply(all);
    await firewall.apply(all.map(withdraw));
    expect(await saved(host)).toEqual(frame);
  });

  test('is written again after a flush: at once by reload, and by the next change', async () => {
    const lab = await makeLab();
    const firewall = await open(lab.host);
    await firewall.sync([network('a'), publish('a', 8080)]);
    const flush = (): Promise<unknown> =>
      lab.host.exec('sh', ['-ec', 'for t in filter nat raw; do iptables -t $t -F; iptables -t $t -X; done']);
    await flush();
    expect(await ask(lab.client, '192.0.2.1', 8080)).toBe('refused');
    await firewall.reload();
    expect(await ask(lab.client, '192.0.2.1', 8080)).toBe('a 192.0.2.2');
    await flush();
    await firewall.apply([publish('c', 8081)]);
    expect([await ask(lab.client, '192.0.2.1', 8080), await ask(lab.client, '192.0.2.1', 8081)]).toEqual([
      'a 192.0.2.2',
      'c 192.0.2.2',
    ]);
  });
});

describe('the tool', () => {
  test('is started once a family, and takes change after change', async () => {
    const tools = watchTools();
    const host = await oneHost();
    const firewall = await open(host);
    await firewall.sync([network('a')]);
    await firewall.apply([network('a'), { owner: 'e'.repeat(64), intent: { kind: 'ports', bridge: 'bra', rules: [] } }]);
    for (let round = 0; round < 3; round++) {
      await firewall.apply([publish('a', 8080), publish('c', 8081)]);
      expect((await saved(host)).join('\n')).toContain('--dport 8081');
      await firewall.apply([withdraw(publish('a', 0)), withdraw(publish('c', 0))]);
      expect((await saved(host)).join('\n')).not.toContain('--dport');
    }
    expect(
      tools
        .calls()
        .map((line) => line.split(' ')[0])
        .sort(),
    ).toEqual(['ip6tables-restore', 'iptables-restore']);
  });

  test('is started anew after it refused a change, after it was killed, and after it was let go', async () => {
    const tools = watchTools();
    const host = await oneHost();
    const firewall = await open(host);
    await firewall.sync([network('a')]);
    const bad = network('b', { v4: { snatTo: '2001:db8::9' as Address } });
    await firewall.apply([publish('a', 8080)]);
    const failure = await firewall.apply([bad]).catch((error: unknown) => error);
    expect(messageOf(failure)).toMatch(/^iptables-restore failed: .*SNAT --to-source 2001:db8::9\)$/s);
    await firewall.apply([publish('c', 8081)]);
    const pids = restorersIn(host);
    expect(pids).toHaveLength(2);
    for (const pid of pids) process.kill(pid, 'SIGKILL');
    await firewall.apply([withdraw(publish('a', 0))]);
    await firewall.close();
    await firewall.apply([withdraw(publish('c', 0)), publish('a', 8082)]);
    const rules = (await saved(host)).join('\n');
    expect([rules.includes('--dport 8081'), rules.includes('--dport 8082')]).toEqual([false, true]);
    expect(tools.calls().length).toBeGreaterThanOrEqual(8);
  });

  test('is started for each change where stdbuf is missing', async () => {
    const tools = watchTools();
    const host = await oneHost();
    const folder = testFolder();
    for (const name of ['iptables-restore', 'ip6tables-restore']) {
      symlinkSync(join((process.env['PATH'] ?? '').split(':')[0] ?? '', name), join(folder, name));
    }
    for (const name of ['sh', 'readlink', 'rm', 'echo']) symlinkSync(`/bin/${name}`, join(folder, name));
    process.env['PATH'] = folder;
    const firewall = await open(host);
    await firewall.sync([network('a')]);
    await firewall.apply([publish('a', 8080)]);
    await firewall.apply([withdraw(publish('a', 0))]);
    process.env['PATH'] = PATH;
    expect((await saved(host)).join('\n')).not.toContain('--dport');
    expect(tools.calls().length).toBeGreaterThanOrEqual(4);
  });

  test("inherits the daemon's lock", async () => {
    const tools = watchTools();
    const file = join(testFolder(), 'lock');
    const fd = openSync(file, 'w');
    try {
      const firewall = await open(await oneHost(), TAG, fd);
      await firewall.sync([]);
    } finally {
      closeSync(fd);
    }
    expect(new Set(tools.calls())).toEqual(new Set([`iptables-restore ${file}`, `ip6tables-restore ${file}`]));
  });

  test('may fail in one family once: the change is written as a whole instead', async () => {
    const tools = watchTools();
    const lab = await makeLab();
    const firewall = await open(lab.host);
    await firewall.sync([network('a')]);
    tools.failNext('ip6tables-restore');
    await firewall.apply([publish('a', 8080)]);
    expect(await ask(lab.client, '192.0.2.1', 8080)).toBe('a 192.0.2.2');
    expect(await ask(lab.client, '2001:db8::1', 8080)).toBe('a 2001:db8::2');
  });

  test("is quoted when it refuses a rule: its words and the rule's text", async () => {
    const host = await oneHost();
    const firewall = await open(host);
    await firewall.sync([network('a')]);
    const before = [await saved(host, 4), await saved(host, 6)];
    const failure = await firewall
      .apply([publish('a', 8080), network('b', { v6: { snatTo: '192.0.2.1' as Address } })])
      .catch((error: unknown) => error);
    expect(codeOf(failure)).toBe('firewall_failed');
    expect(messageOf(failure)).toMatch(/^ip6tables-restore failed: .*SNAT --to-source 192\.0\.2\.1\)$/s);
    expect([await saved(host, 4), await saved(host, 6)]).toEqual(before);
  });

  test('that does not work at all is found before anything is changed', async () => {
    const tools = watchTools();
    const host = await oneHost();
    tools.failNext('iptables-restore');
    const failure = await open(host).catch((error: unknown) => error);
    expect(codeOf(failure)).toBe('kernel_lacks');
    expect(messageOf(failure)).toContain('iptables-restore does not work here');
    expect(messageOf(failure)).toContain('out of order');
  });
});

test('the backend that is not there yet says so, and no backend changes nothing', async () => {
  const host = await oneHost();
  const common = { host: host.host, mark: markOf(TAG), log: silentLogger };
  const failure = await openFirewall({ backend: 'nftables', ...common }).catch((error: unknown) => error);
  expect(codeOf(failure)).toBe('kernel_lacks');
  const none = await openFirewall({ backend: 'none', ...common });
  await none.sync([network('a')]);
  await none.apply([publish('a', 8080)]);
  expect((await saved(host)).join('\n')).not.toContain('PATCHBAY');
});
