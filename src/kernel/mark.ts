/** The owner's mark. What carries it is ours, so that a sweep needs no store and two instances can share a host. */

import { randomBytes } from 'node:crypto';
import { CnmError } from '../base/index.ts';
import type { Mark } from './contract.ts';

/** 128 random bits as 32 hex digits. */
export const newInstanceId = (): string => randomBytes(16).toString('hex');

/** The same for the same id. Groups lie above 2^30, away from those that people give by hand; dead = live + 1. */
export function markOf(instanceId: string): Mark {
  if (!/^[0-9a-f]{32}$/.test(instanceId))
    throw new CnmError('store_corrupt', `invalid instance id ${JSON.stringify(instanceId)}`);
  const tag = instanceId.slice(0, 8);
  const liveGroup = (0x40000000 | (Number.parseInt(tag, 16) & 0x3ffffffe)) >>> 0;
  return { instanceId, tag, liveGroup, deadGroup: liveGroup + 1 };
}
