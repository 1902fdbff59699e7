/** WireGuard's own change of keys under a stream: every two minutes, so that this file takes longer than others, and waits most of it. */

import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { eventually } from '../../kernel/keeper-lab.ts';
import { OverlayLab } from '../../kernel/overlay-lab.ts';
import { allHosts, keysFrom, secure } from '../../kernel/secure-cases.ts';
import { MOST_GAP_S, Stream } from './stream.ts';

const LIMIT_MS = 600_000;
const CHANGES = 2;
/** The message that completes a handshake, by its type and size (WireGuard's white paper, 5.4.3). */
const COMPLETED = { filter: 'udp port 51820 and udp[8] = 2', line: /UDP, length 92$/gm };

test('a stream has no gap while sessions change their keys', { timeout: LIMIT_MS }, async () => {
  const lab = await OverlayLab.open({ hosts: 2 });
  const hosts = allHosts(lab, 4);
  for (const host of lab.hosts) await secure(host, keysFrom(1), hosts);
  const net = await lab.network({ options: { encrypted: 'wireguard' } });
  const capture = await lab.capture(COMPLETED.filter);
  const a = await lab.host(0).guest(net, { v4: '10.20.0.2/24' });
  const b = await lab.host(1).guest(net, { v4: '10.20.0.3/24' });
  await lab.tell(net);
  const stream = await Stream.start(a, b);
  const count = (): number => capture.seen.match(COMPLETED.line)?.length ?? 0;
  const before = await eventually(() => count() || undefined, 'the session has begun');
  await eventually(() => (count() >= before + CHANGES ? true : undefined), 'keys change', LIMIT_MS);
  await sleep(2 * MOST_GAP_S * 1000);
  expect(await stream.end()).toBeLessThan(MOST_GAP_S);
});
