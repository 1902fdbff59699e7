/** What a start says of the host's links and routes, where the kernel of the tests lacks the kinds of link, and with more routes than it is given. */

import { expect, test } from 'vitest';
import { createMacvlanDriver } from '../../drivers/macvlan/driver.ts';
import { ParentUsers } from '../../drivers/shared/parent.ts';
import type { Prefix } from '../../src/base/index.ts';
import type { Cnm } from '../../src/cnm/context.ts';
import { HostAtStart, type Wished } from '../../src/cnm/host-at-start.ts';
import type { DriverParts, RestoreFacet, RestoreNetwork } from '../../src/driver/index.ts';

/** A host whose links are `links` and whose routes are `routes`, and what is said of it. */
function hostOf(links: string[], routes: object[] = []): { cnm: Cnm; said: object[] } {
  const said: object[] = [];
  const tell = (about: object): void => void said.push(about);
  const rtnl = {
    link: { list: async () => links.map((name, i) => ({ name, index: i + 1 })) },
    route: { list: async ({ family }: { family: number }) => (family === 4 ? routes : []) },
  };
  return { cnm: { host: { rtnl: () => rtnl }, env: { log: { warn: tell, error: tell } } } as unknown as Cnm, said };
}

const wishOf = (net: object): RestoreNetwork => ({ net: { v4: [], v6: [], ...net }, endpoints: [] }) as unknown as RestoreNetwork;

test('a VLAN that two networks lie on, and each names by option and by state, is one link', async () => {
  const { restorer } = createMacvlanDriver({} as DriverParts, new ParentUsers());
  const on = (name: string) =>
    wishOf({ id: name.padEnd(64, '0'), name, options: { parent: 'lan0.50' }, state: { parent: 'lan0.50' } });
  const links = ['lan0'];
  const { cnm, said } = hostOf(links);
  const wished: Wished[] = [{ restorer: restorer!, usesParent: true, wishes: [on('one'), on('two')] }];
  const host = await HostAtStart.look(cnm, wished);
  links.push('lan0.50');
  await host?.tell();
  expect(said).toEqual([{ networks: ['one', 'two'], links: 1 }]);
});

test('a hundred networks on a host with ten thousand routes keep no start waiting', async () => {
  const routes = Array.from({ length: 10_000 }, (_, i) => ({
    destination: `10.200.${i >> 8}.${i & 255}/32` as Prefix,
    link: 1,
    scope: 'link',
  }));
  const { cnm, said } = hostOf(['theirs0', 'br'], routes);
  const restorer = { linksOf: () => ['br'] } as unknown as RestoreFacet;
  const wishes = Array.from({ length: 100 }, (_, i) =>
    wishOf({ id: `${i}`, name: `n${i}`, v4: [{ prefix: `10.201.${i}.0/24` }] }),
  );
  wishes.push(wishOf({ id: 'x', name: 'x', v4: [{ prefix: '10.200.39.15/24' }] }));
  const host = await HostAtStart.look(cnm, [{ restorer, usesParent: false, wishes }]);
  const begun = performance.now();
  await host?.tell();
  // A third of what comparing them as text takes.
  expect(performance.now() - begun).toBeLessThan(2000);
  expect(said).toEqual([{ network: 'x', name: 'x', subnet: '10.200.39.15/24', route: 'route 10.200.39.0/32 dev theirs0' }]);
});
