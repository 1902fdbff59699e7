import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { CnmError, silentLogger } from '../../src/base/index.ts';
import { keeperPaths, makeFolders, readEntries, removeEntry, writeEntry } from '../../src/keeper/files.ts';
import { errorReply, LineReader, parseEntry, parseReply, parseRequest, seqOf } from '../../src/keeper/protocol.ts';

const sandbox = {
  netns: { path: '/run/x', identity: 'boot:1' },
  view: { networks: [{ id: 'n1', name: 'mynet' }], forwardsFromHost: true },
  upstreams: [
    { address: '10.0.0.1', at: 'host' },
    { address: 'fd00::1', port: 5353, at: 'sandbox' },
  ],
  ports: { udp: 0, tcp: 40_000 },
};
const names = { network: 'n1', networkName: 'mynet', names: ['c1'], addresses: ['10.0.0.2'] };
const peers = { network: 'n1', networkName: 'mynet', endpoints: [{ id: 'e1', names: ['c1'], addresses: ['10.0.0.2'] }] };
const holds = [{ protocol: 'tcp', addresses: ['0.0.0.0', '::'], port: 8080 }];
const put = (table: string, value: unknown, over: object = {}): string =>
  JSON.stringify({ seq: 1, op: 'put', table, id: 'abc', revision: 'r1', value, ...over });
const refused = expect.objectContaining({ code: 'bad_request' });

describe('requests', () => {
  test.each([
    ['sandboxes', sandbox],
    ['names', names],
    ['peers', peers],
    ['holds', holds],
    ['holds', [{ ...holds[0], addresses: Array.from({ length: 2048 }, (_, i) => `127.0.${i >> 8}.${i & 255}`) }]],
  ])('a sound put of %s is taken as it is', (table, value) => {
    expect(parseRequest(put(table, value))).toEqual({ seq: 1, request: { op: 'put', table, id: 'abc', revision: 'r1', value } });
  });

  test.each([
    ['no JSON', '{'],
    ['no object', '[]'],
    ['no number', '{"op":"hello"}'],
    ['unknown operation', '{"seq":1,"op":"explode"}'],
    ['unknown table', put('files', {})],
    ['a path as id', put('names', names, { id: '../x' })],
    ['an empty id', put('names', names, { id: '' })],
    ['no revision', put('names', names, { revision: undefined })],
    ['a value that is a list', put('names', [])],
    ['an address with a name', put('names', { ...names, addresses: ['c1'] })],
    ['an address in another form', put('names', { ...names, addresses: ['FD00::1'] })],
    ['an empty name', put('names', { ...names, names: [''] })],
    ['too many names', put('names', { ...names, names: Array(300).fill('a') })],
    ['a peer without a name list', put('peers', { ...peers, endpoints: [{ id: 'e1', addresses: [] }] })],
    ['a path as id of a peer', put('peers', { ...peers, endpoints: [{ id: '../e', names: [], addresses: [] }] })],
    ['no namespace', put('sandboxes', { ...sandbox, netns: { path: '/x' } })],
    ['an upstream from nowhere', put('sandboxes', { ...sandbox, upstreams: [{ address: '10.0.0.1', at: 'mars' }] })],
    ['a port out of range', put('sandboxes', { ...sandbox, ports: { udp: 70_000, tcp: 0 } })],
    ['a fraction of a port', put('sandboxes', { ...sandbox, ports: { udp: 0.5, tcp: 0 } })],
    ['a hold of port 0', put('holds', [{ ...holds[0], port: 0 }])],
    ['a hold on no address', put('holds', [{ ...holds[0], addresses: [] }])],
    ['a hold of another protocol', put('holds', [{ ...holds[0], protocol: 'sctp' }])],
  ])('%s is refused', (_, line) => {
    expect(() => parseRequest(line)).toThrow(refused);
  });
});

test('a change that is refused has a number to be answered with, and what is no request has none', () => {
  expect(seqOf(put('names', { ...names, names: Array(300).fill('a') }))).toBe(1);
  expect(seqOf('{"seq":2,"op":"drop","table":"names","id":"../x"}')).toBe(2);
  for (const line of ['{', '[]', '{"seq":1}', '{"seq":1,"op":"explode"}', put('names', names, { seq: 'x' })])
    expect(seqOf(line)).toBeUndefined();
});

test('an error keeps its code over the socket', () => {
  const reply = parseReply(JSON.stringify(errorReply(3, new CnmError('bad_netns', 'gone'))));
  expect(reply).toEqual({ seq: 3, error: { code: 'bad_netns', message: 'gone' } });
  expect(errorReply(3, new Error('x'))).toMatchObject({ error: { code: 'internal' } });
});

describe('lines', () => {
  test.each([1, 2, 5, 100])('come whole from chunks of %i octets', (size) => {
    const text = Buffer.from('{"a":1}\n\n{"ä":"ö"}\nrest');
    const reader = new LineReader(100);
    const lines: string[] = [];
    for (let at = 0; at < text.length; at += size) lines.push(...reader.push(text.subarray(at, at + size)));
    expect(lines).toEqual(['{"a":1}', '', '{"ä":"ö"}']);
  });

  test('longer than the limit are refused, also without an end', () => {
    expect(() => new LineReader(10).push(Buffer.from('12345678901\n'))).toThrow(refused);
    const reader = new LineReader(10);
    reader.push(Buffer.from('123456'));
    expect(() => reader.push(Buffer.from('78901'))).toThrow(refused);
  });
});

describe('files', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'pbt-files-'));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  test('entries come back as written, the last write wins, removed ones are gone, nobody else may read', () => {
    const paths = keeperPaths(folder);
    makeFolders(paths);
    makeFolders(paths);
    writeEntry(paths, 'names', { id: 'e1', revision: '1', value: { ...names, names: ['old'] } as never });
    writeEntry(paths, 'names', { id: 'e1', revision: '2', value: names as never });
    writeEntry(paths, 'names', { id: 'e2', revision: '3', value: names as never });
    removeEntry(paths, 'names', 'e2');
    removeEntry(paths, 'names', 'e2');
    expect(readEntries(paths, 'names', silentLogger)).toEqual([{ id: 'e1', revision: '2', value: names }]);
    expect(readdirSync(join(paths.folder, 'names'))).toEqual(['e1.json']);
    expect(statSync(join(paths.folder, 'names')).mode & 0o777).toBe(0o700);
    expect(statSync(join(paths.folder, 'names', 'e1.json')).mode & 0o777).toBe(0o600);
  });

  test('a broken, foreign or misplaced file is passed over and told, not fatal', () => {
    const paths = keeperPaths(folder);
    makeFolders(paths);
    const file = (name: string): string => join(paths.folder, 'names', name);
    writeEntry(paths, 'names', { id: 'good', revision: '1', value: names as never });
    writeFileSync(file('torn.json'), readFileSync(file('good.json'), 'utf8').slice(0, 20));
    writeFileSync(file('empty.json'), '');
    writeFileSync(file('other.json'), readFileSync(file('good.json')));
    writeFileSync(file('left.json.new'), '{}');
    const told: unknown[] = [];
    const entries = readEntries(paths, 'names', { ...silentLogger, warn: (fields) => told.push(fields.file) });
    expect(entries.map(({ id }) => id)).toEqual(['good']);
    expect(told.sort()).toEqual(['empty.json', 'other.json', 'torn.json']);
  });

  test('an entry with a bad value is refused', () => {
    expect(() => parseEntry('holds', JSON.stringify({ id: 'a', revision: '1', value: [{}] }))).toThrow(refused);
  });
});
