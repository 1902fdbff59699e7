import { PassThrough } from 'node:stream';
import { expect, test } from 'vitest';
import { silentLogger } from '../../src/base/index.ts';
import { EventLog } from '../../src/cnm/events.ts';
import { eventRoutes } from '../../src/daemon/events.ts';
import type { DaemonParts, Request } from '../../src/daemon/route.ts';

const told = { type: 'network', action: 'create', id: 'x', attributes: {} } as const;

/** A follower until a time of day, and the clock that it goes by. */
async function follower(seconds: number) {
  const clock = { now: 1_000_000 };
  const events = new EventLog({ log: silentLogger, now: () => clock.now });
  const [route] = eventRoutes({ controller: { events }, now: () => clock.now } as unknown as DaemonParts);
  const request = { query: { until: String(seconds) }, headers: {}, version: '1.44' } as unknown as Request;
  const answer = await route?.handle(request);
  const out = new PassThrough();
  answer?.stream?.start(out as never);
  return { clock, events, out };
}

test('who follows until a time of day is let go when an event comes after a clock that was set ahead, and gets no such event', async () => {
  const { clock, events, out } = await follower(1060);
  events.add([told]);
  clock.now += 3_600_000;
  events.add([told]);
  const text: string = (await out.toArray()).join('');
  expect(text.split('\n').filter(Boolean)).toHaveLength(1);
});

test('who follows until a time of day gets what comes after a clock that was set back', async () => {
  const { clock, events, out } = await follower(1060);
  clock.now += 30_000;
  events.add([told]);
  clock.now -= 600_000;
  events.add([told]);
  clock.now += 3_600_000;
  events.add([told]);
  const text: string = (await out.toArray()).join('');
  expect(text.split('\n').filter(Boolean)).toHaveLength(2);
  expect(events.recent().map((event) => Number(event.timeNano / 1_000_000n))).toEqual([1_030_000, 430_000, 4_030_000]);
});
