/** Entry of the keeper's second thread: runs the UDP loop and takes orders from the main thread. */

import { parentPort, receiveMessageOnPort } from 'node:worker_threads';
import { Reactor, type Order, type Report } from './reactor.ts';

const port = parentPort;
if (port === null) throw new Error('the loop runs as a worker thread only');

const report = (message: Report): void => port.postMessage(message);
const reactor = new Reactor(
  (questions) => port.postMessage({ kind: 'questions', questions } satisfies Report, [questions]),
  () => report({ kind: 'readable' }),
);

function takeOrders(): void {
  const tickets: number[] = [];
  for (let next = receiveMessageOnPort(port!); next !== undefined; next = receiveMessageOnPort(port!)) {
    const { ticket, order } = next.message as { readonly ticket: number; readonly order: Order };
    reactor.apply(order);
    tickets.push(ticket);
  }
  if (tickets.length > 0) report({ kind: 'done', tickets });
}

report({ kind: 'ready', wake: reactor.wakeDescriptor, epoll: reactor.epoll });
reactor.run(takeOrders);
