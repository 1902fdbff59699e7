/** What is remembered of tellings. */

import { expect, test } from 'vitest';
import type { NetworkId, ServiceId } from '../../src/base/index.ts';
import type { Cnm } from '../../src/cnm/context.ts';
import type { ServiceRecord } from '../../src/cnm/records.ts';
import type { Ingress } from '../../src/cnm/services/ingress.ts';
import { Teller } from '../../src/cnm/services/teller.ts';

const NETWORK = 'a'.repeat(64) as NetworkId;

/** A model with services only, and a keeper that is told of them. */
function world() {
  const services = new Map<ServiceId, ServiceRecord>();
  const said: string[] = [];
  const keeper = { hold: Promise.resolve() };
  const state = {
    servicesOfNetwork: () => [...services.values()],
    serviceById: (id: ServiceId) => services.get(id),
    networkById: () => undefined,
    endpointsOfNetwork: () => [],
  };
  const peers = async (id: string): Promise<void> => {
    said.push(id);
    await keeper.hold;
  };
  const teller = new Teller({ state, keeper: { peers } } as unknown as Cnm, {} as Ingress);
  const add = (n: number): ServiceId => {
    const id = n.toString(16).padStart(64, '0') as ServiceId;
    services.set(id, { id, network: NETWORK, name: `s${n}`, phase: 'deleting', vips: [] } as unknown as ServiceRecord);
    return id;
  };
  return { services, said, keeper, teller, add };
}

test('services that come and go leave nothing, and one that is there is not told the same twice', async () => {
  const { services, said, teller, add } = world();
  for (let n = 1; n <= 100; n++) {
    const id = add(n);
    await teller.tell(NETWORK);
    await teller.tell(NETWORK);
    expect(said.splice(0)).toEqual([`service-${id}`]);
    teller.troubles.set(id, 'its address is taken');
    services.delete(id);
    teller.forgetService(id);
  }
  expect([teller.told.size, teller.troubles.size]).toEqual([0, 0]);
});

test('a telling that ends after its service is not remembered', async () => {
  const { services, keeper, teller, add } = world();
  const id = add(1);
  let resolve = (): void => {};
  const promise = new Promise<void>((done) => (resolve = done));
  keeper.hold = promise;
  const telling = teller.tell(NETWORK);
  services.delete(id);
  teller.forgetService(id);
  resolve();
  await telling;
  expect(teller.told.size).toBe(0);
});
