/** The life of a lease by a clock that the test turns and a wire that the test answers on. */

import { setMaxListeners } from 'node:events';
import { describe, expect, test } from 'vitest';
import { type Asking, acquire, giveBack, probe } from '../../drivers/dhcp/acquire.ts';
import type { Clock } from '../../drivers/dhcp/clock.ts';
import type { Way } from '../../drivers/dhcp/frame.ts';
import { type Client, type LeaseRecord, Leases } from '../../drivers/dhcp/leases.ts';
import { Renewals } from '../../drivers/dhcp/renewals.ts';
import type { Line, Listener, Wires } from '../../drivers/dhcp/wire.ts';
import {
  type Address,
  CnmError,
  type Mac,
  type Prefix,
  addressBytes,
  addressFromBytes,
  codeOf,
  silentLogger,
} from '../../src/base/index.ts';
import { MemoryStore } from '../../src/store/index.ts';

const SERVER = { address: '10.0.0.1' as Address, mac: '02:00:00:00:00:01' as Mac };
const OTHER = { address: '10.0.0.2' as Address, mac: '02:00:00:00:00:02' as Mac };
const PARENT_MAC = '02:00:00:00:00:99' as Mac;
const GIVEN = '10.0.0.77' as Address;

/** Both clocks, and what waits for them. */
class TestClock implements Clock {
  #wall = 1_700_000_000_000;
  #steady = 5000;
  readonly #timers = new Set<{ readonly at: number; readonly work: () => void }>();

  wall = (): number => this.#wall;
  steady = (): number => this.#steady;
  after = (ms: number, work: () => void) => {
    const timer = { at: this.#steady + ms, work };
    this.#timers.add(timer);
    return { cancel: () => void this.#timers.delete(timer) };
  };

  /** Time passes, and what is due happens in its order. */
  async pass(ms: number): Promise<void> {
    const end = this.#steady + ms;
    for (;;) {
      await settled();
      const [next] = [...this.#timers].filter((one) => one.at <= end).sort((a, b) => a.at - b.at);
      if (next === undefined) break;
      this.#timers.delete(next);
      const passed = Math.max(0, next.at - this.#steady);
      this.#steady += passed;
      this.#wall += passed;
      next.work();
    }
    this.#wall += end - this.#steady;
    this.#steady = end;
    await settled();
  }

  /** Somebody sets the calendar; or the machine sleeps. */
  setWall(byMs: number): void {
    this.#wall += byMs;
  }
}

/** Work that waits for nothing but other such work is done. */
async function settled(): Promise<void> {
  for (let turns = 0; turns < 5; turns++) await new Promise((resolve) => setImmediate(resolve));
}

interface Asked {
  readonly type: 'discover' | 'request' | 'release';
  readonly way: Way;
  readonly xid: number;
  readonly clientAddress?: Address;
  readonly requestedAddress?: Address;
  readonly server?: Address;
  readonly clientId: string;
}

interface Said {
  readonly type: 'offer' | 'ack' | 'nak';
  readonly from?: typeof SERVER;
  readonly address?: Address;
  /** Lease, T1, T2. */
  readonly seconds?: readonly number[];
}

/** A wire on which the test hears everything and says what it likes. */
class TestWires implements Wires {
  readonly asked: Asked[] = [];
  readonly #listeners = new Map<number, Listener>();
  isDown = false;
  /** What is said to each question. */
  answer: (asked: Asked) => readonly Said[] = () => [];
  most = 0;

  async open(parent: string, listener: Listener, known?: number): Promise<Line> {
    if (this.isDown) throw new CnmError('parent_gone', `parent ${parent} is not there`);
    const xid = known ?? this.asked.length + 1000 + this.#listeners.size;
    this.#listeners.set(xid, listener);
    this.most = Math.max(this.most, this.#listeners.size);
    return {
      xid,
      parentMac: PARENT_MAC,
      send: (way, payload) => {
        const asked = questionIn(way, payload);
        this.asked.push(asked);
        for (const said of this.answer(asked)) queueMicrotask(() => this.say(asked, payload, said));
      },
      close: () => void this.#listeners.delete(xid),
    };
  }

  say({ xid }: Asked, question: Buffer, { type, from = SERVER, address = GIVEN, seconds = [120, 60, 105] }: Said): void {
    const message = Buffer.alloc(240);
    message.set([2, 1, 6], 0);
    question.copy(message, 4, 4, 8);
    if (type !== 'nak') message.set(addressBytes(address), 16);
    question.copy(message, 28, 28, 34);
    message.writeUInt32BE(0x63825363, 236);
    const numbers = seconds.flatMap((value, i) => [[51, 58, 59][i] ?? 0, 4, 0, 0, value >> 8, value & 0xff]);
    const options = [53, 1, { offer: 2, ack: 5, nak: 6 }[type], 54, 4, ...addressBytes(from.address), 1, 4, 255, 255, 255, 0];
    const router = [3, 4, 10, 0, 0, 254];
    const payload = Buffer.concat([message, Buffer.from([...options, ...router, ...(type === 'nak' ? [] : numbers), 255])]);
    this.#listeners.get(xid)?.heard({ sourceMac: from.mac, source: from.address, payload });
  }
}

function questionIn(way: Way, payload: Buffer): Asked {
  const options = new Map<number, Buffer>();
  for (let at = 240; payload[at] !== 255; at += 2 + (payload[at + 1] as number))
    options.set(payload[at] as number, payload.subarray(at + 2, at + 2 + (payload[at + 1] as number)));
  const named = (key: string, value: Uint8Array | undefined) =>
    value === undefined || value.every((octet) => octet === 0) ? {} : { [key]: addressFromBytes(value) };
  return {
    type: ({ 1: 'discover', 3: 'request', 7: 'release' } as const)[options.get(53)?.[0] as 1 | 3 | 7],
    way,
    xid: payload.readUInt32BE(4),
    clientId: options.get(61)?.toString('hex') ?? '',
    ...named('clientAddress', payload.subarray(12, 16)),
    ...named('requestedAddress', options.get(50)),
    ...named('server', options.get(54)),
  };
}

const CLIENT: Client = {
  id: 'ab'.repeat(32),
  name: 'web',
  pool: 'Wire/10.0.0.0/24/eth0/x',
  subnet: '10.0.0.0/24' as Prefix,
  parent: 'eth0',
  mac: '02:00:00:00:00:07' as Mac,
  clientId: '01020000000007',
};

const obliging = ({ type }: Asked): readonly Said[] =>
  type === 'discover' ? [{ type: 'offer' }] : type === 'request' ? [{ type: 'ack' }] : [];

class Bench {
  readonly store: MemoryStore;
  readonly clock = new TestClock();
  readonly wires = new TestWires();
  readonly closing = new AbortController();
  asking!: Asking;
  renewals!: Renewals;

  static async open(store = new MemoryStore(), home = 'boot:1'): Promise<Bench> {
    const bench = new Bench(store);
    setMaxListeners(0, bench.closing.signal);
    bench.asking = {
      env: { log: silentLogger, now: () => bench.clock.wall() },
      leases: await Leases.open(store),
      home,
      closing: bench.closing.signal,
      wires: bench.wires,
      clock: bench.clock,
    };
    bench.renewals = new Renewals(bench.asking, { leastMs: 10_000, mostMs: 20_000 });
    bench.wires.answer = obliging;
    return bench;
  }

  private constructor(store: MemoryStore) {
    this.store = store;
  }

  /** Time passes until the work ends; its outcome, and how long it took. */
  async ended<T>(work: Promise<T>): Promise<{ readonly value?: T; readonly error?: unknown; readonly tookMs: number }> {
    const began = this.clock.steady();
    let outcome: { value?: T; error?: unknown } | undefined;
    work.then(
      (value) => (outcome = { value }),
      (error: unknown) => (outcome = { error }),
    );
    for (let n = 0; n < 1000; n++) {
      await settled();
      if (outcome !== undefined) return { ...outcome, tookMs: this.clock.steady() - began };
      await this.clock.pass(100);
    }
    throw new Error('it does not end');
  }

  acquire = (wanted?: Address): Promise<LeaseRecord> => acquire(this.asking, CLIENT, wanted, new Set(['10.0.0.254' as Address]));

  /** A lease that is looked after. What was asked so far is forgotten. */
  async leased(): Promise<LeaseRecord> {
    const { value } = await this.ended(this.acquire());
    if (value === undefined) throw new Error('no lease');
    this.renewals.keep(value);
    this.wires.asked.length = 0;
    return value;
  }

  async stored(): Promise<number> {
    return (await this.store.list('dhcp-lease/')).entries.length;
  }

  get kinds(): (string | undefined)[] {
    return this.renewals.troubles.map(({ kind }) => kind);
  }
}

describe('an address', () => {
  test('is recorded before the server is told that it is wanted', async () => {
    const bench = await Bench.open();
    const before: number[] = [];
    bench.wires.answer = (asked) => {
      if (asked.type === 'request') before.push(bench.asking.leases.all().length);
      return obliging(asked);
    };
    const { value } = await bench.ended(bench.acquire());
    expect(before).toEqual([1]);
    expect(value).toMatchObject({ address: GIVEN, isAsked: false, grant: { server: SERVER.address, serverMac: SERVER.mac } });
    const [discover, request] = bench.wires.asked;
    expect(discover).toMatchObject({ type: 'discover', clientId: CLIENT.clientId });
    expect(request).toMatchObject({ type: 'request', requestedAddress: GIVEN, server: SERVER.address, xid: discover?.xid });
    expect(request).not.toHaveProperty('clientAddress');
    const again = await Leases.open(bench.store);
    expect(again.all()).toEqual([value]);
  });

  test('that nobody offers is asked for again, and given up in ten seconds, with nothing left', async () => {
    const bench = await Bench.open();
    bench.wires.answer = () => [];
    const { error, tookMs } = await bench.ended(bench.acquire());
    expect(codeOf(error)).toBe('dhcp_unanswered');
    expect(tookMs).toBeLessThanOrEqual(10_100);
    expect(bench.wires.asked.map(({ type }) => type)).toEqual(['discover', 'discover']);
    expect(await bench.stored()).toBe(0);
  });

  test('whose request is lost is requested again', async () => {
    const bench = await Bench.open();
    let lost = 0;
    bench.wires.answer = (asked) => (asked.type === 'request' && lost++ === 0 ? [] : obliging(asked));
    expect((await bench.ended(bench.acquire())).value?.address).toBe(GIVEN);
    expect(bench.wires.asked.map(({ type }) => type)).toEqual(['discover', 'request', 'request']);
  });

  test('whose request is never answered is given back: the server may have noted it', async () => {
    const bench = await Bench.open();
    bench.wires.answer = (asked) => (asked.type === 'request' ? [] : obliging(asked));
    expect(codeOf((await bench.ended(bench.acquire())).error)).toBe('dhcp_unanswered');
    expect(bench.wires.asked.at(-1)).toMatchObject({ type: 'release', clientAddress: GIVEN, server: SERVER.address });
    expect(await bench.stored()).toBe(0);
  });

  test('that is refused after all is looked for once more', async () => {
    const bench = await Bench.open();
    let refusals = 0;
    bench.wires.answer = (asked) => (asked.type === 'request' && refusals++ === 0 ? [{ type: 'nak' }] : obliging(asked));
    expect((await bench.ended(bench.acquire())).value?.address).toBe(GIVEN);
    bench.wires.answer = (asked) => (asked.type === 'request' ? [{ type: 'nak' }] : obliging(asked));
    const second = await Bench.open();
    second.wires.answer = bench.wires.answer;
    expect(codeOf((await second.ended(second.acquire())).error)).toBe('dhcp_refused');
    expect(await second.stored()).toBe(0);
    expect(second.wires.asked.map(({ type }) => type)).toEqual(
      Array.from({ length: 32 }, (_, i) => (i % 2 === 0 ? 'discover' : 'request')),
    );
  });

  test.each<[string, Address | undefined, Address, string, number]>([
    ['other than the one that is asked for', '10.0.0.5' as Address, GIVEN, 'address_in_use', 1],
    ['outside the subnet', undefined, '10.0.1.5' as Address, 'dhcp_refused', 1],
    ['of the router', undefined, '10.0.0.254' as Address, 'dhcp_refused', 16],
  ])('%s is not requested', async (_what, wanted, offered, code, times) => {
    const bench = await Bench.open();
    bench.wires.answer = ({ type }) => (type === 'discover' ? [{ type: 'offer', address: offered }] : []);
    expect(codeOf((await bench.ended(bench.acquire(wanted))).error)).toBe(code);
    expect(bench.wires.asked.map(({ type }) => type)).toEqual(Array(times).fill('discover'));
  });

  test('of another endpoint of this host is not requested', async () => {
    const bench = await Bench.open();
    await bench.leased();
    const other = acquire(bench.asking, { ...CLIENT, id: 'cd'.repeat(32) }, undefined, new Set());
    expect(codeOf((await bench.ended(other)).error)).toBe('dhcp_refused');
    // One who asked at the same time was offered the same, and is told another one when he asks again.
    let offers = 0;
    bench.wires.answer = (asked) =>
      obliging(asked).map((said) => ({ ...said, address: (offers++ === 0 ? GIVEN : '10.0.0.78') as Address }));
    const late = acquire(bench.asking, { ...CLIENT, id: 'ef'.repeat(32) }, undefined, new Set());
    expect((await bench.ended(late)).value?.address).toBe('10.0.0.78');
  });

  test('of the second server is taken where the first one offers what does not fit', async () => {
    const bench = await Bench.open();
    bench.wires.answer = ({ type, server }) =>
      type === 'discover'
        ? [{ type: 'offer', from: OTHER, address: '192.168.7.7' as Address }, { type: 'offer' }]
        : [{ type: 'ack', from: OTHER }, ...(server === SERVER.address ? [{ type: 'ack' } as const] : [])];
    expect((await bench.ended(bench.acquire())).value?.grant?.server).toBe(SERVER.address);
  });

  test('is asked for no longer when the daemon stops', async () => {
    const bench = await Bench.open();
    bench.wires.answer = () => [];
    const work = bench.ended(bench.acquire());
    await settled();
    bench.closing.abort();
    expect(codeOf((await work).error)).toBe('shutting_down');
  });

  test('is never asked for by a look at the wire', async () => {
    const bench = await Bench.open();
    expect((await bench.ended(probe(bench.asking, 'eth0', CLIENT.id))).value).toEqual({
      subnet: '10.0.0.0/24',
      router: '10.0.0.254',
    });
    expect(bench.wires.asked.map(({ type, way }) => [type, way.sourceMac])).toEqual([['discover', PARENT_MAC]]);
  });
});

describe('a lease of 120 s', () => {
  test('is renewed at its half by the server that gave it, and lives on', async () => {
    const bench = await Bench.open();
    await bench.leased();
    await bench.clock.pass(59_000);
    expect(bench.wires.asked).toEqual([]);
    await bench.clock.pass(2000);
    expect(bench.wires.asked).toMatchObject([
      { type: 'request', clientAddress: GIVEN, way: { source: GIVEN, target: SERVER.address, targetMac: SERVER.mac } },
    ]);
    expect(bench.wires.asked[0]).not.toHaveProperty('requestedAddress');
    expect(bench.wires.asked[0]).not.toHaveProperty('server');
    await bench.clock.pass(600_000);
    expect(bench.wires.asked.length).toBeGreaterThan(8);
    expect(bench.kinds).toEqual([]);
  });

  test('is asked of all in the end, shown, kept, and had again when a server is back', async () => {
    const bench = await Bench.open();
    bench.wires.answer = (asked) => obliging(asked).map((said) => ({ ...said, seconds: [600, 60, 130] }));
    const lease = await bench.leased();
    let changes = 0;
    bench.renewals.onTroubles = () => changes++;
    bench.wires.answer = () => [];
    await bench.clock.pass(115_000);
    const renewing = bench.wires.asked.splice(0);
    expect(renewing.filter(({ clientAddress }) => clientAddress === GIVEN).every(({ way }) => way.targetMac === SERVER.mac)).toBe(
      true,
    );
    // Whoever is in no sandbox hears only what is broadcast.
    expect(renewing.some(({ requestedAddress, way }) => requestedAddress === GIVEN && way.target === '255.255.255.255')).toBe(
      true,
    );
    expect(bench.kinds).toEqual([]);
    await bench.clock.pass(80_000);
    expect(bench.wires.asked.splice(0)).toContainEqual(
      expect.objectContaining({
        clientAddress: GIVEN,
        way: expect.objectContaining({ source: GIVEN, target: '255.255.255.255' }),
      }),
    );
    expect(bench.kinds).toEqual(['unanswered']);
    await bench.clock.pass(430_000);
    expect(bench.kinds).toEqual(['expired']);
    bench.wires.asked.length = 0;
    await bench.clock.pass(24 * 3_600_000);
    expect(bench.asking.leases.get(lease.id)).toEqual(lease);
    expect(bench.wires.asked.every(({ requestedAddress, server }) => requestedAddress === GIVEN && server === undefined)).toBe(
      true,
    );
    expect(changes).toBe(2);
    bench.wires.answer = () => [{ type: 'ack', from: OTHER }];
    await bench.clock.pass(20_000);
    expect([bench.kinds, changes]).toEqual([[], 3]);
    expect(bench.asking.leases.get(lease.id)?.grant).toMatchObject({ server: OTHER.address, address: GIVEN });
  });

  test('that its server refuses is shown and kept, and had again when it changes its mind', async () => {
    const bench = await Bench.open();
    const { id, mac } = await bench.leased();
    bench.wires.answer = () => [{ type: 'nak', from: OTHER }];
    await bench.clock.pass(70_000);
    expect(bench.kinds).toEqual([]);
    bench.wires.answer = () => [{ type: 'nak' }];
    await bench.clock.pass(30_000);
    expect(bench.kinds).toEqual(['refused']);
    expect(bench.renewals.troubles[0]?.text).toContain(
      `disconnect and connect again to get another address, and another MAC unless ${mac} is given again`,
    );
    expect(bench.asking.leases.get(id)?.refused).toContain(SERVER.address);
    // No answer is no news then.
    bench.wires.answer = () => [];
    await bench.clock.pass(300_000);
    expect(bench.kinds).toEqual(['refused']);
    bench.wires.answer = obliging;
    await bench.clock.pass(30_000);
    expect(bench.kinds).toEqual([]);
    expect(bench.asking.leases.get(id)).not.toHaveProperty('refused');
  });

  test('that was refused is not given back to the server', async () => {
    const bench = await Bench.open();
    const { id } = await bench.leased();
    bench.wires.answer = () => [{ type: 'nak' }];
    await bench.clock.pass(70_000);
    await bench.renewals.forget(id);
    bench.wires.asked.length = 0;
    await giveBack(bench.asking, id);
    expect(bench.wires.asked).toEqual([]);
    expect(await bench.stored()).toBe(0);
  });

  test('for which another address is given is refused: it is kept and shown, and the other one is given back', async () => {
    const bench = await Bench.open();
    const { id } = await bench.leased();
    const other = '10.0.0.78' as Address;
    const instead =
      (from: typeof SERVER) =>
      ({ type }: Asked) =>
        type === 'request' ? [{ type: 'ack', address: other, from } as const] : [];
    // Before T2 no other server has a say.
    bench.wires.answer = instead(OTHER);
    await bench.clock.pass(70_000);
    expect(bench.kinds).toEqual([]);
    bench.wires.answer = instead(SERVER);
    await bench.clock.pass(20_000);
    expect(bench.kinds).toEqual(['refused']);
    expect(bench.renewals.troubles[0]?.text).toContain(`${SERVER.address} gives ${other} instead`);
    expect(bench.wires.asked.at(-1)).toMatchObject({
      type: 'release',
      clientAddress: other,
      server: SERVER.address,
      way: { targetMac: SERVER.mac, target: SERVER.address },
    });
    expect(bench.asking.leases.get(id)).toMatchObject({ address: GIVEN, grant: { address: GIVEN } });
    bench.wires.answer = obliging;
    await bench.clock.pass(30_000);
    expect(bench.kinds).toEqual([]);
  });

  test('that another server on the wire refuses is the one’s who gave it', async () => {
    const bench = await Bench.open();
    const lease = await bench.leased();
    const next = await Bench.open(bench.store, 'boot:2');
    next.wires.answer = () => [{ type: 'nak', from: OTHER }, { type: 'ack' }];
    next.renewals.keep(next.asking.leases.get(lease.id) as LeaseRecord);
    await next.clock.pass(10);
    expect(next.kinds).toEqual([]);
    expect(next.asking.leases.get(lease.id)?.grant?.home).toBe('boot:2');
    // Where that one is not there any more, the other one decides.
    const last = await Bench.open(bench.store, 'boot:3');
    last.wires.answer = () => [{ type: 'nak', from: OTHER }];
    last.renewals.keep(last.asking.leases.get(lease.id) as LeaseRecord);
    await last.clock.pass(8100);
    expect(last.kinds).toEqual(['refused']);
  });

  test('goes on after a restart of the daemon where it was', async () => {
    const bench = await Bench.open();
    const lease = await bench.leased();
    const next = await Bench.open(bench.store);
    next.clock.setWall(40_000);
    next.renewals.keep(next.asking.leases.get(lease.id) as LeaseRecord);
    await next.clock.pass(19_000);
    expect(next.wires.asked).toEqual([]);
    await next.clock.pass(2000);
    expect(next.wires.asked).toMatchObject([{ type: 'request', clientAddress: GIVEN }]);
  });

  test.each([
    ['after a start of the machine', 'boot:2', 1000],
    ['after its end', 'boot:1', 500_000],
  ])('is asked for at once as after a start: %s', async (_when, home, laterMs) => {
    const bench = await Bench.open();
    const lease = await bench.leased();
    const next = await Bench.open(bench.store, home);
    next.clock.setWall(laterMs);
    next.renewals.keep(next.asking.leases.get(lease.id) as LeaseRecord);
    await next.clock.pass(10);
    expect(next.wires.asked).toMatchObject([{ type: 'request', requestedAddress: GIVEN, way: { source: '0.0.0.0' } }]);
    expect(next.wires.asked[0]).not.toHaveProperty('server');
    expect(next.asking.leases.get(lease.id)?.grant?.home).toBe(home);
    await next.clock.pass(58_000);
    expect(next.wires.asked).toHaveLength(1);
  });

  test('is asked for early, and once, when the calendar is set on; set back, it is asked for all the same', async () => {
    const bench = await Bench.open();
    await bench.leased();
    bench.clock.setWall(366 * 24 * 3_600_000);
    await bench.clock.pass(31_000);
    expect(bench.wires.asked).toHaveLength(1);
    bench.clock.setWall(-2 * 366 * 24 * 3_600_000);
    await bench.clock.pass(61_000);
    expect(bench.wires.asked).toHaveLength(2);
    expect(bench.kinds).toEqual([]);
  });

  test('that is given back while it is asked for does not come back', async () => {
    const bench = await Bench.open();
    const { id } = await bench.leased();
    bench.wires.answer = () => [];
    await bench.clock.pass(61_000);
    expect(bench.wires.asked).toHaveLength(1);
    const gone = bench.ended(bench.renewals.forget(id).then(() => giveBack(bench.asking, id)));
    const { error, tookMs } = await gone;
    expect(error).toBeUndefined();
    // A sandbox does not wait for a server that is silent.
    expect(tookMs).toBeLessThan(500);
    expect(bench.wires.asked.at(-1)?.type).toBe('release');
    await bench.clock.pass(300_000);
    expect(bench.wires.asked.at(-1)?.type).toBe('release');
    expect(await bench.stored()).toBe(0);
  });

  test('goes on to be asked for when its parent is back', async () => {
    const bench = await Bench.open();
    await bench.leased();
    bench.wires.isDown = true;
    await bench.clock.pass(500_000);
    expect(bench.kinds).toEqual(['expired']);
    bench.wires.isDown = false;
    await bench.clock.pass(11_000);
    expect(bench.kinds).toEqual([]);
  });
});

test('after a start of the machine leases are asked for a few at a time', async () => {
  const bench = await Bench.open();
  const { grant, ...client } = await bench.leased();
  bench.wires.most = 0;
  for (let n = 0; n < 100; n++) {
    const record = { ...client, id: `lease-${n}`, ...(grant && { grant: { ...grant, home: 'before' } }) };
    await bench.asking.leases.put(record);
    bench.renewals.keep(record);
  }
  bench.wires.answer = () => [];
  await bench.clock.pass(9000);
  expect(bench.wires.most).toBe(16);
  bench.wires.answer = obliging;
  await bench.clock.pass(60_000);
  expect(bench.asking.leases.all().every((one) => one.grant?.home === 'boot:1')).toBe(true);
});
