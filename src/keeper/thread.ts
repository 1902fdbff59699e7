/** The keeper's second thread: runs the UDP loop and takes orders from the main thread. */

import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { LeftHeap } from './left-heap.ts';
import { Reactor, type Order, type Report } from './reactor.ts';

/** Longest wait for a question while what is left on the heap is collected, and time for that, milliseconds. */
const STEP_MS = 1;
const COLLECT_MS = 2000;

/** Throws where it is called outside a worker thread. */
export function runThread(): void {
  if (parentPort === null) throw new Error('the loop runs as a worker thread only');
  new LoopThread(parentPort).run();
}

class LoopThread {
  readonly #port: MessagePort;
  readonly #heap = new LeftHeap();
  readonly #reactor: Reactor;
  /** Tickets of what has been applied since the loop went round. */
  #tickets: number[] = [];

  constructor(port: MessagePort) {
    this.#port = port;
    this.#reactor = new Reactor({
      shared: workerData as Int32Array,
      handOver: (questions) => port.postMessage({ kind: 'questions', questions } satisfies Report, [questions]),
      readable: () => this.#report({ kind: 'readable' }),
      takeOrders: () => this.#takeOrders(),
      goneRound: () => this.#acknowledge(),
    });
  }

  run(): void {
    this.#report({ kind: 'ready', wake: this.#reactor.wakeDescriptor, epoll: this.#reactor.epoll });
    this.#serve();
  }

  #report(message: Report): void {
    this.#port.postMessage(message, []);
  }

  #takeOrders(): void {
    for (let next = receiveMessageOnPort(this.#port); next !== undefined; next = receiveMessageOnPort(this.#port)) {
      const { ticket, order } = next.message as { readonly ticket?: number; readonly order: Order };
      this.#reactor.apply(order);
      if (ticket !== undefined) this.#tickets.push(ticket);
    }
  }

  #acknowledge(): void {
    if (this.#tickets.length === 0) return;
    this.#report({ kind: 'done', tickets: this.#tickets });
    this.#tickets = [];
  }

  /** Blocks this thread but while its heap is collected: that is done in steps by Node's loop, and questions are answered between them. */
  #serve(): void {
    if (this.#reactor.run(() => this.#heap.isDue)) return;
    this.#reactor.forgetAnswers();
    const end = performance.now() + COLLECT_MS;
    let isCollected = false;
    void this.#heap.collect().then(() => (isCollected = true));
    const step = (): void => {
      if (isCollected || this.#reactor.isStopped || performance.now() > end) return this.#serve();
      this.#reactor.round(STEP_MS);
      setImmediate(step);
    };
    setImmediate(step);
  }
}
