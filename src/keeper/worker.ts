/** Entry of the keeper's second thread: runs the UDP loop and takes orders from the main thread. */

import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { Reactor, type Order, type Report } from './reactor.ts';

const port = parentPort;
if (port === null) throw new Error('the loop runs as a worker thread only');

const report = (message: Report): void => port.postMessage(message);
const reactor = new Reactor(
  workerData as Int32Array,
  (questions) => port.postMessage({ kind: 'questions', questions } satisfies Report, [questions]),
  () => report({ kind: 'readable' }),
);

/** Tickets of what has been applied since the loop went round. */
let tickets: number[] = [];

function takeOrders(): void {
  for (let next = receiveMessageOnPort(port!); next !== undefined; next = receiveMessageOnPort(port!)) {
    const { ticket, order } = next.message as { readonly ticket?: number; readonly order: Order };
    reactor.apply(order);
    if (ticket !== undefined) tickets.push(ticket);
  }
}

function acknowledge(): void {
  if (tickets.length === 0) return;
  report({ kind: 'done', tickets });
  tickets = [];
}

report({ kind: 'ready', wake: reactor.wakeDescriptor, epoll: reactor.epoll });
reactor.run(takeOrders, acknowledge);
