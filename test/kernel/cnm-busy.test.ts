/** Changes under way are bounded: what is beyond the bound is refused at once and has done nothing. */

import { expect, test } from 'vitest';
import { codeOf } from '../../src/base/index.ts';
import { House } from './house-lab.ts';

const BOUND = 1024;
const BEYOND = 76;

test(
  'changes beyond the bound are refused at once, the others are made, and afterwards there is room',
  { timeout: 60_000 },
  async () => {
    const house = await House.open();
    await house.network('one');
    const outcomes = await Promise.allSettled(
      Array.from({ length: BOUND + BEYOND }, () => house.controller.createNetwork({ name: 'one' })),
    );
    const codes = outcomes.map((outcome) => (outcome.status === 'rejected' ? codeOf(outcome.reason) : 'made'));
    expect(codes.filter((code) => code === 'name_taken')).toHaveLength(BOUND);
    expect(codes.slice(BOUND)).toEqual(Array(BEYOND).fill('too_busy'));
    await house.network('two');
    expect(house.controller.networks().map((network) => network.name)).toEqual(expect.arrayContaining(['one', 'two']));
  },
);
