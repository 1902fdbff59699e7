/** Which links of the host a plugin may name: those that came after the endpoint, and none of ours. */

import { CnmError } from '../../src/base/index.ts';
import type { Mark, Netns } from '../../src/kernel/index.ts';

/** Indexes of all links as ranges, such as `1-3,7`: short also where there are many. */
export async function linksNow(host: Netns): Promise<string> {
  const indexes = (await host.rtnl().link.list()).map((link) => link.index).sort((a, b) => a - b);
  return rangesOf(indexes);
}

/** Rising numbers as ranges. */
export function rangesOf(numbers: readonly number[]): string {
  const ranges: [number, number][] = [];
  for (const number of numbers) {
    const last = ranges.at(-1);
    if (last !== undefined && number === last[1] + 1) last[1] = number;
    else ranges.push([number, number]);
  }
  return ranges.map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`)).join(',');
}

export const isInRanges = (ranges: string, number: number): boolean =>
  ranges.split(',').some((range) => {
    const [from = '', to = from] = range.split('-');
    return range !== '' && number >= Number(from) && number <= Number(to);
  });

/**
 * A plugin could take the machine off its network by naming the wrong link. Throws plugin_failed, unless the link is one that was not
 * there when the endpoint was made, and not of this daemon.
 */
export async function checkLink(host: Netns, mark: Mark, name: string, before: string): Promise<void> {
  const refuse = (why: string): never => {
    throw new CnmError('plugin_failed', `SrcName ${name}: ${why}`);
  };
  const link = await host.rtnl().link.find({ name });
  if (link === undefined) return refuse('there is no such link on the host');
  if (link.group === mark.liveGroup || link.group === mark.deadGroup) refuse('that link is of this daemon');
  if (isInRanges(before, link.index)) refuse('that link was there before the endpoint was made: it stays where it is');
}
