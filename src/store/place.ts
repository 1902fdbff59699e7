/** Whether an open file is still where it was opened: what is written to one that was removed, or moved away, is found by no later start. */

import { fstatSync, statSync } from 'node:fs';
import { messageOf } from '../base/index.ts';

/** What is wrong, in words; undefined: the path leads to the file. */
export function displaced(path: string, fd: number): string | undefined {
  try {
    const there = statSync(path, { throwIfNoEntry: false });
    if (there === undefined) return `${path} is gone`;
    const { dev, ino } = fstatSync(fd);
    return there.dev === dev && there.ino === ino ? undefined : `${path} is another one than was opened`;
  } catch (error) {
    return messageOf(error);
  }
}
