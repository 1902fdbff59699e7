/** A network of a foreign plugin, on a real plugin with real links. */

import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ForeignPlugin, innerOf, outerOf } from './foreign-plugin.ts';
import { House } from './house-lab.ts';
import { afterTest } from './keeper-lab.ts';

async function open(): Promise<{ house: House; plugin: ForeignPlugin }> {
  const house = await House.open();
  const plugin = await ForeignPlugin.open(join(house.plugins, 'foreign.sock'), (command, args) => house.host.exec(command, args));
  afterTest(() => plugin.stop());
  return { house, plugin };
}

test("two sandboxes on a network of a plugin reach each other by name, and the links are the host's again when they leave", async () => {
  const { house, plugin } = await open();
  const before = await house.world();
  await house.network('net', { driver: 'foreign' });
  const anna = await house.sandbox('anna', [['net', {}]]);
  const maria = await house.sandbox('maria', [['net', {}]]);
  await anna.exec('ping', ['-c1', '-W2', house.address('maria', 'net')]);
  await maria.exec('ping', ['-c1', '-W2', house.address('anna', 'net')]);
  const [ep] = house.controller.sandbox('anna').endpoints();
  expect(ep?.record.join?.ifname).toBe('eth0');
  expect((await house.host.exec('ip', ['-o', 'link'])).stdout).not.toContain(innerOf(ep?.id ?? ''));
  let linksAtDelete = '';
  plugin.instead = {
    'NetworkDriver.DeleteEndpoint': async (body) => {
      linksAtDelete = (await house.host.exec('ip', ['-o', 'link'])).stdout;
      plugin.endpoints.delete(String(body['EndpointID']));
      await house.host.exec('ip', ['link', 'del', outerOf(String(body['EndpointID']))]);
      return {};
    },
  };
  await house.controller.disconnect('net', 'anna', false);
  expect(linksAtDelete).toContain(innerOf(ep?.id ?? ''));
  await house.controller.deleteSandbox('anna', true);
  await house.controller.deleteSandbox('maria', true);
  await house.controller.deleteNetwork('net');
  expect([plugin.networks.size, plugin.endpoints.size]).toEqual([0, 0]);
  expect(await house.world()).toEqual(before);
});
