/** Refusals that are no failures, and what the kernel tells of a link that it made. */

import { release } from 'node:os';
import { expect, test } from 'vitest';
import { parseAddress, parsePrefix } from '../../src/base/index.ts';
import { type RtnlOp, openNetns } from '../../src/kernel/index.ts';
import { hostAt, testHosts } from './support.ts';

const [major = 0, minor = 0] = release().split('.').map(Number);
/** Since Linux 6.2. */
const TELLS = major > 6 || (major === 6 && minor >= 2);
const LO = 1;
const GONE = 4711;

/** ENOENT: nobody has such an entry. */
const forget = (last: number, fine?: readonly string[]): RtnlOp => ({
  op: 'neighbour.remove',
  spec: { link: LO, address: parseAddress(`192.0.2.${last}`) },
  ...(fine && { fine }),
});
const raise: RtnlOp = { op: 'link.set', at: { index: GONE }, change: { up: true } };

test('what is fine is no failure, wherever it stands, and hides none', async () => {
  const host = hostAt(await testHosts(1), 0).host;
  const rtnl = host.rtnl();
  await expect(rtnl.batch([forget(1)])).rejects.toMatchObject({ errno: 'ENOENT' });
  await expect(rtnl.batch([forget(1, ['EPERM'])])).rejects.toMatchObject({ errno: 'ENOENT' });
  for (const batch of [rtnl.batch, rtnl.batchOffThread]) {
    const send = (ops: readonly RtnlOp[]): Promise<void> => batch.call(rtnl, ops);
    await send([forget(1, ['ENOENT'])]);
    await send([forget(1, ['ENOENT']), { op: 'address.add', spec: { link: LO, prefix: parsePrefix('192.0.2.9/32') } }]);
    await send([{ op: 'address.remove', spec: { link: LO, prefix: parsePrefix('192.0.2.9/32') } }, forget(1, ['ENOENT'])]);
    await expect(send([forget(1, ['ENOENT']), raise, forget(2, ['ENOENT'])])).rejects.toMatchObject({ errno: 'ENODEV' });
    // More than are sent in one go.
    const many = Array.from({ length: 150 }, (_, i) => forget(i, ['ENOENT']));
    await send(many);
    await expect(send([...many, raise])).rejects.toThrow(`link ${GONE} (operation 151 of 151)`);
    await expect(send([...many, forget(200)])).rejects.toMatchObject({ errno: 'ENOENT' });
  }
});

test('a link that is made is told, with the index of its other side; one that cannot be made is refused by name', async () => {
  const hosts = await testHosts(2);
  const rtnl = hostAt(hosts, 0).host.rtnl();
  const inside = hostAt(hosts, 1).host;
  const spec = { kind: 'veth', name: 'out0', index: 50, peer: { name: 'in0', index: 60, netns: inside } } as const;
  const told = await rtnl.link.add(spec);
  expect(told).toEqual(TELLS ? expect.objectContaining({ name: 'out0', index: 50, parent: 60 }) : undefined);
  expect(await rtnl.link.get({ name: 'out0' })).toMatchObject({ index: 50, parent: 60 });
  expect(await inside.rtnl().link.get({ name: 'in0' })).toMatchObject({ index: 60 });
  await expect(rtnl.link.add({ ...spec, index: 51 })).rejects.toThrow('veth out0');
  // Nothing of a refusal waits for the next question.
  expect(await rtnl.link.get({ index: LO })).toMatchObject({ name: 'lo' });
});

test('a namespace opened for its links is the same one', async () => {
  const { path, host } = hostAt(await testHosts(1), 0);
  using plain = openNetns(path);
  using forLinks = openNetns(path, { isForLinks: true });
  expect([plain.identity, forLinks.identity]).toEqual([host.identity, host.identity]);
  expect(await forLinks.rtnl().link.get({ index: LO })).toMatchObject({ name: 'lo' });
});
