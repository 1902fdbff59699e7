/** A wish that the daemon cannot write to its file: the keeper goes on with what was before. */

import { mkdirSync, readFileSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { newEndpointId, newSandboxId, type Address } from '../../src/base/index.ts';
import { dig, keeperLab, names, type Lab } from './keeper-lab.ts';

/** A folder in the place of the file that is written before it is renamed. */
const blocked = (lab: Lab, table: string, id: string): string => {
  const path = join(lab.runDir, 'keeper', table, `${id}.json.new`);
  mkdirSync(path);
  return path;
};

test('a name that is new is not there, and one that was there keeps its address, also for a daemon that has just begun', async () => {
  const lab = await keeperLab();
  const first = await lab.open();
  const box = await lab.sandbox(first);
  const [known, unknown] = [newEndpointId(), newEndpointId()];
  await first.names(known, names('web').to('10.0.0.2'));
  await first.close();

  const link = await lab.open();
  const inWays = [blocked(lab, 'names', known), blocked(lab, 'names', unknown)];
  await expect(link.names(known, names('web').to('10.0.0.9'))).rejects.toThrow('EISDIR');
  await expect(link.names(unknown, names('other').to('10.0.0.3'))).rejects.toThrow('EISDIR');
  expect(await dig(box, 'web')).toEqual(['10.0.0.2']);
  expect(await dig(box, 'other')).toEqual(['SERVFAIL']);
  expect((await link.inventory()).endpoints).toEqual([known]);

  inWays.forEach((path) => rmdirSync(path));
  await link.names(known, names('web').to('10.0.0.9'));
  expect(await dig(box, 'web')).toEqual(['10.0.0.9']);
});

test('host ports are not held', async () => {
  const lab = await keeperLab();
  const link = await lab.open();
  const owner = newSandboxId();
  const ports = [{ protocol: 'tcp' as const, port: 8080, addresses: ['127.0.0.1'] as Address[] }];
  const inWay = blocked(lab, 'holds', owner);
  await expect(link.holds(owner, ports)).rejects.toThrow('EISDIR');
  expect((await link.inventory()).holds).toEqual([]);
  rmdirSync(inWay);
  expect(await link.holds(owner, ports)).toMatchObject([{ ok: true }]);
});

test('host ports stay held when what came of more of them cannot be written, and neither can their undo', async () => {
  const lab = await keeperLab();
  const link = await lab.open();
  const port = (number: number) => ({ protocol: 'tcp' as const, port: number, addresses: ['127.0.0.1'] as Address[] });
  const [owner, other] = [newSandboxId(), newSandboxId()];
  await link.holds(owner, [port(8080)]);
  await link.holds(other, [port(8081)]);
  const asked = link.holds(owner, [{ ...port(8080), isOurs: true }, port(8081)]);
  const failure = asked.then(
    () => undefined,
    (error: Error) => error.message,
  );
  // Until the wish is written; the keeper's answer comes with a turn of the event loop at the earliest.
  for (let i = 0; i < 40; i++) await Promise.resolve();
  expect(readFileSync(join(lab.runDir, 'keeper', 'holds', `${owner}.json`), 'utf8')).toContain('8081');
  const inWay = blocked(lab, 'holds', owner);
  expect(await failure).toContain('EISDIR');
  await expect(link.holds(owner, [{ ...port(8080), isOurs: true }])).rejects.toThrow('EISDIR');
  const held = async () => (await link.inventory()).holds.filter((one) => one.owner === owner).map((one) => one.port);
  expect(await held()).toEqual([8080]);
  rmdirSync(inWay);
  expect(await link.holds(owner, [{ ...port(8080), isOurs: true }])).toMatchObject([{ ok: true }]);
  expect([await held(), link.conflicts]).toEqual([[8080], []]);
});
