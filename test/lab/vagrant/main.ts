/** `npm run lab:vagrant`: machines by Vagrant and libvirt, emulated, and the walk-through of vagrant/README.md in them. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { stepsOf } from '../../e2e/page.ts';
import { DIST } from '../places.ts';
import { Running, say } from '../running.ts';
import { Place } from './place.ts';
import { copyTree } from './tree.ts';
import { vagrantEnv, walk } from './walk.ts';

const ROOT = join(DIST, '..');
/** Where the set-up makes it; see test/tools/box.mjs. */
const BOX = '/var/cache/patchbay-test/vagrant-box';
const BOX_NAME = 'patchbay-debian';

const begin = performance.now();

const running = new Running();

async function main(): Promise<number> {
  const steps = stepsOf(readFileSync(join(ROOT, 'vagrant/README.md'), 'utf8'));
  const place = await Place.open((one) => (running.made = one));
  const tree = join(place.folder, 'tree');
  copyTree(ROOT, tree);
  const env = vagrantEnv(place, {
    VAGRANT_CWD: join(ROOT, 'vagrant'),
    PATCHBAY_ETCD: '1',
    PATCHBAY_HOSTS: '2',
    PATCHBAY_MEMORY: '768',
    PATCHBAY_BOX: BOX_NAME,
    PATCHBAY_TREE: tree,
    PATCHBAY_EMULATED: BOX,
  });
  const added = await place.run('vagrant', ['box', 'add', '--name', BOX_NAME, join(BOX, 'box')], { env });
  if (added.exitCode !== 0) throw new Error(`the box cannot be added: ${added.stdout}${added.stderr}`);
  say(`one member of etcd and two hosts, in namespaces of this run; libvirt serves after ${elapsed()} s\n`);
  const failed = await walk({ place, env, say }, steps);
  await place.close();
  say(`${steps.length - failed} of ${steps.length} commands printed what the page says, ${elapsed()} s in all, nothing is left`);
  return failed === 0 ? 0 : 1;
}

const elapsed = (): string => ((performance.now() - begin) / 1000).toFixed(0);

await running.run(main);
