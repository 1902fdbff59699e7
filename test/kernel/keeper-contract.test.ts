import { openTcpListener, libc } from '../../src/kernel/index.ts';
import type { Address } from '../../src/base/index.ts';
import { keeperContract } from '../contract/keeper.ts';
import { afterTest, keeperLab, type Lab } from './keeper-lab.ts';
import { hostAt, testHosts } from './support.ts';

let lab: Lab;

keeperContract('the keeper process', {
  open: async () => {
    lab = await keeperLab();
    return lab.open();
  },
  netns: async () => {
    const { path, host } = hostAt(await testHosts(1), 0);
    return { path, identity: host.identity };
  },
  occupy: async (port) => {
    const fd = lab.host.host.run(() => openTcpListener({ address: '127.0.0.1' as Address, port }));
    afterTest(() => libc.close(fd));
  },
});
