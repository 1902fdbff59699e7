/**
 * Keeps leases: each is asked for again in its time, for as long as it is not given back. What nobody prolongs is kept all the
 * same and shown: a sandbox that loses its address for want of a server is worse off than one that keeps it.
 */

import { type Address, messageOf } from '../../src/base/index.ts';
import type { LeaseTrouble, LeaseWatch } from '../../src/ipam/index.ts';
import { type Asking, release } from './acquire.ts';
import { type Answer, type Ask, exchange } from './exchange.ts';
import { BROADCAST, BROADCAST_MAC } from './frame.ts';
import { type Grant, type LeaseRecord, identityOf } from './leases.ts';
import { type Patience, type Stage, type Terms, nextTry, stageAt, termsOf } from './terms.ts';

/** As RFC 2131 §4.4.5 has it; and what an administrator who looks at the network is willing to wait. */
const PATIENCE: Patience = { leastMs: 60_000, mostMs: 300_000 };
/** From one sending to the next, and to the end of a try, milliseconds. */
const PAUSES_MS = [4000, 4000];
/** From one look for a link that is gone to the next, milliseconds. */
const LINK_MS = 5000;
/** Longest sleep, milliseconds: then the calendar is looked at, which may have moved on while the machine slept. */
const MAX_SLEEP_MS = 30_000;
/** Leases that are asked for at a time. */
const MOST_AT_ONCE = 16;

/** A lease that is looked after. Times are ages: milliseconds since the grant. */
interface Held {
  record: LeaseRecord;
  /** Reading of the steady clock at the age 0. */
  born: number;
  dueMs: number;
  /** It is not known whether this wire knows the lease: it is asked for as after a start of the machine. */
  isUnverified: boolean;
  /** Aborted when it is given back, and when the daemon stops. */
  readonly ending: AbortController;
  trouble?: LeaseTrouble;
}

export class Renewals implements LeaseWatch {
  onTroubles: (() => void) | undefined;
  readonly #asking: Asking;
  readonly #patience: Patience;
  readonly #held = new Map<string, Held>();
  readonly #trying = new Map<string, Promise<void>>();
  #timer: { cancel(): void } | undefined;

  constructor(asking: Asking, patience: Patience = PATIENCE) {
    this.#asking = asking;
    this.#patience = patience;
    asking.closing.addEventListener('abort', () => {
      this.#timer?.cancel();
      for (const { ending } of this.#held.values()) ending.abort();
    });
  }

  get troubles(): readonly LeaseTrouble[] {
    return [...this.#held.values()].flatMap(({ trouble }) => trouble ?? []);
  }

  /** Looks after a lease from now on. */
  keep(record: LeaseRecord): void {
    const { clock, home } = this.#asking;
    const { grant } = record;
    const passed = grant === undefined ? 0 : clock.wall() - grant.askedAt;
    const isUnverified = grant?.home !== home || record.refused !== undefined;
    const held: Held = {
      record,
      born: clock.steady() - Math.max(0, passed),
      // A calendar that was set back says nothing about how old the lease is.
      dueMs: isUnverified || passed < 0 ? 0 : (grant?.terms.renewMs ?? 0),
      isUnverified,
      ending: new AbortController(),
    };
    this.#held.set(record.id, held);
    if (record.refused !== undefined) this.#tell(held, 'refused');
    this.#schedule();
  }

  /** Not any more; resolves when nobody is asked. A server that is silent is not waited for. */
  async forget(id: string): Promise<void> {
    const held = this.#held.get(id);
    this.#held.delete(id);
    held?.ending.abort();
    await this.#trying.get(id);
    if (held?.trouble !== undefined) this.onTroubles?.();
  }

  /** Resolves when nobody is asked any more; `closing` is aborted before. */
  async idle(): Promise<void> {
    await Promise.all(this.#trying.values());
  }

  /** By the clock that says more: the one stands while the machine sleeps, the other one may be set back. */
  #age({ born, record: { grant } }: Held): number {
    const { clock } = this.#asking;
    return Math.max(clock.steady() - born, grant === undefined ? 0 : clock.wall() - grant.askedAt, 0);
  }

  #schedule(): void {
    this.#timer?.cancel();
    if (this.#asking.closing.aborted) return;
    const waits = [...this.#held.values()]
      .filter(({ record }) => !this.#trying.has(record.id))
      .map((held) => held.dueMs - this.#age(held));
    const isFull = this.#trying.size >= MOST_AT_ONCE;
    if (waits.length === 0 || isFull) return;
    const sleepMs = Math.min(MAX_SLEEP_MS, Math.max(0, Math.ceil(Math.min(...waits))));
    this.#timer = this.#asking.clock.after(sleepMs, () => this.#round());
  }

  #round(): void {
    for (const held of this.#held.values()) {
      const { id } = held.record;
      if (this.#trying.size >= MOST_AT_ONCE) break;
      if (this.#trying.has(id) || held.dueMs > this.#age(held)) continue;
      const work = this.#try(held).finally(() => {
        this.#trying.delete(id);
        this.#schedule();
      });
      this.#trying.set(id, work);
    }
    this.#schedule();
  }

  /** One try. Never throws. */
  async #try(held: Held): Promise<void> {
    const { clock, env, closing } = this.#asking;
    const stage = this.#stageOf(held);
    const askedAt = clock.wall();
    const born = clock.steady();
    let outcome: Verdict | 'silence' | 'mute' = 'silence';
    let refusal: Refusal | undefined;
    try {
      const verdict = await exchange(this.#asking.wires, clock, {
        parent: held.record.parent,
        identity: identityOf(held.record),
        asks: asksOf(held.record, stage),
        pausesMs: PAUSES_MS,
        signal: held.ending.signal,
        accept(reply) {
          const said = verdictOf(held.record, stage, reply);
          // What another server refuses may still be granted by the one that gave it: on one wire may be several.
          if (said?.kind !== 'refused' || reply.server === held.record.grant?.server) return said;
          refusal ??= said;
          return undefined;
        },
      });
      outcome = verdict ?? refusal ?? 'silence';
    } catch (error) {
      outcome = 'mute';
      env.log.debug({ endpoint: held.record.id, problem: messageOf(error) }, 'a lease cannot be asked for');
    }
    // It may have been given back meanwhile.
    if (closing.aborted || this.#held.get(held.record.id) !== held) return;
    try {
      if (typeof outcome === 'string') this.#missed(held, outcome);
      else await this.#settle(held, outcome, { askedAt, born });
    } catch (error) {
      env.log.error({ endpoint: held.record.id, err: error }, 'a lease cannot be recorded: it is asked for again');
    }
  }

  #stageOf(held: Held): Stage | 'unverified' {
    const { grant } = held.record;
    return held.isUnverified || grant === undefined ? 'unverified' : stageAt(grant.terms, this.#age(held));
  }

  /** Nobody answered; `mute`: nobody was asked either, for want of a link. */
  #missed(held: Held, how: 'silence' | 'mute'): void {
    const { id, address, parent, grant, refused } = held.record;
    const age = this.#age(held);
    held.dueMs = this.#nextDue(held);
    if (how === 'mute') held.dueMs = Math.min(held.dueMs, age + Math.min(this.#patience.leastMs, LINK_MS));
    if (refused !== undefined) return;
    const stage = grant === undefined ? 'expired' : stageAt(grant.terms, age);
    if (stage === 'expired' || stage === 'rebinding') this.#tell(held, stage === 'expired' ? 'expired' : 'unanswered');
    else if (how === 'silence')
      this.#asking.env.log.info({ endpoint: id, address, parent }, 'a DHCP server does not answer: it is asked again later');
  }

  async #settle(held: Held, answer: Verdict, at: { readonly askedAt: number; readonly born: number }): Promise<void> {
    const { log } = this.#asking.env;
    const { id, address, parent } = held.record;
    // Set before the record is written: a store that fails does not lead to question after question.
    held.dueMs = this.#nextDue(held);
    if (answer.kind === 'refused') {
      held.isUnverified = true;
      held.dueMs = this.#age(held) + this.#patience.mostMs;
      const record = { ...held.record, refused: answer.text };
      await this.#asking.leases.put(record);
      held.record = record;
      this.#tell(held, 'refused');
      if (answer.unwanted !== undefined) await release(this.#asking, record, answer.unwanted);
      return;
    }
    const { refused: _refused, ...rest } = held.record;
    const renewed: Grant = {
      address,
      server: answer.reply.server,
      serverMac: answer.reply.serverMac,
      askedAt: at.askedAt,
      terms: answer.terms,
      home: this.#asking.home,
    };
    const record = { ...rest, grant: renewed };
    await this.#asking.leases.put(record);
    Object.assign(held, { record, born: at.born, dueMs: answer.terms.renewMs, isUnverified: false });
    log.debug({ endpoint: id, address, parent, server: renewed.server }, 'a DHCP lease is renewed');
    if (held.trouble === undefined) return;
    delete held.trouble;
    this.onTroubles?.();
  }

  #nextDue(held: Held): number {
    const age = this.#age(held);
    const { grant } = held.record;
    if (grant === undefined) return age + this.#patience.leastMs;
    const { terms } = grant;
    // A lease that is asked for ahead of its time is not yet in danger: its own times come too.
    return stageAt(terms, age) === 'bound'
      ? Math.min(age + this.#patience.leastMs, terms.renewMs)
      : nextTry(terms, age, this.#patience);
  }

  #tell(held: Held, kind: LeaseTrouble['kind']): void {
    const text = wordsOf(held.record, kind);
    if (held.trouble?.kind === kind && held.trouble.text === text) return;
    held.trouble = { owner: held.record.id, address: held.record.address, kind, text };
    this.onTroubles?.();
  }
}

function wordsOf({ address, name, parent, grant, refused, mac }: LeaseRecord, kind: LeaseTrouble['kind']): string {
  const server = grant === undefined ? 'no DHCP server' : `DHCP server ${grant.server}`;
  // Who gave a MAC wants that one, and what is connected anew has another.
  const again = mac === undefined ? '' : `, and another MAC unless ${mac} is given again`;
  switch (kind) {
    case 'unanswered':
      return `${server} on ${parent} does not answer, nor does another one: ${name} keeps ${address}, and its lease is asked for again`;
    case 'expired':
      return `the lease of ${address} on ${parent} has ended, and no DHCP server answers: ${name} keeps the address until one does; the server may give it to others`;
    case 'refused':
      return `a DHCP server on ${parent} refuses ${address} to ${name} (${refused ?? ''}): disconnect and connect again to get another address${again}`;
  }
}

type Verdict = { readonly kind: 'given'; readonly terms: Terms; readonly reply: Answer } | Refusal;

interface Refusal {
  readonly kind: 'refused';
  readonly text: string;
  /** What was given instead. */
  readonly unwanted?: Pick<Grant, 'address' | 'server' | 'serverMac'>;
}

/** What a reply means for the lease; undefined for what is not meant for it. */
function verdictOf({ address, grant }: LeaseRecord, stage: Stage | 'unverified', reply: Answer): Verdict | undefined {
  const { type, server, serverMac, address: given } = reply;
  const terms = type === 'ack' && given === address ? termsOf(reply) : undefined;
  if (terms !== undefined) return { kind: 'given', terms, reply };
  // Before T2 only the server that gave the lease may take it back.
  if ((stage === 'bound' || stage === 'renewing') && server !== grant?.server) return undefined;
  if (type === 'nak') return { kind: 'refused', text: reply.text ?? `by ${server}, without a reason` };
  // Other clients move to that one. A sandbox keeps its address: the old one is not its own any more, and the new one not yet.
  if (type !== 'ack' || given === undefined || given === address) return undefined;
  return { kind: 'refused', text: `${server} gives ${given} instead`, unwanted: { address: given, server, serverMac } };
}

/**
 * The forms of RFC 2131 §4.3.2. The second question of a try is that of a client that has just started, whose answer is broadcast:
 * an endpoint that is in no sandbox answers no ARP, and what is sent to its address alone is never heard.
 */
function asksOf({ address, grant }: LeaseRecord, stage: Stage | 'unverified'): readonly Ask[] {
  const anew: Ask = { type: 'request', requestedAddress: address };
  const own = (target: Address, targetMac: Grant['serverMac']): Ask => ({
    type: 'request',
    clientAddress: address,
    way: { source: address, target, targetMac },
  });
  if (grant === undefined || stage === 'unverified' || stage === 'expired') return [anew];
  return [stage === 'rebinding' ? own(BROADCAST, BROADCAST_MAC) : own(grant.server, grant.serverMac), anew];
}
