/**
 * One foreign plugin: activated once, asked with bounds of time, and what it says turned into typed errors (spec 03 §2, §3). How
 * one request travels is exchange.ts, where the plugin lies is discovery.ts.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import type { z } from 'zod';
import { type ErrorCode, type Json, type Logger, CnmError, messageOf, parsedJson, quoted, shown } from '../../src/base/index.ts';
import { type Ctx, type Scope, asking } from '../../src/driver/index.ts';
import type { Debts } from './debts.ts';
import type { Discovery } from './discovery.ts';
import { NoReply, type Reply, exchange } from './exchange.ts';

/** Longest time of trying to reach a plugin, milliseconds: one that is restarted is back by then. */
const CONNECT_MS = 5000;
const FIRST_WAIT_MS = 100;
/** Time for an answer to what takes something away: its user does not wait for what it says, milliseconds. */
const BRIEF_MS = 5000;
/** For a look whether the plugin is there, milliseconds. */
const PROBE_MS = 2000;
/** How long a plugin that did not answer is not waited for again, milliseconds. */
const TROUBLE_MS = 10_000;
const { answers } = asking;
const NO_WISHES: z.output<typeof answers.ipamCapabilities> = {};

export type Role = 'NetworkDriver' | 'IpamDriver';

/** `full`: somebody needs the answer. `brief`: something is taken away. `probe`: a look, tried once. */
export type Patience = 'full' | 'brief' | 'probe';

/** `refused`: the plugin said no. `unsent`: it was not reached. `unknown`: it may have done it. */
type Fate = 'refused' | 'unsent' | 'unknown';

export class PluginError extends CnmError {
  readonly fate: Fate;
  /** Its HTTP status was 404: the method is not implemented. */
  readonly isMissing: boolean;

  constructor(code: ErrorCode, message: string, fate: Fate, isMissing = false) {
    super(code, message);
    this.fate = fate;
    this.isMissing = isMissing;
  }
}

/** Whether the plugin may have done what it was asked: then it has to be taken back. */
export const mayBeDone = (error: unknown): boolean => !(error instanceof PluginError) || error.fate === 'unknown';

/** What a plugin has said of itself. */
export interface Manifest {
  readonly network?: { readonly scope: Scope; readonly connectivity: Scope; readonly checksGateway: boolean };
  readonly ipam?: { readonly requiresMac: boolean; readonly requiresReplay: boolean };
}

export interface ClientParts {
  readonly discovery: Discovery;
  readonly debts: Debts;
  readonly log: Logger;
  /** Time for an answer that somebody needs, milliseconds. */
  readonly replyMs: number;
}

export class PluginClient {
  readonly name: string;
  readonly #parts: ClientParts;
  #activation: Promise<Manifest> | undefined;
  #troubleAt: number | undefined;
  /** How often it was not there: a plugin that is reached by TCP shows in no other way that it was started anew. */
  #losses = 0;
  /** Undefined until it is activated. */
  manifest: Manifest | undefined;

  constructor(name: string, parts: ClientParts) {
    this.name = name;
    this.#parts = parts;
  }

  /** Changes when the plugin is started anew; undefined while it is not there. */
  async era(): Promise<string | undefined> {
    try {
      const found = await this.#parts.discovery.find(this.name);
      return found && `${found.era} ${this.#losses}`;
    } catch {
      return undefined;
    }
  }

  /** Asked once; a failure is forgotten, so that a later use tries afresh. Throws plugin_failed, plugin_unreachable. */
  async activate(role: Role, patience: Patience = 'full'): Promise<Manifest> {
    this.#activation ??= this.#activate(patience).catch((error: unknown) => {
      this.#activation = undefined;
      throw error;
    });
    this.manifest = await this.#activation;
    const has = role === 'NetworkDriver' ? this.manifest.network : this.manifest.ipam;
    if (has !== undefined) return this.manifest;
    throw new PluginError(
      'plugin_failed',
      `plugin ${quoted(this.name)} does not implement the requested driver: ${role} is not in its answer to Plugin.Activate`,
      'refused',
    );
  }

  async #activate(patience: Patience): Promise<Manifest> {
    const ctx: Ctx = { signal: AbortSignal.timeout(CONNECT_MS + BRIEF_MS) };
    const ask = <T>(method: string, schema: z.ZodType<T>): Promise<T> => this.#ask(method, undefined, schema, ctx, patience);
    const roles = new Set((await ask('Plugin.Activate', answers.activate)).Implements ?? []);
    const network = roles.has('NetworkDriver') ? await ask('NetworkDriver.GetCapabilities', answers.capabilities) : undefined;
    // Many have no such method: that means no wishes.
    const ipam = roles.has('IpamDriver')
      ? await ask('IpamDriver.GetCapabilities', answers.ipamCapabilities).catch((error: unknown) => {
          if (error instanceof PluginError && error.fate === 'refused') return NO_WISHES;
          throw error;
        })
      : undefined;
    return {
      ...(network && {
        network: {
          scope: network.Scope,
          connectivity: network.ConnectivityScope || network.Scope,
          checksGateway: network.GwAllocChecker === true,
        },
      }),
      ...(ipam && {
        ipam: { requiresMac: ipam.RequiresMACAddress === true, requiresReplay: ipam.RequiresRequestReplay === true },
      }),
    };
  }

  /** Activates before the first call, and delivers before it what is owed. Throws PluginError, client_gone. */
  async call<T>(method: string, body: Json | undefined, schema: z.ZodType<T>, ctx: Ctx, patience: Patience = 'full'): Promise<T> {
    await this.activate(method.startsWith('IpamDriver.') ? 'IpamDriver' : 'NetworkDriver', patience);
    await this.#parts.debts.settle(this);
    return this.#ask(method, body, schema, ctx, patience);
  }

  /**
   * For what takes something away: a plugin that refuses, or is not there, keeps nobody from going on. What did not reach it is
   * delivered later. True when the plugin has done it.
   */
  async dismiss(method: string, body: Json): Promise<boolean> {
    const ctx: Ctx = { signal: AbortSignal.timeout(CONNECT_MS + BRIEF_MS) };
    // It stands behind what is owed already, and the plugin has just not answered.
    if (this.#isInTrouble() && this.#parts.debts.hasOf(this.name)) {
      await this.#parts.debts.owe(this.name, method, body);
      return false;
    }
    try {
      // Nor is one waited for that nobody has spoken to yet: that would hold up a start.
      const patience = this.#isInTrouble() || this.manifest === undefined ? 'probe' : 'brief';
      await this.call(method, body, answers.nothing, ctx, patience);
      return true;
    } catch (error) {
      const isRefused = error instanceof PluginError && error.fate === 'refused';
      if (isRefused && error.isMissing) return true;
      const words = isRefused
        ? 'a plugin refused a removal, which goes on'
        : 'a removal did not reach a plugin: it is told later';
      this.#parts.log.warn({ plugin: this.name, method, problem: messageOf(error) }, words);
      if (!isRefused) await this.#parts.debts.owe(this.name, method, body);
      return false;
    }
  }

  /** What is leased again must not be released by what is still owed. */
  forgive(method: string, body: Json): Promise<void> {
    return this.#parts.debts.forgive(this.name, method, body);
  }

  /** Delivers something owed; true when nothing more is to be done about it. */
  async deliver(method: string, body: Json): Promise<boolean> {
    try {
      await this.#ask(method, body, answers.nothing, { signal: AbortSignal.timeout(PROBE_MS) }, 'probe');
    } catch (error) {
      return error instanceof PluginError && error.fate === 'refused';
    }
    return true;
  }

  #isInTrouble(): boolean {
    return this.#troubleAt !== undefined && performance.now() - this.#troubleAt < TROUBLE_MS;
  }

  async #ask<T>(method: string, body: Json | undefined, schema: z.ZodType<T>, ctx: Ctx, patience: Patience): Promise<T> {
    const reply = await this.#send(method, body === undefined ? '' : JSON.stringify(body), ctx, patience);
    const answer = this.#checked(method, reply);
    try {
      return asking.readAnswer(schema, answer, method);
    } catch (error) {
      throw this.#failed(method, messageOf(error), 'unknown');
    }
  }

  #checked(method: string, { status, body }: Reply): unknown {
    let answer: unknown;
    let problem: string | undefined;
    try {
      answer = parsedJson(body);
    } catch (error) {
      problem = body === '' ? 'an empty answer' : `an answer that is not JSON: ${messageOf(error)}`;
    }
    const failure = answers.failure.safeParse(answer);
    // Each kind of driver has a key of its own (spec 03 T6).
    const own = method.startsWith('IpamDriver.') ? failure.data?.Error : failure.data?.Err;
    if (status !== 200) {
      const words = own || failure.data?.Err || failure.data?.Error || body.trim() || 'no words';
      throw this.#failed(method, words, 'refused', status === 404);
    }
    if (problem !== undefined) throw this.#failed(method, problem, 'unknown');
    if (own) throw this.#failed(method, `remote: ${own}`, 'refused');
    return answer;
  }

  #failed(method: string, words: string, fate: Fate, isMissing = false): PluginError {
    return new PluginError('plugin_failed', `plugin ${quoted(this.name)}: ${method}: ${shown(words)}`, fate, isMissing);
  }

  /** The whole body at every try. Only what was not sent is tried again. */
  async #send(method: string, body: string, ctx: Ctx, patience: Patience): Promise<Reply> {
    const replyMs = { full: this.#parts.replyMs, brief: BRIEF_MS, probe: PROBE_MS }[patience];
    const until = performance.now() + (patience === 'probe' ? 0 : CONNECT_MS);
    for (let wait = FIRST_WAIT_MS; ; wait *= 2) {
      const problem = await this.#try(method, body, ctx, replyMs);
      if (typeof problem !== 'string') return problem;
      if (performance.now() + wait > until) {
        this.#losses++;
        throw this.#unreachable(method, problem, 'unsent');
      }
      await sleep(wait, undefined, { signal: ctx.signal }).catch(() => {});
      if (ctx.signal.aborted) throw this.#unreachable(method, problem, 'unsent');
    }
  }

  /** The answer, or why the plugin was not reached. */
  async #try(method: string, body: string, ctx: Ctx, replyMs: number): Promise<Reply | string> {
    const found = await this.#parts.discovery.find(this.name).catch((error: unknown) => {
      throw this.#failed(method, messageOf(error), 'unsent');
    });
    if (found === undefined) return `there is no socket or file of it in ${this.#parts.discovery.where}`;
    try {
      const limit = AbortSignal.any([ctx.signal, AbortSignal.timeout(replyMs)]);
      const reply = await exchange(found.place, `/${method}`, body, limit, Math.min(replyMs, CONNECT_MS));
      this.#troubleAt = undefined;
      return reply;
    } catch (error) {
      // Such as a key that does not fit its certificate.
      if (!(error instanceof NoReply)) throw this.#failed(method, `${found.path}: ${messageOf(error)}`, 'unsent');
      if (error.isSent || ctx.signal.aborted) {
        throw this.#unreachable(method, `${error.message} (${found.path})`, error.isSent ? 'unknown' : 'unsent');
      }
      return `${error.message} (${found.path})`;
    }
  }

  #unreachable(method: string, problem: string, fate: Fate): PluginError {
    this.#troubleAt = performance.now();
    return new PluginError(
      'plugin_unreachable',
      `plugin ${quoted(this.name)} does not answer ${method}: ${shown(problem)}`,
      fate,
    );
  }
}
