import { describe, expect, test } from 'vitest';
import { codeOf, messageOf, splitPublish, type Address, type SandboxId } from '../../src/base/index.ts';
import type { HoldAnswer, HoldRequest } from '../../src/keeper/index.ts';
import {
  PortAllocator,
  parseEphemeralRange,
  parsePortBindings,
  parseReservedPorts,
  type AllocatedPort,
  type HostSide,
  type WantedPort,
} from '../../src/portmap/index.ts';

const both: HostSide = { families: { v4: true, v6: true } };
const sandbox = (letter: string): SandboxId => letter.repeat(64) as SandboxId;
const wanted = (...texts: string[]): readonly WantedPort[] => parsePortBindings(splitPublish(texts)).wanted;
const ports = (held: readonly AllocatedPort[]): string[] => held.map(({ hold, port }) => `${hold.port}:${port}/${hold.protocol}`);

/** A host on which other processes have some ports: answers as the keeper does, and keeps what each call left held. */
class Host {
  readonly taken = new Map<string, string>();
  readonly calls: (readonly HoldRequest[])[] = [];

  hold = async (groups: readonly HoldRequest[]): Promise<readonly HoldAnswer[]> => {
    this.calls.push(groups);
    return groups.map((group) => {
      for (const address of group.addresses) {
        const errno = this.taken.get(`${address} ${group.port}`);
        if (errno !== undefined) return { ok: false, address, errno };
      }
      return { ok: true };
    });
  };
}

const make = (options: Partial<ConstructorParameters<typeof PortAllocator>[0]> = {}): PortAllocator =>
  new PortAllocator({ ephemeral: { from: 32768, to: 32779 }, reserved: new Set(), ...options });

const failure = async (work: Promise<unknown>): Promise<string> => {
  try {
    await work;
  } catch (error) {
    return `${codeOf(error)}: ${messageOf(error)}`;
  }
  return 'no error';
};

describe('choice', () => {
  test('an exact port is taken on both families in one call', async () => {
    const host = new Host();
    const held = await make().allocate(sandbox('a'), wanted('8080:80'), both, host.hold);
    expect(held).toEqual([
      { hold: { owner: sandbox('a'), protocol: 'tcp', addresses: ['0.0.0.0', '::'], port: 8080 }, port: 80 },
    ]);
    expect(host.calls).toEqual([[{ protocol: 'tcp', addresses: ['0.0.0.0', '::'], port: 8080 }]]);
  });

  test('chosen ports rise from the start of the range and come round before a released one is used again', async () => {
    const host = new Host();
    const allocator = make({ ephemeral: { from: 40000, to: 40002 } });
    const next = async (letter: string): Promise<string[]> =>
      ports(await allocator.allocate(sandbox(letter), wanted('80'), both, host.hold));
    expect([await next('a'), await next('b')]).toEqual([['40000:80/tcp'], ['40001:80/tcp']]);
    allocator.release(sandbox('a'));
    expect([await next('c'), await next('d')]).toEqual([['40002:80/tcp'], ['40000:80/tcp']]);
    expect(await failure(next('e'))).toMatch(/^ports_exhausted: all ports are allocated: no tcp port of 40000-40002 is free/);
  });

  test('reserved ports are skipped when we choose and used when named', async () => {
    const host = new Host();
    const allocator = make({ reserved: new Set([32768, 32769, 8080]) });
    expect(ports(await allocator.allocate(sandbox('a'), wanted('80', '8080:81'), both, host.hold))).toEqual([
      '8080:81/tcp',
      '32770:80/tcp',
    ]);
  });

  test('a range gives its first free port to a single container port', async () => {
    const host = new Host();
    host.taken.set('0.0.0.0 8080', 'EADDRINUSE');
    const allocator = make();
    expect(ports(await allocator.allocate(sandbox('a'), wanted('8080-8081:80'), both, host.hold))).toEqual(['8081:80/tcp']);
    expect(await failure(allocator.allocate(sandbox('b'), wanted('8080-8081:80'), both, host.hold))).toMatch(
      /^port_taken.*outside our sandboxes/,
    );
  });

  test('both families move on when only one of them is refused', async () => {
    const host = new Host();
    host.taken.set(':: 32768', 'EADDRINUSE');
    const held = await make().allocate(sandbox('a'), wanted('80'), both, host.hold);
    expect(held[0]?.hold).toMatchObject({ addresses: ['0.0.0.0', '::'], port: 32769 });
  });

  test('tcp and udp of one number do not disturb each other', async () => {
    const host = new Host();
    const allocator = make();
    await allocator.allocate(sandbox('a'), wanted('53:53/udp'), both, host.hold);
    expect(ports(await allocator.allocate(sandbox('b'), wanted('53:53'), both, host.hold))).toEqual(['53:53/tcp']);
  });

  test('a thousand ports are one call, and one more when some are refused', async () => {
    const host = new Host();
    const allocator = make();
    const held = await allocator.allocate(sandbox('a'), wanted('10000-10999:10000-10999'), both, host.hold);
    expect([held.length, host.calls.length]).toEqual([1000, 1]);
    host.taken.set('0.0.0.0 32770', 'EADDRINUSE').set(':: 32772', 'EADDRINUSE');
    await allocator.allocate(sandbox('b'), wanted('1-8'), both, host.hold);
    expect(host.calls.length).toBe(3);
  });
});

describe('refusal', () => {
  test('one host port twice in one request is refused with both ports of the sandbox, and what was there stays', async () => {
    const host = new Host();
    const allocator = make({ nameOf: () => 'web' });
    const before = await allocator.allocate(sandbox('a'), wanted('9000:90'), both, host.hold);
    const refusalOf = (...texts: string[]): Promise<string> =>
      failure(allocator.allocate(sandbox('a'), wanted('9000:90', ...texts), both, host.hold));
    const twice = 'port_taken: Bind for 0.0.0.0:8080 failed: port is already allocated: the sandbox would publish';
    expect(await refusalOf('8080:80', '8080:81')).toBe(
      `${twice} 0.0.0.0:8080/tcp for its port 80 and 0.0.0.0:8080/tcp for its port 81`,
    );
    expect(await refusalOf('8080:80', '8080:80')).toBe(
      `${twice} 0.0.0.0:8080/tcp for its port 80 and 0.0.0.0:8080/tcp for its port 80`,
    );
    expect(await refusalOf('127.0.0.1:8080:80', '8080:81')).toBe(
      `${twice} 127.0.0.1:8080/tcp for its port 80 and 0.0.0.0:8080/tcp for its port 81`,
    );
    expect(await refusalOf('9000:91')).toMatch(/0\.0\.0\.0:9000\/tcp for its port 90 and 0\.0\.0\.0:9000\/tcp for its port 91$/);
    expect(await failure(allocator.allocate(sandbox('a'), wanted('9000:90', '9000:89'), both, host.hold))).toMatch(
      /0\.0\.0\.0:9000\/tcp for its port 89 and 0\.0\.0\.0:9000\/tcp for its port 90$/,
    );
    // Ports of one number that do not collide are no clash.
    expect(await refusalOf('127.0.0.1:8080:80', '127.0.0.2:8080:81', '8080:80/udp')).toBe('no error');
    expect(ports(await allocator.allocate(sandbox('a'), wanted('9000:90'), both, host.hold))).toEqual(ports(before));
  });

  test('a port of another sandbox is refused by its name, on a colliding address only', async () => {
    const host = new Host();
    const allocator = make({ nameOf: (owner) => (owner === sandbox('a') ? 'web' : undefined) });
    await allocator.allocate(sandbox('a'), wanted('127.0.0.1:8080:80'), both, host.hold);
    const calls = host.calls.length;
    expect(await failure(allocator.allocate(sandbox('b'), wanted('8080:80'), both, host.hold))).toBe(
      'port_taken: Bind for 0.0.0.0:8080 failed: port is already allocated: 127.0.0.1:8080/tcp is published by sandbox web',
    );
    expect(host.calls.length).toBe(calls);
    expect(ports(await allocator.allocate(sandbox('c'), wanted('192.0.2.1:8080:80'), both, host.hold))).toEqual(['8080:80/tcp']);
    expect(ports(await allocator.allocate(sandbox('d'), wanted('[::]:8080:80'), both, host.hold))).toEqual(['8080:80/tcp']);
    expect(await failure(allocator.allocate(sandbox('e'), wanted('[::1]:8080:80'), both, host.hold))).toContain(
      '[::]:8080/tcp is published by sandbox dddddddddddd',
    );
  });

  test('identical duplicates collide', async () => {
    const message = await failure(make().allocate(sandbox('a'), wanted('8080:80', '8080:80'), both, new Host().hold));
    expect(message).toMatch(/^port_taken: Bind for 0.0.0.0:8080 failed/);
  });

  test('an exact port that another process has is refused at once, and nothing stays held', async () => {
    const host = new Host();
    host.taken.set('0.0.0.0 8080', 'EADDRINUSE');
    const allocator = make();
    expect(await failure(allocator.allocate(sandbox('a'), wanted('8080:80', '81'), both, host.hold))).toMatch(
      /^port_taken: failed to bind host port 0.0.0.0:8080\/tcp: address already in use/,
    );
    expect(host.calls.at(-1)).toEqual([]);
    host.taken.clear();
    expect(ports(await allocator.allocate(sandbox('b'), wanted('8080:80'), both, host.hold))).toEqual(['8080:80/tcp']);
  });

  test('a range gives up after ten refused ports', async () => {
    const host = new Host();
    for (let port = 32768; port <= 32779; port++) host.taken.set(`0.0.0.0 ${port}`, 'EADDRINUSE');
    expect(await failure(make().allocate(sandbox('a'), wanted('80'), both, host.hold))).toMatch(
      /^port_taken: .*0.0.0.0:32777\/tcp.*9 ports tried before/,
    );
    expect(host.calls.length).toBe(11);
  });

  test('an address that the host does not have is named and not retried', async () => {
    const host = new Host();
    host.taken.set('192.0.2.9 32768', 'EADDRNOTAVAIL');
    expect(await failure(make().allocate(sandbox('a'), wanted('192.0.2.9::80'), both, host.hold))).toMatch(
      /^bad_address: .*192.0.2.9 is not an address of this host/,
    );
    expect(host.calls.length).toBe(2);
  });

  test.each([
    ['a missing privilege', 'EACCES', 'net.ipv4.ip_unprivileged_port_start'],
    ['a limit of open files', 'EMFILE', 'LimitNOFILE'],
  ])('%s names the setting that helps', async (_what, errno, setting) => {
    const host = new Host();
    host.taken.set('0.0.0.0 80', errno);
    expect(await failure(make().allocate(sandbox('a'), wanted('80:80'), both, host.hold))).toContain(setting);
  });

  test('a keeper that does not answer leaves the ports free', async () => {
    const allocator = make();
    const dead = async (): Promise<never> => {
      throw new Error('no answer');
    };
    expect(await failure(allocator.allocate(sandbox('a'), wanted('8080:80'), both, dead))).toContain('no answer');
    expect(ports(await allocator.allocate(sandbox('b'), wanted('8080:80'), both, new Host().hold))).toEqual(['8080:80/tcp']);
  });
});

describe('change and restart', () => {
  test('asking again keeps the ports that are still wanted', async () => {
    const host = new Host();
    const allocator = make();
    const first = await allocator.allocate(sandbox('a'), wanted('80', '8081:81'), both, host.hold);
    const second = await allocator.allocate(sandbox('a'), wanted('80', '82'), both, host.hold);
    expect(second[0]).toEqual(first[1]);
    expect(ports(second)).toEqual(['32768:80/tcp', '32769:82/tcp']);
    expect(ports(await allocator.allocate(sandbox('b'), wanted('8081:81'), both, host.hold))).toEqual(['8081:81/tcp']);
  });

  test('a failed change leaves the ports that were', async () => {
    const host = new Host();
    const allocator = make();
    const before = await allocator.allocate(sandbox('a'), wanted('8080:80'), both, host.hold);
    host.taken.set('0.0.0.0 9090', 'EADDRINUSE');
    expect(await failure(allocator.allocate(sandbox('a'), wanted('9090:80'), both, host.hold))).toMatch(/^port_taken/);
    expect(host.calls.at(-1)).toEqual([{ protocol: 'tcp', addresses: ['0.0.0.0', '::'], port: 8080, isOurs: true }]);
    expect(await failure(allocator.allocate(sandbox('b'), wanted('8080:80'), both, host.hold))).toContain(
      'published by sandbox aaaaaaaaaaaa',
    );
    expect(await allocator.allocate(sandbox('a'), wanted('8080:80'), both, host.hold)).toEqual(before);
  });

  test('a port that is ours already and was taken by another process meanwhile fails no change', async () => {
    const host = new Host();
    const allocator = make();
    await allocator.allocate(sandbox('a'), wanted('8080:80'), both, host.hold);
    host.taken.set('0.0.0.0 8080', 'EADDRINUSE');
    const changed = await allocator.allocate(sandbox('a'), wanted('8080:80', '8081:81'), both, host.hold);
    expect(ports(changed)).toEqual(['8080:80/tcp', '8081:81/tcp']);
    expect(host.calls.at(-1)?.map(({ port, isOurs }) => [port, isOurs])).toEqual([
      [8080, true],
      [8081, undefined],
    ]);
  });

  test('adopted ports are not handed out, until released', async () => {
    const host = new Host();
    const allocator = make();
    const hold = { owner: sandbox('a'), protocol: 'tcp' as const, addresses: ['0.0.0.0' as Address], port: 32768 };
    allocator.adopt(sandbox('a'), [{ hold, port: 80 }]);
    allocator.adopt(sandbox('a'), [{ hold, port: 80 }]);
    expect(ports(await allocator.allocate(sandbox('b'), wanted('80'), both, host.hold))).toEqual(['32769:80/tcp']);
    allocator.release(sandbox('a'));
    allocator.release(sandbox('a'));
    expect(ports(await allocator.allocate(sandbox('c'), wanted('32768:80'), both, host.hold))).toEqual(['32768:80/tcp']);
  });

  test('two sandboxes that ask at the same time get different ports', async () => {
    const host = new Host();
    const allocator = make();
    const both2 = await Promise.all(
      ['a', 'b'].map((letter) => allocator.allocate(sandbox(letter), wanted('80'), both, host.hold)),
    );
    expect(both2.map(ports)).toEqual([['32768:80/tcp'], ['32769:80/tcp']]);
  });
});

describe('limits of the host', () => {
  test('the ephemeral range is read, with a fallback for nonsense', () => {
    expect(parseEphemeralRange('32768\t60999\n')).toEqual({ from: 32768, to: 60999 });
    for (const text of [undefined, '', '60999 32768', '1 2 3', '0 100', '1 70000'])
      expect(parseEphemeralRange(text)).toEqual({ from: 49153, to: 65535 });
  });

  test('reserved ports are read as numbers and ranges', () => {
    expect([...parseReservedPorts('8080,9148-9150\n')]).toEqual([8080, 9148, 9149, 9150]);
    expect([...parseReservedPorts('\n')]).toEqual([]);
    expect([...parseReservedPorts(undefined)]).toEqual([]);
  });
});
