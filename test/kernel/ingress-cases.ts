/** What is asked of published ports of services, where some call of it fails. */

import type { Address } from '../../src/base/index.ts';
import type { PublishedService } from '../../src/balance/index.ts';
import type { House } from './house-lab.ts';
import type { UseCase } from './use-case.ts';

const ID = 'a1'.repeat(32);

const wish = (): PublishedService => ({
  service: { id: ID, vips: [], members: [{ addresses: ['10.63.0.9' as Address], state: 'serving' }] },
  network: 'net',
  ports: [{ protocol: 'tcp', published: 8080, target: 80 }],
});

/** As a use case that throws: what fails is told, and tried again with the next call. */
async function apply(house: House, wanted: readonly PublishedService[]): Promise<void> {
  await house.controller.services.ingress.apply(wanted);
  const trouble = house.controller.services.ingress.troubleOf(ID);
  if (trouble !== undefined) throw new Error(trouble);
}

const publish = (house: House): Promise<void> => apply(house, [wish()]);
const end = (house: House): Promise<void> => apply(house, []);
const network = (house: House): Promise<string> => house.network('net', { ipam: { config: [{ subnet: '10.63.0.0/24' }] } });

export const ingressCreations: readonly UseCase[] = [
  { title: 'publish ports of a service', prepare: network, act: publish, revert: end },
];

export const ingressRemovals: readonly UseCase[] = [
  {
    title: 'end published ports of a service',
    prepare: async (house) => {
      await network(house);
      await publish(house);
    },
    act: end,
    revert: publish,
  },
];
