/** The package as an embedding program sees it: its exports, and a controller opened in a namespace. */

import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { DIST, Lab } from './lab.ts';

let lab: Lab;
beforeAll(async () => {
  lab = await Lab.open();
  await lab.stop();
});
afterAll(async () => {
  await lab.close();
});

test('a program opens a controller, makes a network and a sandbox, and closes it', async () => {
  const script = `
    import { openHouse, silentLogger, codeOf } from ${JSON.stringify(join(DIST, 'lib/index.js'))};
    const house = await openHouse({ stateDir: ${JSON.stringify(lab.stateDir)}, runDir: ${JSON.stringify(lab.runDir)}, keeperEntry: ${JSON.stringify(join(DIST, 'keeper.js'))}, env: { log: silentLogger, now: Date.now } });
    const { controller } = house;
    const { network } = await controller.createNetwork({ name: 'net' });
    const { sandbox } = await controller.createSandbox({ name: 'box', networks: [['net', {}]] });
    const seen = { network: network.name, address: sandbox.endpoints()[0].record.v4, code: await network.delete().catch(codeOf) };
    await sandbox.delete();
    await network.delete();
    console.log(JSON.stringify(seen));
    await house[Symbol.asyncDispose]();
  `;
  const { stdout, stderr } = await lab.in('host', process.execPath, '--input-type=module', '-e', script);
  expect(stderr).toBe('');
  expect(JSON.parse(stdout)).toEqual({
    network: 'net',
    address: expect.stringMatching(/^172\.16\.\d+\.2\/20$/),
    code: 'network_in_use',
  });
  expect(await lab.leftovers()).toEqual([]);
});

test('the driver contract and the contract suites are exported', async () => {
  expect(Object.keys((await import(join(DIST, 'lib/driver.js'))) as object)).toContain('labels');
});
