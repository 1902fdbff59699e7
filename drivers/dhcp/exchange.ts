/** One question until it is answered: sent, and sent again (RFC 2131 §4.1), for a bounded time. */

import { CnmError } from '../../src/base/index.ts';
import type { Clock } from './clock.ts';
import { BROADCAST, BROADCAST_MAC, type Heard, NO_ADDRESS, type Way } from './frame.ts';
import { type Identity, type Question, type Reply, encodeQuestion, readReply } from './message.ts';
import type { Line, Wires } from './wire.ts';

/** An answer, to which question, and from where on the wire it came. */
export interface Answer extends Reply {
  readonly serverMac: Heard['sourceMac'];
  readonly xid: number;
}

/** What is asked besides who asks; the way is by broadcast unless it is given. */
export interface Ask extends Omit<Question, 'xid' | 'seconds' | keyof Identity> {
  readonly way?: Omit<Way, 'sourceMac'>;
}

export interface Exchange<T> {
  readonly parent: string;
  /** Without a MAC: the parent's own. */
  readonly identity: Omit<Identity, 'mac'> & { readonly mac?: Identity['mac'] };
  /** What is sent at each time, the last one again and again; undefined: nothing more. */
  readonly asks: readonly Ask[];
  /** Of a conversation that goes on (RFC 2131 table 5). Absent: a new one. */
  readonly xid?: number;
  /** Milliseconds from one sending to the next; the last one ends the waiting. */
  readonly pausesMs: readonly number[];
  /** Undefined: go on listening. What it throws ends the exchange. */
  accept(answer: Answer): T | undefined;
  /** Asked before each further sending; true ends the exchange. */
  isEnough?(): boolean;
  readonly signal: AbortSignal;
}

/** Sending at the same time as others is avoided by up to this part of a pause. */
const JITTER = 0.25;

/**
 * What was accepted; undefined when nobody gave that. Throws parent_gone, shutting_down for an aborted signal,
 * and what `accept` throws.
 */
export async function exchange<T>(wires: Wires, clock: Clock, what: Exchange<T>): Promise<T | undefined> {
  const { signal } = what;
  let resolve!: (value: T | undefined) => void;
  let reject!: (error: unknown) => void;
  const result = new Promise<T | undefined>((...both) => ([resolve, reject] = both));
  // Awaited below; until then a failure is no unhandled one.
  result.catch(() => {});
  const attempt = (work: () => void): void => {
    try {
      work();
    } catch (error) {
      reject(error);
    }
  };
  let line: Line | undefined;
  let timer: { cancel(): void } | undefined;
  const mac = (): Identity['mac'] => what.identity.mac ?? (line as Line).parentMac;
  const asker = (): Identity => ({ ...what.identity, mac: mac() });
  const began = clock.steady();
  const send = (count: number): void => {
    const pause = what.pausesMs[count];
    const ask = what.asks[Math.min(count, what.asks.length - 1)];
    if (pause === undefined || ask === undefined || line === undefined || (count > 0 && what.isEnough?.() === true))
      return resolve(undefined);
    const { way = { targetMac: BROADCAST_MAC, source: NO_ADDRESS, target: BROADCAST }, ...rest } = ask;
    const seconds = Math.floor((clock.steady() - began) / 1000);
    line.send({ ...way, sourceMac: mac() }, encodeQuestion({ ...rest, ...asker(), xid: line.xid, seconds }));
    const isLast = count + 1 === what.pausesMs.length;
    const ms = isLast ? pause : pause * (1 - JITTER * Math.random());
    timer = clock.after(ms, () => attempt(() => send(count + 1)));
  };
  const onAbort = (): void => attempt(() => refuseAborted(signal));
  try {
    const heard = ({ payload, sourceMac }: Heard): void => {
      if (line === undefined) return;
      const { xid } = line;
      const reply = readReply(payload, { ...asker(), xid });
      const accepted = reply && what.accept({ ...reply, serverMac: sourceMac, xid });
      if (accepted !== undefined) resolve(accepted);
    };
    line = await wires.open(what.parent, { heard: (one) => attempt(() => heard(one)), broken: reject }, what.xid);
    signal.addEventListener('abort', onAbort);
    onAbort();
    attempt(() => send(0));
    return await result;
  } finally {
    timer?.cancel();
    signal.removeEventListener('abort', onAbort);
    line?.close();
  }
}

function refuseAborted(signal: AbortSignal): void {
  if (signal.aborted) throw new CnmError('shutting_down', 'the daemon is stopping, and no DHCP server has answered yet');
}

/** Tells a server something that it does not answer. Throws parent_gone. */
export async function tell(
  wires: Wires,
  parent: string,
  identity: Exchange<never>['identity'],
  { way, ...rest }: Ask & { readonly way: NonNullable<Ask['way']> },
): Promise<void> {
  const line = await wires.open(parent, { heard: () => {}, broken: () => {} });
  try {
    const mac = identity.mac ?? line.parentMac;
    line.send({ ...way, sourceMac: mac }, encodeQuestion({ ...rest, ...identity, mac, xid: line.xid }));
  } finally {
    line.close();
  }
}
