/** Hosts that no tunnel can lead to. */

import { expect, test } from 'vitest';
import type { Address } from '../../src/base/index.ts';
import { unreachableHosts } from '../../src/cnm/shared/reach.ts';

const OWN = '192.0.2.1' as Address;
const told = (node: string, vtep?: string) => ({ node, ...(vtep !== undefined && { vtep: vtep as Address }) });
const nameOf = (node: string): string => `host-${node}`;

test('hosts with an address of this host’s family are reached, and nothing is said before this host knows its own', () => {
  expect(unreachableHosts([told('a', '192.0.2.2'), told('b', '192.0.2.3')], OWN, nameOf)).toBeUndefined();
  expect(unreachableHosts([told('a', OWN), told('b')], undefined, nameOf)).toBeUndefined();
});

test.each([
  [told('a'), 'host host-a tells no address'],
  [told('a', OWN), "host host-a tells this host's own address, 192.0.2.1"],
  [told('a', 'fd00::2'), "host host-a tells fd00::2, of another family than this host's 192.0.2.1"],
])('%j is said', (endpoint, words) => {
  expect(unreachableHosts([endpoint, told('b', '192.0.2.2')], OWN, nameOf)).toContain(words);
});

test('each host is named once, in order', () => {
  const trouble = unreachableHosts([told('b'), told('a'), told('b')], OWN, nameOf);
  expect(trouble).toContain('host host-a tells no address; host host-b tells no address. See --advertise');
});
