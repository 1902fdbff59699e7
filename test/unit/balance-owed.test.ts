/** Flows that could not be deleted are remembered once, as they are meant now. */

import { expect, test } from 'vitest';
import { OwedFlows } from '../../src/balance/owed.ts';
import type { Address } from '../../src/base/index.ts';
import type { ConntrackMatch } from '../../src/kernel/index.ts';

const [VIP, OTHER] = ['10.0.0.100', '10.0.0.101'] as Address[];
const strays = (originalDestination = VIP, ...members: string[]): ConntrackMatch => ({
  family: 4,
  ...(originalDestination && { originalDestination }),
  notAnsweredBy: members as Address[],
});

test('what is owed again and again does not grow, and the last word counts', () => {
  const owed = new OwedFlows();
  for (let i = 0; i < 1000; i++) owed.add([strays(VIP, `10.0.0.${i % 250}`)], () => []);
  expect(owed.matches).toEqual([strays(VIP, '10.0.0.249')]);
  const ports = [80, 81].map((originalDestinationPort): ConntrackMatch => ({
    family: 4,
    protocol: 'tcp',
    originalDestinationPort,
  }));
  owed.add([strays(OTHER), ...ports], () => []);
  expect(owed.matches).toHaveLength(4);
  owed.clear();
  expect(owed.matches).toEqual([]);
});

test('who has become a member since keeps its connections, and what is not owed is left alone', () => {
  const owed = new OwedFlows();
  owed.add([strays(VIP, '10.0.0.1')], () => [strays(VIP, 'not asked')]);
  expect(owed.matches).toEqual([strays(VIP, '10.0.0.1')]);
  owed.add([], () => [strays(VIP, '10.0.0.1', '10.0.0.2'), strays(OTHER, '10.0.0.3')]);
  expect(owed.matches).toEqual([strays(VIP, '10.0.0.1', '10.0.0.2')]);
});
