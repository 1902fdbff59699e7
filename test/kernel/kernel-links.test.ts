import { monitorEventLoopDelay, performance } from 'node:perf_hooks';
import { describe, expect, test } from 'vitest';
import { silentLogger, type Logger } from '../../src/base/index.ts';
import { createReaper, markOf, newInstanceId, type Netns, type RtnlOp } from '../../src/kernel/index.ts';
import { hostAt, testHosts } from './support.ts';

const mark = markOf(newInstanceId());

const pairs = (count: number, sandbox: Netns, group: number, base = 1000): RtnlOp[] =>
  Array.from({ length: count }, (_, i) => ({
    op: 'link.add',
    spec: { kind: 'veth', name: `p${base + i}`, index: base + i, group, peer: { name: `q${base + i}`, group, netns: sandbox } },
  }));

const names = async (netns: Netns): Promise<string[]> => (await netns.rtnl().link.list()).map((link) => link.name);

describe('the reaper', () => {
  test('removes both halves of every dead link and nothing else, in passes shared by many kicks', async () => {
    const hosts = await testHosts(2);
    const [host, sandbox] = [hostAt(hosts, 0).host, hostAt(hosts, 1).host];
    const other = markOf(newInstanceId());
    await host
      .rtnl()
      .batch([
        ...pairs(50, sandbox, mark.deadGroup),
        ...pairs(3, sandbox, mark.liveGroup, 2000),
        ...pairs(3, sandbox, other.deadGroup, 3000),
      ]);
    const reaper = createReaper(host, mark, silentLogger);
    for (let i = 0; i < 20; i++) reaper.kick();
    await reaper.idle();
    expect(await names(host)).toEqual(['lo', 'p2000', 'p2001', 'p2002', 'p3000', 'p3001', 'p3002']);
    expect(await names(sandbox)).toEqual(['lo', 'q2000', 'q2001', 'q2002', 'q3000', 'q3001', 'q3002']);
    await reaper.close();
  });

  test('takes what dies while it works, and ends its work before it is closed', async () => {
    const hosts = await testHosts(2);
    const [host, sandbox] = [hostAt(hosts, 0).host, hostAt(hosts, 1).host];
    const reaper = createReaper(host, mark, silentLogger);
    await host.rtnl().batch([...pairs(20, sandbox, mark.deadGroup), ...pairs(1, sandbox, mark.liveGroup, 2000)]);
    reaper.kick();
    await new Promise((done) => setTimeout(done, 25));
    await host.rtnl().batch([{ op: 'link.set', at: { index: 2000 }, change: { group: mark.deadGroup } }]);
    reaper.kick();
    await reaper.close();
    expect(await names(host)).toEqual(['lo']);
    // Afterwards it does nothing, and says nothing.
    reaper.kick();
    await reaper.close();
  });

  test('gives up after two tries with a warning each, until the next kick', async () => {
    const hosts = await testHosts(1);
    const host = hostAt(hosts, 0).host;
    const warnings: string[] = [];
    const log: Logger = { ...silentLogger, warn: (_, message) => warnings.push(message) };
    // Group 0 is every ordinary link: the kernel refuses to remove it.
    const reaper = createReaper(host, { ...mark, deadGroup: 0 }, log);
    reaper.kick();
    await reaper.idle();
    expect(warnings).toHaveLength(2);
    await reaper.close();
  });
});

test('a hundred deletions off the thread leave the event loop free', async () => {
  const hosts = await testHosts(2);
  const [host, sandbox] = [hostAt(hosts, 0).host, hostAt(hosts, 1).host];
  await host.rtnl().batch(pairs(100, sandbox, 7));
  const lag = monitorEventLoopDelay({ resolution: 1 });
  lag.enable();
  const start = performance.now();
  let turns = 0;
  const timer = setInterval(() => turns++, 1);
  await Promise.all(
    Array.from({ length: 100 }, (_, i) => host.rtnl().batchOffThread([{ op: 'link.remove', at: { index: 1000 + i } }])),
  );
  clearInterval(timer);
  lag.disable();
  console.log(
    `100 deletions: ${(performance.now() - start).toFixed(0)} ms, loop lag p99 ${(lag.percentile(99) / 1e6).toFixed(1)} ms, max ${(lag.max / 1e6).toFixed(1)} ms`,
  );
  expect(await names(sandbox)).toEqual(['lo']);
  // Blocked by each deletion the loop could not have turned more often than there were deletions.
  expect(turns).toBeGreaterThan(150);
});

test('a deletion off the thread that fails says what it was about', async () => {
  const { host } = hostAt(await testHosts(1), 0);
  const failure = host.rtnl().batchOffThread([{ op: 'link.remove', at: { index: 12345 } }]);
  await expect(failure).rejects.toMatchObject({
    operation: 'link.remove',
    errno: 'ENODEV',
    message: expect.stringContaining('link 12345'),
  });
});

test('a thousand requests at once beside ten thousand events all come back', async () => {
  const { host, exec } = hostAt(await testHosts(1), 0);
  await host.rtnl().batch([{ op: 'link.add', spec: { kind: 'bridge', name: 'noisy', index: 50 } }]);
  const toggles = Array.from({ length: 10_000 }, (_, i) => `link set noisy mtu ${1400 + (i % 2)}`).join('\n');
  const events = exec('ip', ['-batch', '-'], { input: `${toggles}\n` });
  let answered = 0;
  let interrupted = 0;
  for (let round = 0; round < 4; round++) {
    const links = await Promise.all(Array.from({ length: 1000 }, () => host.rtnl().link.get({ index: 50 })));
    answered += links.filter((link) => link.name === 'noisy').length;
    await new Promise((done) => setImmediate(done));
    const list = await host
      .rtnl()
      .link.list()
      .catch(() => interrupted++ as never);
    expect(list).toHaveLength(2);
  }
  await events;
  expect([answered, interrupted]).toEqual([4000, 0]);
});

test('a list taken while another process adds and removes links is whole each time', async () => {
  const { host, exec } = hostAt(await testHosts(1), 0);
  // Enough that a list takes several datagrams, hence can be interrupted between them.
  await host.rtnl().batch(
    Array.from({ length: 120 }, (_, i): RtnlOp => ({
      op: 'link.add',
      spec: { kind: 'bridge', name: `b${i}`, index: 100 + i },
    })),
  );
  const churn = exec('bash', ['-c', 'for i in {1..60}; do ip link add churn type bridge; ip link del churn; done']);
  let lists = 0;
  while (churn.exitCode === null && lists < 5000) {
    const found = new Set((await host.rtnl().link.list()).map((link) => link.index));
    for (let i = 0; i < 120; i++) if (!found.has(100 + i)) throw new Error(`link ${100 + i} is missing`);
    lists++;
    await new Promise((done) => setImmediate(done));
  }
  await churn;
  expect(lists).toBeGreaterThan(0);
});
