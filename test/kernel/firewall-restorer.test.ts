import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, onTestFinished, test } from 'vitest';
import { Restorer } from '../../src/firewall/iptables/restorer.ts';
import { hostAt, testHosts } from './support.ts';

const WARM_UP = 1000;
const CHANGES = 10_000;
/** Far below what one settled promise with its waiter takes. */
const MAX_OCTETS_A_CHANGE = 100;

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

function heapUsed(): number {
  collect();
  collect();
  return process.memoryUsage().heapUsed;
}

test('a running restore keeps nothing of the changes that it has made', { timeout: 120_000 }, async () => {
  const restorer = new Restorer({ host: hostAt(await testHosts(1), 0).host }, 4);
  onTestFinished(() => restorer.close());
  const change = async (times: number): Promise<void> => {
    for (let i = 0; i < times; i++) await restorer.restore('');
  };
  await change(WARM_UP);
  const before = heapUsed();
  await change(CHANGES);
  expect((heapUsed() - before) / CHANGES).toBeLessThan(MAX_OCTETS_A_CHANGE);
});
