/**
 * Namespaces that are out of use. When the last one that holds a namespace lets go, the kernel cleans it up with the lock for all
 * links, 10 ms and more for each: whoever makes or deletes a link meanwhile waits. So they are let go of when it has become quiet.
 */

import { closeSync } from 'node:fs';
import { openNetnsDescriptor, removeNetnsPin } from './netns.ts';

/** They are let go of once none has come for this long, but after the longer time in any case, milliseconds. */
const QUIET_MS = 150;
const LONGEST_WAIT_MS = 1000;
/** Namespaces that wait. One more goes at once. */
const MAX_WAITING = 256;

const waiting: number[] = [];
let timer: NodeJS.Timeout | undefined;
let first = 0;
let last = 0;

/**
 * As removeNetnsPin, but the namespace lives on for a moment, at most a second, where nobody finds it. It does not outlive this
 * process.
 */
export function retireNetnsPin(path: string): void {
  const fd = waiting.length < MAX_WAITING ? openNetnsDescriptor(path) : undefined;
  removeNetnsPin(path);
  if (fd === undefined) return;
  waiting.push(fd);
  last = performance.now();
  if (timer !== undefined) return;
  first = last;
  later();
}

function later(): void {
  timer = setTimeout(() => {
    const now = performance.now();
    if (now - last < QUIET_MS && now - first < LONGEST_WAIT_MS) return later();
    timer = undefined;
    for (const fd of waiting.splice(0)) closeSync(fd);
  }, QUIET_MS);
  timer.unref();
}
