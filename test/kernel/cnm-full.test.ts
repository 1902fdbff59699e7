/** A store that takes no changes any more, from any moment of an operation on: it is refused, and leaves nothing that keeps it from being asked for again. */

import { expect, test } from 'vitest';
import type { Store } from '../../src/store/index.ts';
import { House } from './house-lab.ts';

/** More than any of the operations has. */
const MOST_COMMITS = 30;
const FULL = 'no space left';

type Act = (house: House) => Promise<unknown>;

const PORTS = { '80/tcp': [{ HostPort: '8080' }] };

test.each<[what: string, act: Act]>([
  ['a network', ({ controller }) => controller.createNetwork({ name: 'new' })],
  ['a sandbox', ({ controller }) => controller.createSandbox({ name: 'new', networks: [['net', {}]], portBindings: PORTS })],
  ['a connect', ({ controller }) => controller.connect('net', 'box', {})],
  ['an endpoint', ({ controller }) => controller.createEndpoint('net', 'new')],
  ['a join', ({ controller }) => controller.joinEndpoint('apart', 'box')],
])('%s', async (_what, act) => {
  let left = Number.POSITIVE_INFINITY;
  const store = (inner: Store): Store =>
    new Proxy(inner, {
      get: (target, key) => {
        const value: unknown = Reflect.get(target, key, target);
        if (typeof value !== 'function') return value;
        const bound = value.bind(target) as (...args: unknown[]) => Promise<unknown>;
        return key !== 'commit' ? bound : (...args: unknown[]) => (left-- > 0 ? bound(...args) : Promise.reject(new Error(FULL)));
      },
    });
  const house = await House.open({ store });
  const { controller } = house;
  await house.network('net');
  await house.network('other');
  await controller.createSandbox({ name: 'box', networks: [['other', {}]] });
  await controller.createEndpoint('net', 'apart');
  const before = await house.world();
  for (let commits = 0; commits <= MOST_COMMITS; commits++) {
    left = commits;
    const failure = await act(house).then(
      () => undefined,
      (error: Error) => error.message,
    );
    left = Number.POSITIVE_INFINITY;
    if (failure === undefined) {
      expect(commits).toBeGreaterThan(1);
      return;
    }
    expect(failure).toContain(FULL);
    // What was half-made goes with the next change, whatever that is.
    await controller.createEndpoint('other', 'next');
    await controller.deleteEndpoint('next', false);
    expect(await house.world(), `after ${commits} commits`).toEqual(before);
  }
  throw new Error(`more than ${MOST_COMMITS} commits`);
});
