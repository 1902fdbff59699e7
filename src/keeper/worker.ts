/** Entry of the keeper's second thread: runs the UDP loop and takes orders from the main thread. */

import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { LeftHeap } from './left-heap.ts';
import { Reactor, type Order, type Report } from './reactor.ts';

const port = parentPort;
if (port === null) throw new Error('the loop runs as a worker thread only');

/** Longest wait for a question while what is left on the heap is collected, and time for that, milliseconds. */
const STEP_MS = 1;
const COLLECT_MS = 2000;

const report = (message: Report): void => port.postMessage(message);
const heap = new LeftHeap();
const reactor = new Reactor({
  shared: workerData as Int32Array,
  handOver: (questions) => port.postMessage({ kind: 'questions', questions } satisfies Report, [questions]),
  readable: () => report({ kind: 'readable' }),
  takeOrders,
  goneRound: acknowledge,
});

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

/** Blocks this thread but while its heap is collected: that is done in steps by Node's loop, and questions are answered between them. */
function serve(): void {
  if (reactor.run(() => heap.isDue)) return;
  reactor.forgetAnswers();
  const end = performance.now() + COLLECT_MS;
  let isCollected = false;
  void heap.collect().then(() => (isCollected = true));
  const step = (): void => {
    if (isCollected || reactor.isStopped || performance.now() > end) return serve();
    reactor.round(STEP_MS);
    setImmediate(step);
  };
  setImmediate(step);
}

report({ kind: 'ready', wake: reactor.wakeDescriptor, epoll: reactor.epoll });
serve();
