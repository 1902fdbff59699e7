/** What is taken as a service, and what is refused with which words. */

import { describe, expect, test } from 'vitest';
import { codeOf, messageOf, parseDuration } from '../../src/base/index.ts';
import { type ServiceSpec, checkService } from '../../src/cnm/services/spec.ts';

const spec = (more: Partial<ServiceSpec>): ServiceSpec => ({ name: 'web', network: 'net', ...more });
const refusal = (more: Partial<ServiceSpec>): [string | undefined, string] => {
  try {
    checkService(spec(more));
    return [undefined, ''];
  } catch (error) {
    return [codeOf(error), messageOf(error)];
  }
};

test('words are completed as the engine has them', () => {
  expect(checkService(spec({}))).toEqual({ name: 'web', mode: 'vip', aliases: [], ports: [], labels: {} });
  expect(checkService(spec({ aliases: ['WWW', 'www', 'Web'] })).aliases).toEqual(['www']);
  expect(checkService(spec({ ports: [{ published: 8080, target: 80 }] })).ports).toEqual([
    { protocol: 'tcp', published: 8080, target: 80 },
  ]);
  expect(checkService(spec({ health: { http: '/' } })).health).toEqual({
    probe: { kind: 'http', port: 80, path: '/' },
    intervalMs: 30_000,
    timeoutMs: 30_000,
    retries: 3,
    startPeriodMs: 0,
  });
});

test.each([
  [':8080/a?b=c', { kind: 'http', port: 8080, path: '/a?b=c' }],
  [':81', { kind: 'http', port: 81, path: '/' }],
])('the health path %s is understood', (http, probe) => {
  expect(checkService(spec({ health: { http } })).health?.probe).toEqual(probe);
});

const bad: readonly (readonly [string, Partial<ServiceSpec>, string, RegExp])[] = [
  ['an empty name', { name: '' }, 'bad_name', /""/],
  ['a name with a space', { name: 'a b' }, 'bad_name', /"a b"/],
  ['a name that begins as those of tasks', { name: 'Tasks.web' }, 'bad_name', /tasks\./],
  ['a name too long behind tasks.', { name: 'a.'.repeat(124) + 'a' }, 'bad_name', /247/],
  ['a bad alias', { aliases: ['a/b'] }, 'bad_name', /a\/b/],
  ['too many aliases', { aliases: Array.from({ length: 33 }, (_, i) => `a${i}`) }, 'bad_name', /32/],
  ['a mode that is none', { mode: 'rr' }, 'bad_option', /vip or dnsrr/],
  ['a port without an address', { mode: 'dnsrr', ports: [{ published: 1, target: 1 }] }, 'bad_option', /mode vip/],
  ['the port 0', { ports: [{ published: 0, target: 80 }] }, 'bad_port', /1 to 65535/],
  ['a target beyond', { ports: [{ published: 1, target: 65_536 }] }, 'bad_port', /65536/],
  ['half a port', { ports: [{ published: 1.5, target: 1 }] }, 'bad_port', /1\.5/],
  ['a strange protocol', { ports: [{ protocol: 'sctp', published: 1, target: 1 }] }, 'bad_port', /tcp or udp/],
  ['a port twice', { ports: [80, 81].map((target) => ({ published: 1, target })) }, 'bad_port', /twice/],
  [
    'more names and ports than one transaction claims',
    {
      aliases: Array.from({ length: 20 }, (_, i) => `a${i}`),
      ports: Array.from({ length: 91 }, (_, i) => ({ published: i + 1, target: 1 })),
    },
    'bad_port',
    /110/,
  ],
  ['no check among times', { health: { retries: 2 } }, 'bad_option', /command/],
  ['two checks', { health: { tcp: 1, http: '/' } }, 'bad_option', /one of/],
  ['an empty command', { health: { command: ' ' } }, 'bad_option', /command/],
  ['a command with a zero', { health: { command: 'a\0b' } }, 'bad_option', /command/],
  ['a path without a slash', { health: { http: 'x' } }, 'bad_option', /\[:PORT\]\/PATH/],
  ['a path that ends the request', { health: { http: '/a\r\nHost: b' } }, 'bad_option', /\[:PORT\]\/PATH/],
  ['the health port 0', { health: { http: ':0/' } }, 'bad_option', /\[:PORT\]\/PATH/],
  ['a TCP port beyond', { health: { tcp: 70_000 } }, 'bad_option', /70000/],
  ['no time between looks', { health: { tcp: 1, intervalMs: 1 } }, 'bad_option', /interval/],
  ['no time for an answer', { health: { tcp: 1, timeoutMs: 0 } }, 'bad_option', /timeout/],
  ['no tries', { health: { tcp: 1, retries: 0 } }, 'bad_option', /retries/],
];

test.each(bad)('%s is refused', (_title, more, code, words) => {
  const [found, text] = refusal(more);
  expect(found).toBe(code);
  expect(text).toMatch(words);
});

describe('durations', () => {
  test.each([
    ['0', 0],
    ['30s', 30_000],
    ['1m30s', 90_000],
    ['1.5s', 1500],
    ['500ms', 500],
    ['1h', 3_600_000],
    ['2us', 0.002],
  ])('%s is %f ms', (text, ms) => expect(parseDuration(text)).toBe(ms));
  test.each(['', '5', '-1s', '1d', 's', '1s ', '1e3s'])('%j is none', (text) => expect(parseDuration(text)).toBeUndefined());
});
