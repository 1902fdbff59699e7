/** News of links, as the kernel tells them. */

import { expect, test } from 'vitest';
import { type LinkNews, watchLinks } from '../../src/kernel/index.ts';
import { waitUntil } from '../e2e/lab.ts';
import { hostAt, testHosts } from './support.ts';

const LIMIT_MS = 10_000;

test('links that come, change and go in the namespace are heard, with their groups; those of others are not', async () => {
  const [host, other] = [hostAt(await testHosts(1), 0), hostAt(await testHosts(1), 0)];
  const heard: (LinkNews | undefined)[] = [];
  const watch = watchLinks(host.host, (news) => heard.push(news));
  const has = (name: string, isGone: boolean, group = 0): boolean =>
    heard.some((news) => news?.name === name && news.isGone === isGone && news.group === group);
  await other.exec('ip', ['link', 'add', 'far0', 'type', 'bridge']);
  await host.host.rtnl().batch([{ op: 'link.add', spec: { kind: 'bridge', name: 'b0', group: 77 } }]);
  await waitUntil(() => has('b0', false, 77), LIMIT_MS);
  await host.exec('ip', ['link', 'set', 'b0', 'name', 'b1']);
  await waitUntil(() => has('b1', false, 77), LIMIT_MS);
  await host.exec('ip', ['link', 'add', 'v0', 'type', 'veth', 'peer', 'name', 'v1']);
  // Its being a port of a bridge that goes is no news of a link.
  await host.exec('ip', ['link', 'set', 'v0', 'master', 'b1']);
  await host.exec('ip', ['link', 'del', 'b1']);
  await waitUntil(() => has('b1', true, 77), LIMIT_MS);
  expect(has('v0', true)).toBe(false);
  await host.exec('ip', ['link', 'del', 'v0']);
  await waitUntil(() => has('v0', true) && has('v1', true), LIMIT_MS);
  expect(heard.some((news) => news?.name === 'far0')).toBe(false);
  watch.close();
  watch.close();
  const count = heard.length;
  await host.exec('ip', ['link', 'add', 'late0', 'type', 'bridge']);
  expect(heard).toHaveLength(count);
});

test('more than the kernel keeps is told as such', async () => {
  const host = hostAt(await testHosts(1), 0);
  let isTold = false;
  const watch = watchLinks(host.host, (news) => (isTold ||= news === undefined));
  const rtnl = host.host.rtnl();
  await rtnl.batch([{ op: 'link.add', spec: { kind: 'bridge', name: 'b0' } }]);
  // At once: nobody reads meanwhile.
  const changes = Array.from(
    { length: 2000 },
    (_, i) => ({ op: 'link.set', at: { name: 'b0' }, change: { up: i % 2 === 0 } }) as const,
  );
  await rtnl.batch(changes);
  await waitUntil(() => isTold, LIMIT_MS);
  watch.close();
});

test('of what bears a mark only its going is heard while it lives, and nothing once it is dead', async () => {
  const host = hostAt(await testHosts(1), 0);
  const heard: string[] = [];
  const [liveGroup, deadGroup] = [0x40a1b2c4, 0x40a1b2c5];
  const watch = watchLinks(host.host, (news) => heard.push(`${news?.name} ${news?.isGone === true ? 'gone' : 'there'}`), {
    liveGroup,
    deadGroup,
  });
  const rtnl = host.host.rtnl();
  for (const [name, group] of [
    ['live0', liveGroup],
    ['live1', liveGroup],
    ['other0', 0x40a1b2c6],
  ] as const)
    await rtnl.batch([{ op: 'link.add', spec: { kind: 'bridge', name, group } }]);
  await rtnl.batch([{ op: 'link.set', at: { name: 'live0' }, change: { up: true } }]);
  await rtnl.batch([{ op: 'link.set', at: { name: 'live1' }, change: { group: deadGroup } }]);
  for (const name of ['live1', 'live0', 'other0']) await rtnl.batch([{ op: 'link.remove', at: { name } }]);
  await waitUntil(() => heard.includes('other0 gone'), LIMIT_MS);
  watch.close();
  expect(heard.filter((one) => one.startsWith('live'))).toEqual(['live0 gone']);
  expect(heard).toContain('other0 there');
});
