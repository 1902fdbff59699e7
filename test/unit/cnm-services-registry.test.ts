/** The cluster's records of services, on a store in memory: who has a name. */

import { expect, test } from 'vitest';
import { type NetworkId, type ServiceId, codeOf, messageOf, silentLogger } from '../../src/base/index.ts';
import type { Cluster } from '../../src/cluster/index.ts';
import type { NetworkRecord, ServiceRecord } from '../../src/cnm/records.ts';
import { ServiceRegistry } from '../../src/cnm/services/registry.ts';
import { networkKey } from '../../src/cnm/shared/records.ts';
import { MemoryStore } from '../../src/store/index.ts';

const nets = ['a', 'b'].map((digit) => ({ id: digit.repeat(64) as NetworkId, name: `net-${digit}` }) as NetworkRecord);
const [blue, green] = nets as [NetworkRecord, NetworkRecord];

/** Two hosts on one store. */
async function hosts() {
  const store = new MemoryStore();
  for (const net of nets) await store.commit({ put: [{ key: networkKey(net.id), value: {} }] });
  const registry = (): ServiceRegistry =>
    new ServiceRegistry({ store } as unknown as Cluster, { now: () => 1, log: silentLogger });
  return { store, here: registry(), there: registry() };
}

let count = 0;
const service = (name: string, aliases: readonly string[] = [], { id: network } = blue): ServiceRecord => ({
  schema: 1,
  owner: 'patchbay',
  id: (++count).toString(16).padStart(64, '0') as ServiceId,
  network,
  name,
  phase: 'ready',
  created: 1,
  mode: 'dnsrr',
  aliases,
  vips: [],
  ports: [],
  labels: {},
});

const refusal = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => undefined,
    (error: unknown) => [codeOf(error), messageOf(error)],
  );

test('an alias is claimed as a name is, and the service that is refused leaves no claim', async () => {
  const { store, here, there } = await hosts();
  const web = service('Web', ['www']);
  await here.publish(web, blue);
  const left = (await store.list('')).entries.length;
  for (const [other, name] of [
    [service('www'), 'www'],
    [service('api', ['www']), 'www'],
    [service('api', ['web']), 'web'],
    [service('WEB'), 'WEB'],
  ] as const)
    expect(await refusal(there.publish(other, blue))).toEqual([
      'name_taken',
      `service with name ${name} already exists in network net-a`,
    ]);
  expect((await store.list('')).entries).toHaveLength(left);
  expect(await refusal(there.publish(service('www', ['web'], green), green))).toBeUndefined();
  // Told again, and in two places at once: the same service.
  await Promise.all([here.publish(web, blue), there.publish(web, blue)]);
});

test('aliases are free with their service', async () => {
  const { here, there } = await hosts();
  const web = service('web', ['www', 'home']);
  await here.publish(web, blue);
  await here.remove(web);
  expect(await refusal(there.publish(service('home', ['www']), blue))).toBeUndefined();
});

test('of hosts that claim one alias at once exactly one has it', async () => {
  const { here, there } = await hosts();
  const found = await Promise.all([
    refusal(here.publish(service('one', ['www']), blue)),
    refusal(there.publish(service('two', ['www']), blue)),
  ]);
  expect(found.filter((one) => one === undefined)).toHaveLength(1);
});
