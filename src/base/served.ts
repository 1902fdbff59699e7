/** Whether somebody serves a unix socket: a file of that name may be what a dead process left. */

import { connect } from 'node:net';
import { errnoOf } from './errors.ts';

/** A process that accepts nothing within a second serves nobody. */
export function isServed(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.setTimeout(1000, () => socket.destroy(new Error('no answer')));
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    // EAGAIN: its queue is full, hence somebody listens.
    socket.once('error', (error) => resolve(errnoOf(error) === 'EAGAIN'));
  });
}
