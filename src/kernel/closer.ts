/** Closes descriptors off the JavaScript thread: the close of some sockets waits for a grace period of the kernel, 10 ms and more. */

import * as libc from './libc.ts';

/** Closes that run at once; the pool has four threads, and the FFI refuses more than some dozens of calls. */
const MAX_CLOSING = 2;
/** Descriptors that wait for their turn. One more is closed on the spot: slower is better than ever more of them. */
const MAX_WAITING = 4096;

const waiting: number[] = [];
let closing = 0;

/** Returns at once. Does not throw. */
export function closeOffThread(fd: number): void {
  if (closing < MAX_CLOSING) begin(fd);
  else if (waiting.length < MAX_WAITING) waiting.push(fd);
  else libc.close(fd);
}

function begin(fd: number): void {
  closing++;
  libc.closeAsync(fd, () => {
    closing--;
    const next = waiting.shift();
    if (next !== undefined) begin(next);
  });
}
