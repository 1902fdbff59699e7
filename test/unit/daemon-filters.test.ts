import { describe, expect, test } from 'vitest';
import { type NetworkId, codeOf, messageOf } from '../../src/base/index.ts';
import type { NetworkController, NetworkRecord } from '../../src/cnm/index.ts';
import {
  NETWORK_FILTERS,
  PRUNE_FILTERS,
  ENDPOINT_FILTERS,
  EVENT_FILTERS,
  checkDangling,
  networkMatches,
  parseFilters,
  pruneMatcher,
} from '../../src/daemon/filters.ts';
import { ENDPOINT_VALUES, EVENT_VALUES, NETWORK_VALUES } from '../../src/daemon/filter-values.ts';

const ID = `abc123${'0'.repeat(58)}`;

const network = (changes: Partial<NetworkRecord> = {}): NetworkRecord => ({
  schema: 1,
  owner: 'patchbay',
  created: 1_000_000,
  id: ID as NetworkId,
  name: 'front',
  phase: 'ready',
  driver: 'bridge',
  scope: 'local',
  enableIPv4: true,
  enableIPv6: false,
  internal: false,
  attachable: false,
  ingress: false,
  configOnly: false,
  configFrom: '',
  ipam: { driver: 'default', options: {}, config: [] },
  pools: [],
  options: {},
  labels: { env: 'prod', empty: '', 'a=b': 'c' },
  driverState: null,
  ...changes,
});

/** Filters ask the controller one question only: the endpoints of a network. */
const controllerWith = (endpoints: number): NetworkController =>
  ({ endpointsOfNetwork: () => Array.from({ length: endpoints }, () => ({})) }) as unknown as NetworkController;

const passes = (filters: unknown, net = network(), endpoints = 0): boolean =>
  networkMatches(parseFilters(JSON.stringify(filters), NETWORK_FILTERS), net, controllerWith(endpoints));

function expectRefused(work: () => unknown, words: string): void {
  let seen: unknown = 'accepted';
  try {
    work();
  } catch (error) {
    seen = error;
  }
  expect(codeOf(seen), messageOf(seen)).toBe('bad_filter');
  expect(messageOf(seen)).toContain(words);
}

describe('forms', () => {
  test.each([
    [undefined, []],
    ['', []],
    ['null', []],
    ['{}', []],
    ['{"name":["a","b"]}', [['name', ['a', 'b']]]],
    ['{"name":{"a":true,"b":true}}', [['name', ['a', 'b']]]],
    [
      '{"name":[],"driver":["x"]}',
      [
        ['name', []],
        ['driver', ['x']],
      ],
    ],
  ])('%j is read', (text, expected) => {
    expect([...parseFilters(text, NETWORK_FILTERS)]).toEqual(expected);
  });

  test.each([
    ['{', 'is not JSON'],
    ['name=a', 'is not JSON'],
    ['[]', 'it must be a JSON object'],
    ['"a"', 'it must be a JSON object'],
    ['1', 'it must be a JSON object'],
    ['{"until":["1"]}', "invalid filter 'until': there are dangling, driver, id"],
    ['{"Name":["a"]}', "invalid filter 'Name'"],
    ['{"__proto__":["a"]}', "invalid filter '__proto__'"],
    ['{"name":"a"}', 'values must be text'],
    ['{"name":null}', 'values must be text'],
    ['{"name":[1]}', 'values must be text'],
    [JSON.stringify({ name: ['a'.repeat(1025)] }), 'values must be text'],
  ])('%j is refused', (text, words) => {
    expectRefused(() => parseFilters(text, NETWORK_FILTERS), words);
  });
});

describe('network filters', () => {
  const rows: readonly [filters: Record<string, string[]>, expected: boolean][] = [
    [{}, true],
    [{ name: [] }, true],
    [{ driver: ['bridge'] }, true],
    [{ driver: ['brid'] }, false],
    [{ driver: ['host', 'bridge'] }, true],
    [{ id: [ID] }, true],
    [{ id: ['c123'] }, true],
    [{ id: ['^abc'] }, true],
    [{ id: ['^bc'] }, false],
    [{ name: ['front'] }, true],
    [{ name: ['ron'] }, true],
    [{ name: ['FRONT'] }, false],
    [{ name: ['^fro'] }, true],
    [{ name: ['^ront'] }, false],
    [{ name: ['ont$'] }, true],
    [{ name: ['fro$'] }, false],
    [{ name: ['^front$'] }, true],
    [{ name: ['^fron$'] }, false],
    [{ name: ['^f.*t$'] }, true],
    [{ name: ['^f.*x$'] }, false],
    [{ name: ['fr.nt'] }, true],
    [{ name: ['f.nt'] }, false],
    [{ name: ['fr\\.nt'] }, false],
    [{ name: ['fr\\ont'] }, true],
    [{ name: ['front\\$'] }, false],
    [{ name: ['^fr\\.*t$'] }, false],
    [{ name: ['(front'] }, false],
    [{ name: ['[front]'] }, false],
    [{ name: ['back', 'front'] }, true],
    [{ name: ['back'], driver: ['bridge'] }, false],
    [{ label: ['env'] }, true],
    [{ label: ['env=prod'] }, true],
    [{ label: ['env='] }, false],
    [{ label: ['empty='] }, true],
    [{ label: ['prod'] }, false],
    [{ label: ['toString'] }, false],
    [{ label: ['env', 'empty'] }, true],
    [{ label: ['env', 'absent'] }, false],
    [{ scope: ['local'] }, true],
    [{ scope: ['global'] }, false],
    [{ scope: ['loc'] }, false],
    [{ type: ['custom'] }, true],
    [{ type: ['builtin'] }, false],
    [{ type: ['builtin', 'custom'] }, true],
  ];
  test.each(rows)('%j: %s', (filters, expected) => {
    expect(passes(filters)).toBe(expected);
  });

  test.each([
    ['true', 'front', 0, true],
    ['1', 'front', 0, true],
    ['true', 'front', 1, false],
    ['true', 'bridge', 0, false],
    ['false', 'front', 0, false],
    ['0', 'front', 1, true],
    ['false', 'bridge', 0, true],
  ])('dangling=%s, network %s with %s endpoints: %s', (value, name, endpoints, expected) => {
    expect(passes({ dangling: [value] }, network({ name }), endpoints)).toBe(expected);
  });

  test('predefined networks are builtin', () => {
    expect(passes({ type: ['builtin'] }, network({ name: 'bridge' }))).toBe(true);
    expect(passes({ type: ['custom'] }, network({ name: 'bridge' }))).toBe(false);
  });

  test.each([['yes'], ['TRUE'], [''], ['true', 'false']])('dangling=%s is refused', (...values) => {
    expectRefused(() => passes({ dangling: values }), `invalid filter 'dangling=${values.join(',')}'`);
  });

  test.each([
    [{ type: ['custom', 'x'] }, NETWORK_FILTERS, NETWORK_VALUES, "'type'='x': use custom or builtin"],
    [{ scope: ['loc'] }, NETWORK_FILTERS, NETWORK_VALUES, "'scope'='loc': use local, global or swarm"],
    [{ state: { joined: true, happy: true } }, ENDPOINT_FILTERS, ENDPOINT_VALUES, "'state'='happy': use ready, joining"],
    [{ event: ['explode: now'] }, EVENT_FILTERS, EVENT_VALUES, "'event'='explode: now': use create"],
    [{ scope: ['global'] }, EVENT_FILTERS, EVENT_VALUES, "'scope'='global': use local or swarm"],
  ])('%j can find nothing and is refused', (filters, keys, values, words) => {
    expectRefused(() => parseFilters(JSON.stringify(filters), keys, values), words);
  });

  test('what clients of the engine ask for is taken, also where it finds nothing here', () => {
    const asked = {
      type: ['container', 'network', 'sandbox'],
      event: ['start', 'health_status: healthy', 'exec_create: sh', 'connect'],
      scope: ['swarm'],
    };
    expect([...parseFilters(JSON.stringify(asked), EVENT_FILTERS, EVENT_VALUES).keys()]).toEqual(['type', 'event', 'scope']);
    const networks = { scope: ['local', 'global', 'swarm'], type: ['custom', 'builtin'], driver: ['anything'] };
    expect(parseFilters(JSON.stringify(networks), NETWORK_FILTERS, NETWORK_VALUES).size).toBe(3);
  });

  test.each([[['maybe']], [['true', 'false']], [[]]])('dangling=%j is refused also where no network gets that far', (values) => {
    expectRefused(() => checkDangling(new Map([['dangling', values]])), "'dangling=");
  });

  // As regular expressions several of these take longer than anyone waits; the limit of the test is what stops one.
  test.each([
    '(a+)+$',
    '(a|a)*$',
    `${'.*'.repeat(500)}x`,
    `${'a.*'.repeat(300)}x$`,
    `${'.'.repeat(1000)}x`,
    '['.repeat(1000),
    '\\'.repeat(1000),
  ])('pattern %# ends', (pattern) => {
    expect(passes({ name: [pattern] }, network({ name: 'a'.repeat(255) }))).toBe(false);
  });
});

describe('prune filters', () => {
  const now = 10_000_000;
  const takes = (filters: unknown, changes: Partial<NetworkRecord> = {}): boolean =>
    pruneMatcher(parseFilters(JSON.stringify(filters), PRUNE_FILTERS), now)(network(changes));

  const limits: readonly [until: string, limit: number][] = [
    ['5000', 5_000_000],
    ['5000.5', 5_000_500],
    ['0', 0],
    ['10m', now - 600_000],
    ['1h30m', now - 5_400_000],
    ['1.5h', now - 5_400_000],
    ['90s', now - 90_000],
    ['250ms', now - 250],
    ['2000us', now - 2],
    ['2000µs', now - 2],
    ['3000000ns', now - 3],
    ['1970-01-01T01:00:00Z', 3_600_000],
    ['1970-01-01T01:00:00.5Z', 3_600_500],
    ['1970-01-01T03:00:00+02:00', 3_600_000],
    ['1970-01-02', 86_400_000],
    ['1972-02-29T00:00:00Z', 68_169_600_000],
  ];
  test.each(limits)('until=%s takes what was made at %s or before', (until, limit) => {
    expect(takes({ until: [until] }, { created: limit })).toBe(true);
    expect(takes({ until: [until] }, { created: limit - 1 })).toBe(true);
    expect(takes({ until: [until] }, { created: limit + 1 })).toBe(false);
  });

  test.each([
    '',
    'x',
    '-5',
    '-10m',
    '10d',
    '1h 30m',
    '2024-13-01',
    '2024-02-30T25:00:00Z',
    '2024-02-30',
    '2024-02-30T05:00:00Z',
    '2023-02-29T05:00:00+01:00',
    '2024-06-31T05:00:00Z',
    '2024-06-30T24:00:00Z',
    '1e3',
    '1'.repeat(400),
    `${'1'.repeat(1000)}x`,
  ])('until=%s is refused', (until) => {
    expectRefused(() => takes({ until: [until] }), 'use RFC 3339, Unix seconds or a duration such as 10m');
  });

  test('two limits are refused', () => {
    expectRefused(() => takes({ until: ['1', '2'] }), 'more than one until filter');
  });

  test.each([
    [{}, true],
    [{ label: ['env'] }, true],
    [{ label: ['env=test'] }, false],
    [{ label: ['env', 'absent'] }, false],
    [{ 'label!': ['env'] }, false],
    [{ 'label!': ['env=test'] }, true],
    [{ 'label!': ['env=test', 'empty'] }, false],
    [{ label: ['env'], 'label!': ['absent'] }, true],
    [{ label: ['env'], until: ['999'] }, false],
    [{ label: ['env'], until: ['1000'] }, true],
  ])('%j: %s', (filters, expected) => {
    expect(takes(filters)).toBe(expected);
  });

  test.each(['name', 'dangling', 'driver'])('%s is not for pruning', (key) => {
    expectRefused(() => takes({ [key]: ['x'] }), `invalid filter '${key}': there are label, label!, until`);
  });
});
