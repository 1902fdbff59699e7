import { CnmError } from '../base/index.ts';
import type { Netns, Rtnl } from './contract.ts';
export function openRtnl(_netns: Netns): Rtnl {
  throw new CnmError('internal', 'rtnetlink is not there yet');
}
