/** The machine of a run and the outside world: two namespaces, and the wire between them. */

import { execa } from 'execa';

/** Address of the machine and of the outside world on the wire between them (RFC 5737, RFC 3849). */
export const WIRE = {
  host: '198.51.100.1',
  outside: '198.51.100.2',
  host6: '2001:db8:100::1',
  outside6: '2001:db8:100::2',
} as const;

/** Makes both namespaces, by their names. */
export async function makeWire(host: string, outside: string): Promise<void> {
  for (const name of [host, outside]) {
    await execa('ip', ['netns', 'add', name]);
    await execa('ip', ['-n', name, 'link', 'set', 'lo', 'up']);
  }
  await execa('ip', ['-n', host, 'link', 'add', 'wire0', 'type', 'veth', 'peer', 'name', 'wire0', 'netns', outside]);
  for (const [name, v4, v6] of [
    [host, WIRE.host, WIRE.host6],
    [outside, WIRE.outside, WIRE.outside6],
  ] as const) {
    await execa('ip', ['-n', name, 'addr', 'add', `${v4}/24`, 'dev', 'wire0']);
    await execa('ip', ['-n', name, 'addr', 'add', `${v6}/64`, 'dev', 'wire0', 'nodad']);
    await execa('ip', ['-n', name, 'link', 'set', 'wire0', 'up']);
  }
  await execa('ip', ['-n', host, 'route', 'add', 'default', 'via', WIRE.outside]);
}
