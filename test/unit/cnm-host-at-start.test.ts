/** What a start says of the host's links, where the kernel of the tests lacks the kinds of link. */

import { expect, test } from 'vitest';
import { createMacvlanDriver } from '../../drivers/macvlan/driver.ts';
import { ParentUsers } from '../../drivers/shared/parent.ts';
import type { Cnm } from '../../src/cnm/context.ts';
import { HostAtStart, type Wished } from '../../src/cnm/host-at-start.ts';
import type { DriverParts, RestoreNetwork } from '../../src/driver/index.ts';

/** A host whose links are `links`, and what is said of it. */
function hostOf(links: string[]): { cnm: Cnm; said: object[] } {
  const said: object[] = [];
  const tell = (about: object): void => void said.push(about);
  const rtnl = {
    link: { list: async () => links.map((name, i) => ({ name, index: i + 1 })) },
    route: { list: async () => [] },
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
