/** The same on the older kernel interface, which hosts with iptables-legacy still use. */

import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { silentLogger } from '../../src/base/index.ts';
import { openFirewall } from '../../src/firewall/index.ts';
import { firewallContract } from './firewall.ts';

const before = process.env['PATH'];
let folder = '';

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pbt-legacy-'));
  for (const family of ['iptables', 'ip6tables']) {
    for (const verb of ['restore', 'save']) symlinkSync('/usr/sbin/xtables-legacy-multi', join(folder, `${family}-${verb}`));
  }
  process.env['PATH'] = `${folder}:${before}`;
});

afterAll(() => {
  process.env['PATH'] = before;
  rmSync(folder, { recursive: true, force: true });
});

firewallContract('iptables-legacy', {
  open: (host, mark) => openFirewall({ backend: 'iptables', host, mark, log: silentLogger }),
});
