/** The log of events: its order, its bounds, and what a change of a record means. */

import { expect, test } from 'vitest';
import { type NetworkId, type SandboxId, silentLogger } from '../../src/base/index.ts';
import { type CnmEvent, EventLog, eventsOf } from '../../src/cnm/events.ts';
import type { EndpointRecord, NetworkRecord, SandboxRecord } from '../../src/cnm/records.ts';

const env = { log: silentLogger, now: () => 1_764_000_000_123 };
const told = (attributes: Record<string, string> = {}) => ({ type: 'network', action: 'create', id: 'x', attributes }) as const;

test('events of one millisecond have times of their own, in order, also when the clock goes back', () => {
  let now = 1000;
  const log = new EventLog({ log: silentLogger, now: () => now });
  log.add([told(), told()]);
  now = 500;
  log.add([told()]);
  now = 1001;
  log.add([told()]);
  expect(log.recent().map((e) => e.timeNano)).toEqual([1_000_000_000n, 1_000_000_001n, 1_000_000_002n, 1_001_000_000n]);
});

test('after a clock that was set back by hours, or ahead and back, events have its time', () => {
  let now = 20_000_000;
  const log = new EventLog({ log: silentLogger, now: () => now });
  log.add([told()]);
  now = 1000;
  log.add([told(), told()]);
  now = 90_000_000;
  log.add([told()]);
  now = 1001;
  log.add([told()]);
  expect(log.recent().map((e) => e.timeNano / 1_000_000n)).toEqual([20_000_000n, 1000n, 1000n, 90_000_000n, 1001n]);
});

test('the last 256 are kept', () => {
  const log = new EventLog(env);
  for (let i = 0; i < 300; i++) log.add([told({ i: String(i) })]);
  expect(log.recent().map((e) => e.attributes['i'])).toEqual(Array.from({ length: 256 }, (_, i) => String(i + 44)));
});

test('of events with very large labels fewer are kept, and always the last one', () => {
  const log = new EventLog(env);
  const large = 'x'.repeat(3 * 1024 * 1024);
  for (let i = 0; i < 5; i++) log.add([told({ large, i: String(i) })]);
  expect(log.recent().map((e) => e.attributes['i'])).toEqual(['3', '4']);
  log.add([told({ large: large.repeat(4) })]);
  expect(log.recent()).toHaveLength(1);
  for (let i = 0; i < 3; i++) log.add([told()]);
  expect(log.recent()).toHaveLength(3);
});

test('a listener hears what comes until it is ended', () => {
  const log = new EventLog(env);
  const heard: CnmEvent[] = [];
  log.add([told()]);
  const end = log.subscribe((event) => heard.push(event));
  log.add([told({ a: '1' })]);
  end();
  log.add([told({ a: '2' })]);
  expect(heard.map((e) => e.attributes)).toEqual([{ a: '1' }]);
});

const net = { id: 'n' as NetworkId, name: 'net', driver: 'bridge', phase: 'ready', configOnly: false } as NetworkRecord;
const ep = { id: 'e', name: 'ep', network: net.id, phase: 'ready' } as EndpointRecord;
const box = { id: 's', name: 'box', labels: { a: 'b' }, phase: 'ready' } as unknown as SandboxRecord;
const sandbox = 's' as SandboxId;
const process = { pid: 7, startTime: '1' };

type Change = Parameters<typeof eventsOf>[0];
const knows = (net: NetworkRecord) => ({ networkById: () => net, serviceById: () => undefined, sandboxById: () => undefined });
const change = (kind: Change['kind'], before: object | undefined, after: object | undefined): Change =>
  ({ kind, before, after }) as Change;

test.each<[string, Change, string[]]>([
  ['a network that is ready', change('network', { ...net, phase: 'creating' }, net), ['network create']],
  ['a configuration', change('network', undefined, { ...net, configOnly: true }), ['network create']],
  ['a network that changes', change('network', net, { ...net, degraded: 'x' }), []],
  ['a network that is being deleted', change('network', net, { ...net, phase: 'deleting' }), []],
  ['a network that is gone', change('network', { ...net, phase: 'deleting' }, undefined), ['network destroy']],
  ['a network that was never ready', change('network', { ...net, phase: 'creating' }, undefined), []],
  ['a configuration that is gone', change('network', { ...net, configOnly: true }, undefined), []],
  ['an endpoint that is ready', change('endpoint', { ...ep, phase: 'creating' }, ep), ['endpoint create']],
  ['an endpoint on its way in', change('endpoint', ep, { ...ep, phase: 'joining', sandbox }), []],
  [
    'an endpoint that is in',
    change('endpoint', { ...ep, phase: 'joining', sandbox }, { ...ep, phase: 'joined', sandbox }),
    ['endpoint join', 'network connect'],
  ],
  [
    'an endpoint that moves its ports',
    change('endpoint', { ...ep, phase: 'joined', sandbox }, { ...ep, phase: 'joined', sandbox }),
    [],
  ],
  [
    'an endpoint of a connect on its way in',
    change('endpoint', { ...ep, phase: 'creating', boundTo: sandbox }, { ...ep, phase: 'joining', boundTo: sandbox, sandbox }),
    [],
  ],
  [
    'an endpoint of a connect that is in',
    change(
      'endpoint',
      { ...ep, phase: 'joining', boundTo: sandbox, sandbox },
      { ...ep, phase: 'joined', boundTo: sandbox, sandbox },
    ),
    ['endpoint create', 'endpoint join', 'network connect'],
  ],
  ['an endpoint of a connect that failed', change('endpoint', { ...ep, boundTo: sandbox }, undefined), []],
  ['an endpoint that could not join', change('endpoint', { ...ep, phase: 'joining', sandbox }, ep), []],
  [
    'an endpoint that is out',
    change('endpoint', { ...ep, phase: 'leaving', sandbox }, ep),
    ['endpoint leave', 'network disconnect'],
  ],
  ['an endpoint that is gone', change('endpoint', { ...ep, phase: 'deleting' }, undefined), ['endpoint destroy']],
  ['an endpoint that was never ready', change('endpoint', { ...ep, phase: 'creating' }, undefined), []],
  ['a sandbox that is ready', change('sandbox', { ...box, phase: 'creating' }, box), ['sandbox create']],
  ['a sandbox with a process', change('sandbox', box, { ...box, process }), ['sandbox start']],
  ['a sandbox whose process goes on', change('sandbox', { ...box, process }, { ...box, process }), []],
  ['a sandbox whose process ended', change('sandbox', { ...box, process }, { ...box, exited: true }), ['sandbox die']],
  ['a sandbox that is gone', change('sandbox', { ...box, phase: 'deleting' }, undefined), ['sandbox destroy']],
  ['a sandbox that was never ready', change('sandbox', { ...box, phase: 'creating' }, undefined), []],
])('%s', (_title, one, wanted) => {
  expect(eventsOf(one, knows(net)).map((e) => `${e.type} ${e.action}`)).toEqual(wanted);
});

test('a connect names network, driver and sandbox, as the engine does', () => {
  const [, connect] = eventsOf(change('endpoint', ep, { ...ep, phase: 'joined', sandbox }), knows(net));
  expect(connect).toEqual({
    type: 'network',
    action: 'connect',
    id: 'n',
    attributes: { container: 's', name: 'net', type: 'bridge' },
  });
});

test('a way outside that comes and goes by itself is an endpoint, and no connect of anybody', () => {
  const gateway = { ...net, name: 'docker_gwbridge' };
  const own = '0123456789abcdef' as SandboxId;
  const way = { ...ep, name: 'gateway_0123456789ab', boundTo: own };
  const events = (record: EndpointRecord, network: NetworkRecord): string[] =>
    [
      ...eventsOf(change('endpoint', record, { ...record, phase: 'joined', sandbox: own }), knows(network)),
      ...eventsOf(change('endpoint', { ...record, phase: 'leaving', sandbox: own }, undefined), knows(network)),
    ].map((e) => `${e.type} ${e.action}`);
  expect(events(way, gateway)).toEqual(['endpoint join', 'endpoint leave', 'endpoint destroy']);
  const told = ['endpoint join', 'network connect', 'endpoint leave', 'network disconnect', 'endpoint destroy'];
  expect(events(way, net)).toEqual(told);
  // Connected by hand: of another sandbox's name, or by itself.
  expect(events({ ...way, name: 'gateway_ba9876543210' }, gateway)).toEqual(told);
  expect(events({ ...ep, name: way.name }, gateway)).toEqual(told);
});
