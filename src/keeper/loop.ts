/** The main thread's side of the UDP loop: starts its worker, gives orders, and knows when they are in force. */

import { Worker } from 'node:worker_threads';
import type { CnmError } from '../base/index.ts';
import { wake, watchOnceMore } from '../kernel/index.ts';
import { handedOver, type HandOver } from './handed.ts';
import { SHARED, SHARED_WORDS, type Change, type Order, type Report } from './reactor.ts';

export interface LoopEvents {
  questions(questions: Iterable<HandOver>): void;
  /** What `watch` was asked for. */
  readable(): void;
  /** The loop has ended without being told to: nobody answers any more. */
  died(error: Error): void;
}

export class Loop {
  readonly #worker: Worker;
  /** As SHARED says. */
  readonly #shared: Int32Array;
  readonly #waiting = new Map<number, () => void>();
  #wakeDescriptor: number | undefined;
  #epoll = -1;
  #ticket = 0;
  #isStopping = false;

  private constructor(worker: Worker, shared: Int32Array, events: LoopEvents) {
    this.#worker = worker;
    this.#shared = shared;
    worker.on('message', (report: Report) => this.#take(report, events));
    worker.on('error', (error: Error | CnmError) => events.died(error));
    worker.on('exit', () => {
      if (!this.#isStopping) events.died(new Error('the worker thread ended'));
    });
  }

  /** Resolves when the loop runs. `file` is the built worker. */
  static start(file: string, events: LoopEvents): Promise<Loop> {
    const shared = new Int32Array(new SharedArrayBuffer(4 * SHARED_WORDS));
    const worker = new Worker(file, { workerData: shared });
    const loop = new Loop(worker, shared, events);
    return new Promise((resolve, reject) => {
      worker.once('error', reject);
      worker.once('message', () => resolve(loop));
    });
  }

  /** In force when it returns: the loop takes it before it answers what it reads from now on. */
  change(change: Change): void {
    this.#worker.postMessage({ order: change }, []);
    Atomics.add(this.#shared, SHARED.told, 1);
    this.#wake();
  }

  /** How many of the host's upstreams were silent when they were asked last: while there are any, the loop asks none itself. */
  set silentUpstreams(count: number) {
    Atomics.store(this.#shared, SHARED.silent, count);
  }

  /** Resolves when the order is in force in the loop. */
  order(order: Exclude<Order, Change>): Promise<void> {
    const ticket = ++this.#ticket;
    const done = new Promise<void>((resolve) => this.#waiting.set(ticket, resolve));
    this.#worker.postMessage({ ticket, order }, []);
    this.#wake();
    return done;
  }

  #wake(): void {
    if (this.#wakeDescriptor !== undefined) wake(this.#wakeDescriptor);
  }

  /** `readable` is called once when `fd` can be read, and again after each watchAgain. One descriptor a loop. */
  watch(fd: number): Promise<void> {
    return this.order({ op: 'watch', fd });
  }

  watchAgain(fd: number): void {
    watchOnceMore(this.#epoll, fd);
  }

  /** Ends the thread. It must end before the process does: exiting waits for it, and it may be blocked. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    const ended = new Promise<void>((resolve) => this.#worker.once('exit', () => resolve()));
    await this.order({ op: 'stop' });
    await ended;
  }

  #take(report: Report, events: LoopEvents): void {
    if (report.kind === 'ready') {
      this.#wakeDescriptor = report.wake;
      this.#epoll = report.epoll;
    } else if (report.kind === 'readable') events.readable();
    else if (report.kind === 'questions') events.questions(handedOver(report.questions));
    else {
      for (const ticket of report.tickets) {
        this.#waiting.get(ticket)?.();
        this.#waiting.delete(ticket);
      }
    }
  }
}
