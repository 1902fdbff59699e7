/**
 * Bad input of every kind against one daemon: each is refused with the status and code that its row wants, in words that
 * name what is wrong and what would work, and nothing changes in the kernel, the files or the store.
 */

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Watched, octets, told } from './bad-input/asking.ts';
import { byItselfRows } from './bad-input/by-itself.ts';
import { endpointRows } from './bad-input/endpoints.ts';
import { cutRows, framedRows } from './bad-input/framing.ts';
import { networkRows } from './bad-input/networks.ts';
import type { Row } from './bad-input/row.ts';
import { sandboxRows } from './bad-input/sandboxes.ts';
import { serviceRows } from './bad-input/services.ts';
import { transportRows } from './bad-input/transport.ts';
import { PROBLEMS } from '../../src/daemon/nonsense.ts';
import { Lab } from './lab.ts';
import { storedRecords } from './records.ts';

const TABLES: Readonly<Record<string, readonly Row[]>> = {
  networks: networkRows,
  endpoints: endpointRows,
  'endpoints by themselves': byItselfRows,
  sandboxes: sandboxRows,
  services: serviceRows,
  transport: transportRows,
};

let lab: Lab;
let watched: Watched;
let before: unknown;
let wellBefore: unknown;
let recordsBefore: unknown;

beforeAll(async () => {
  lab = await Lab.open();
  const made = [
    ['create', '--subnet', '10.9.0.0/24', '--opt', 'com.docker.network.bridge.name=pbfix0', 'net'],
    ['create', '--config-only', 'conf'],
    ['sandbox', 'create', '--network', 'net', '--ip', '10.9.0.5', '-p', '18081:80', 'box'],
    ['sandbox', 'create', 'spare'],
    ['sandbox', 'create', '--network', 'host', 'bare'],
    ['endpoint', 'create', '--ip', '10.9.0.20', 'net', 'idle'],
    ['sandbox', 'create', 'home'],
    ['endpoint', 'create', 'net', 'wed'],
    ['endpoint', 'join', 'wed', 'home'],
    ['service', 'create', '--network', 'net', '--mode', 'dnsrr', 'svc'],
    ['create', '--subnet', '10.19.0.0/24', 'full'],
    ['service', 'create', '--network', 'full', '--mode', 'dnsrr', 'lone'],
  ];
  for (const args of made) await lab.ok(...args);
  await lab.stop();
  recordsBefore = await storedRecords(lab.stateDir);
  await lab.start();
  watched = new Watched(lab);
  before = await watched.look();
  wellBefore = await watched.lookWell();
});
afterAll(async () => {
  watched.close();
  await lab.close();
});

describe.each(Object.entries(TABLES))('%s', (_topic, rows) => {
  test.each(rows.map((row) => [row.title, row] as const))('%s is refused, named, and changes nothing', async (_title, row) => {
    const answer = await told(lab.socket, row.ask);
    expect([answer.status, answer.code], answer.message).toEqual([row.status, row.code]);
    for (const words of row.says) expect(answer.message).toMatch(words);
    // No message carries what a terminal or a log would act on; lines are the only exception.
    // oxlint-disable-next-line no-control-regex
    expect(answer.message).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/);
    expect(answer.message.length).toBeLessThan(2048);
    expect(await watched.look()).toEqual(before);
  });
});

const OCTETS = [...framedRows.map((row) => [row[0], row, false] as const), ...cutRows.map((row) => [row[0], row, true] as const)];

describe('octets', () => {
  const said = new Set<string>();
  test.each(OCTETS)('%s is refused, named, and changes nothing', async (_title, row, isLast) => {
    const [, sent, status, code, ...says] = row;
    const answer = await octets(lab.socket, Buffer.from(sent, 'latin1'), isLast);
    said.add(answer.message);
    expect([answer.status, answer.code], answer.message).toEqual([status, code]);
    for (const words of says) expect(answer.message).toMatch(words);
    expect(await watched.look()).toEqual(before);
  });

  test('each problem of the table is met', () => {
    // Which of these two words a line without its CR or LF gets is up to the version of Node.
    const ofLines = [PROBLEMS['HPE_STRICT'], PROBLEMS['HPE_CR_EXPECTED']];
    expect(ofLines.some((words) => words !== undefined && said.has(words))).toBe(true);
    expect(Object.values(PROBLEMS).filter((words) => !said.has(words) && !ofLines.includes(words))).toEqual([]);
  });
});

test('after all of them rules, records and the daemon are what they were', async () => {
  expect(Object.values(TABLES).flat().length).toBeGreaterThan(290);
  expect(await watched.lookWell()).toEqual(wellBefore);
  expect(lab.log).not.toMatch(/"level":50/);
  await lab.stop();
  expect(await storedRecords(lab.stateDir)).toEqual(recordsBefore);
  await lab.start();
});
