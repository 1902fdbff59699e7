/** What people read: every help, lists and details, as text files that are reviewed. What differs from run to run has a stand-in. */

import type { Command } from 'commander';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createProgram } from '../../src/cli/program.ts';
import { Lab } from '../e2e/lab.ts';
import { expectGolden } from './golden.ts';

const PROGRAM = new URL('../../dist/network.js', import.meta.url).pathname;

const wordsOf = (command: Command, words: readonly string[]): string[][] => [
  [...words],
  ...command.commands.flatMap((child) => wordsOf(child, [...words, child.name()])),
];

test('every --help', async () => {
  const program = createProgram({ out: () => {}, err: () => {}, no: new Set(), exitCode: 0 }, {});
  const texts: string[] = [];
  for (const words of wordsOf(program, [])) {
    const { stdout } = await execa(process.execPath, [PROGRAM, ...words, '--help'], { env: { NETWORK_HOST: '' } });
    texts.push(`$ ${['network', ...words].join(' ')} --help\n${stdout}\n`);
  }
  expectGolden('cli-help', texts.join('\n'));
}, 120_000);

test('a command that has nothing to do loads little of Node: cryptography alone would add 10 ms to its start', async () => {
  const script = `process.argv = [process.execPath, ${JSON.stringify(PROGRAM)}, '--help'];
    process.on('exit', () => console.log(JSON.stringify(process.moduleLoadList)));
    require(${JSON.stringify(PROGRAM)});`;
  const { stdout } = await execa(process.execPath, ['-e', script], { env: { NETWORK_HOST: '' } });
  const loaded = JSON.parse(stdout.split('\n').at(-1) ?? '') as string[];
  expect(loaded).toContain('NativeModule net');
  expect(loaded.filter((name) => /^NativeModule (crypto|tls|https?|_http_client|zlib)$/.test(name))).toEqual([]);
}, 60_000);

let lab: Lab;
beforeAll(async () => {
  lab = await Lab.open();
  await lab.ok('create', '--subnet', '10.11.0.0/16', '--label', 'tier=back', '-o', 'com.docker.network.bridge.name=br-back', 'back');
  await lab.ok('create', '--ipv6', '--subnet', '10.12.0.0/24', '--subnet', 'fd00:12::/64', '--gateway', '10.12.0.254', 'front');
  await lab.ok('create', '--internal', '--subnet', '10.13.0.0/24', 'vault');
  const web = ['--network', 'name=front,ip=10.12.0.7,ip6=fd00:12::7,mac=02:00:00:00:00:07,alias=www', '--network', 'back'];
  await lab.ok('sandbox', 'create', ...web, '--label', 'owner=anna', '-p', '8080:80', '-p', '127.0.0.1:5353:53/udp', 'web');
  await lab.ok('sandbox', 'create', '--network', 'name=vault,ip=10.13.0.9,mac=02:00:00:00:00:09', 'safe');
  await lab.ok('endpoint', 'create', '--ip', '10.11.0.40', '--mac-address', '02:00:00:00:00:40', 'back', 'spare');
}, 120_000);
afterAll(() => lab?.close(), 60_000);

/** Ids, times and folders of this run, replaced by what stays the same; of equal length where columns are at stake. */
function steady(text: string): string {
  const seen = new Map<string, number>();
  const number = (id: string): number => seen.get(id) ?? (seen.set(id, seen.size + 1), seen.size);
  return text
    .replaceAll(lab.runDir, '/RUN')
    .replaceAll(/\b[0-9a-f]{64}\b/g, (id) => `id${number(id.slice(0, 12))}`.padEnd(64, '-'))
    .replaceAll(/\b[0-9a-f]{12}\b/g, (id) => `id${number(id)}`.padEnd(12, '-'))
    .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'TIME')
    .replaceAll(/\d{4}-\d\d-\d\d [\d:.]+ \+0000 UTC/g, 'TIME')
    .replaceAll(/"MacAddress": "(?!02:00:00:00:00:)[0-9a-f:]{17}"/g, '"MacAddress": "MAC"');
}

/** Commands with what they print, as on a terminal. */
async function session(commands: readonly (readonly string[])[]): Promise<string> {
  const texts: string[] = [];
  for (const words of commands) {
    const { stdout, stderr, exitCode } = await lab.cli(...words);
    const shown = words.map((word) => (/^[\w./:=-]+$/.test(word) ? word : `'${word}'`)).join(' ');
    texts.push(`$ network ${shown}\n${stdout}${stdout === '' ? '' : '\n'}${stderr}${stderr === '' ? '' : '\n'}[${exitCode}]\n`);
  }
  return steady(texts.join('\n'));
}

test('lists', async () => {
  const text = await session([
    ['ls'],
    ['ls', '--filter', 'type=custom', '--format', 'table {{.Name}}\t{{.Driver}}\t{{.IPv6}}\t{{.Internal}}\t{{.Labels}}'],
    ['ls', '--filter', 'name=back', '--format', 'json'],
    ['ls', '--filter', 'name=nothing-like-it'],
    ['sandbox', 'ls'],
    ['sandbox', 'ls', '--filter', 'network=vault', '--format', '{{.Name}}: {{.State}}'],
    ['endpoint', 'ls', '--filter', 'network=vault'],
    ['endpoint', 'ls', '--format', 'table {{.Name}}\t{{.Network}}\t{{.IPv4}}\t{{.Sandbox}}\t{{.State}}'],
    ['port', 'web'],
    ['port', 'web', '80'],
    ['port', 'web', '53/udp'],
  ]);
  expectGolden('cli-lists', text);
}, 60_000);

test('details', async () => {
  const text = await session([
    ['inspect', 'vault'],
    ['inspect', '--format', '{{range .IPAM.Config}}{{.Subnet}} {{end}}{{.EnableIPv6}}', 'front', 'back'],
    ['sandbox', 'inspect', 'safe'],
    ['endpoint', 'inspect', 'spare'],
  ]);
  expectGolden('cli-details', text);
}, 60_000);

test('refusals', async () => {
  const text = await session([
    ['inspect', 'missing'],
    ['rm', 'vault'],
    ['create', 'back'],
    ['create', '--subnet', '10.11.128.0/24', 'overlap'],
    ['create', '--subnet', '10.300.0.0/16', 'wrong'],
    ['connect', '--ip', '10.99.0.1', 'back', 'safe'],
    ['connect', '--ip', '10.11.0.40', 'back', 'safe'],
    ['disconnect', 'back', 'safe'],
    ['endpoint', 'join', 'spare', 'nobody'],
    ['port', 'web', '81'],
    ['ls', '--filter', 'colour=red'],
    ['ls', '--format', '{{.Nmae}}'],
    ['ls', 'back'],
    ['connekt', 'back', 'safe'],
    ['sandbox', 'create'],
    ['completion', 'tcsh'],
  ]);
  expect(text).not.toContain('\n[0]\n');
  expectGolden('cli-refusals', text);
}, 60_000);
