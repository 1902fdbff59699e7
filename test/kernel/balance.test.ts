/** Balancing by rules of nf_tables alone. By IPVS, which this machine's kernel may lack: test/vm/inside/ipvs.test.ts. */

import { existsSync } from 'node:fs';
import { execa } from 'execa';
import { expect, test } from 'vitest';
import { requireIpvs } from '../../src/kernel/index.ts';
import { balanceCases } from './balance-cases.ts';

balanceCases({ kind: 'nft', total: 10_000, busy: 6000, timeout: 60_000 });

test('IPVS is refused where the kernel lacks it, with its name, and nowhere else', async () => {
  const { exitCode } = await execa('modprobe', ['-n', '-q', 'ip_vs'], { reject: false });
  const refused = await requireIpvs().catch((error: unknown) => error);
  if (exitCode === 0 || existsSync('/proc/net/ip_vs')) expect(refused).toBeUndefined();
  else expect(refused).toMatchObject({ code: 'kernel_lacks', message: expect.stringContaining('ip_vs') });
});
