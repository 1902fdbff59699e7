/**
 * Plays an engine to the plugin: calls in the order in which a real one makes them, with what the plugin answered filled in, and
 * what an engine does between them with links. Every answer is held against its shape.
 */

import { randomBytes } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { PLUGIN_MEDIA_TYPE } from '../../../src/driver/wire.ts';
import { type Lab, waitUntil } from '../../e2e/lab.ts';
import { callPlugin } from './call.ts';
import { type Call, refusalOf, shapes } from './shapes.ts';

/** A call, what it asks, and whether it is refused or which number its pool or address has from then on. */
type Step = readonly [call: Call, asks?: Record<string, unknown>, then?: 'refused' | { pool?: number; address?: number }];

export interface Scenario {
  readonly title: string;
  readonly steps: readonly Step[];
}

/** A file of calls: the first line is the title. Words in braces stand for what is different in every run. */
export function scenario(name: string): Scenario {
  const [title = '', ...steps] = readFileSync(new URL(`${name}.jsonl`, import.meta.url), 'utf8')
    .trimEnd()
    .split('\n');
  return { title: JSON.parse(title) as string, steps: steps.map((line) => JSON.parse(line) as Step) };
}

/** Age from which on a sandbox counts as running, milliseconds, with some room. */
const RUNNING_MS = 2100;

/** A link as iproute2 tells it. */
interface Inside {
  readonly ifname: string;
  readonly address: string;
  readonly addr_info: readonly { readonly local: string; readonly prefixlen: number }[];
}

const addressOf = (prefix: unknown): string => String(prefix).replace(/\/.*/, '');

export interface Manner {
  /** Before each call. */
  readonly before?: (call: Call) => Promise<void>;
  /** Each call of the network driver is sent twice, as after an answer that was lost, and must be answered alike. */
  readonly isRepeated?: boolean;
  /** What is sent instead. */
  readonly sent?: (request: Record<string, unknown>) => Record<string, unknown>;
}

export class Replayer {
  readonly #lab: Lab;
  readonly #words = new Map<string, string>();
  readonly #boxes = new Set<string>();
  /** MAC and addresses of endpoints, by id. */
  readonly #endpoints = new Map<string, { readonly mac: string; readonly v4: string; readonly v6: string }>();
  /** Leased addresses, by their pools. */
  readonly #leased = new Set<string>();
  /** What was refused, in words. */
  readonly refusals: string[] = [];
  calls = 0;

  constructor(lab: Lab) {
    this.#lab = lab;
  }

  get socket(): string {
    return join(this.#lab.folder, 'plugins/patchbay-bridge.sock');
  }

  async play({ steps }: Scenario, { before, isRepeated = false, sent = (request) => request }: Manner = {}): Promise<void> {
    for (const [call, asks, then] of steps) {
      await before?.(call);
      if (!this.#words.has('local')) await this.#learnSpaces();
      const request = asks && (this.#filled(asks) as Record<string, unknown>);
      if (then === 'refused') {
        await this.refused(call, request && sent(request));
        continue;
      }
      if (call === 'NetworkDriver.Join') await this.#box(String(request?.['SandboxKey']));
      const answer = await this.ask(call, request && sent(request));
      if (isRepeated && call.startsWith('NetworkDriver.')) {
        const again = await this.ask(call, request && sent(request));
        if (JSON.stringify(again) !== JSON.stringify(answer))
          throw new Error(`${call} sent again: ${JSON.stringify(again)} instead of ${JSON.stringify(answer)}`);
      }
      if (request) await this.#follow(call, request, answer);
      if (then) this.#note(then, answer);
    }
  }

  /** The answer, which must be a success of the method's shape. */
  async ask(call: Call, request?: unknown): Promise<Record<string, unknown>> {
    const { status, type, text } = await callPlugin(
      this.socket,
      call,
      request === undefined ? undefined : JSON.stringify(request),
    );
    this.calls++;
    const found = shapes[call].safeParse(JSON.parse(text));
    if (status !== 200 || type !== PLUGIN_MEDIA_TYPE || !found.success)
      throw new Error(`${call} ${JSON.stringify(request)} was answered ${status} ${type} ${text}: ${found.error?.message}`);
    return found.data;
  }

  /** The call must be refused, with the status that engines take for an error in words. */
  async refused(call: string, request?: unknown): Promise<string> {
    const { status, text } = await callPlugin(this.socket, call, request === undefined ? undefined : JSON.stringify(request));
    this.calls++;
    const found = refusalOf(call).safeParse(JSON.parse(text));
    if (status !== 200 || !found.success)
      throw new Error(`${call} ${JSON.stringify(request)} was not refused but answered ${status} ${text}`);
    const [words = ''] = Object.values(found.data);
    this.refusals.push(words);
    return words;
  }

  async #learnSpaces(): Promise<void> {
    const spaces = await this.ask('IpamDriver.GetDefaultAddressSpaces');
    this.#words.set('local', String(spaces['LocalDefaultAddressSpace']));
    this.#words.set('global', String(spaces['GlobalDefaultAddressSpace']));
    this.#words.set('host', `/run/netns/${this.#lab.host}`);
  }

  #filled(value: unknown): unknown {
    if (typeof value === 'string') return value.replaceAll(/\{(\w+)\}/g, (_all, word: string) => this.#word(word));
    if (Array.isArray(value)) return value.map((one) => this.#filled(one));
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([key, field]) => [key, this.#filled(field)]));
  }

  #word(word: string): string {
    const known = this.#words.get(word);
    if (known !== undefined) return known;
    const [kind = ''] = /^[a-z]+/.exec(word) ?? [];
    const made =
      kind === 'box'
        ? `/run/netns/${this.#lab.prefix}-${word}`
        : ['net', 'ep'].includes(kind)
          ? randomBytes(32).toString('hex')
          : '';
    if (made === '') throw new Error(`nothing was answered yet that {${word}} stands for`);
    this.#words.set(word, made);
    return made;
  }

  #note({ pool, address }: { pool?: number; address?: number }, answer: Record<string, unknown>): void {
    if (pool !== undefined) {
      this.#words.set(`pool${pool}`, String(answer['PoolID']));
      this.#words.set(`subnet${pool}`, String(answer['Pool']));
    }
    if (address !== undefined) {
      this.#words.set(`address${address}`, String(answer['Address']));
      this.#words.set(`ip${address}`, addressOf(answer['Address']));
    }
  }

  /** A sandbox that is there already runs a container, which is seen by its age; another one is made. */
  async #box(key: string): Promise<void> {
    const name = key.slice('/run/netns/'.length);
    if (this.#boxes.has(name)) return waitUntil(() => Date.now() - statSync(key).ctimeMs > RUNNING_MS, 5000);
    this.#boxes.add(name);
    await execa('ip', ['netns', 'add', name]);
  }

  /** What an engine does after an answer, and what must be so then. */
  async #follow(call: Call, request: Record<string, unknown>, answer: Record<string, unknown>): Promise<void> {
    const id = String(request['EndpointID']);
    if (call === 'NetworkDriver.CreateEndpoint') {
      const given = request['Interface'] as { Address: string; AddressIPv6: string; MacAddress: string };
      const { MacAddress } = answer['Interface'] as { MacAddress?: string };
      if ((given.MacAddress === '') !== (MacAddress !== undefined)) throw new Error(`a MAC was answered to ${given.MacAddress}`);
      this.#endpoints.set(id, { mac: MacAddress ?? given.MacAddress, v4: given.Address, v6: given.AddressIPv6 });
    } else if (call === 'NetworkDriver.Join') {
      await this.#attach(String(request['SandboxKey']).slice('/run/netns/'.length), id, answer);
    } else if (call === 'IpamDriver.RequestAddress') {
      const taken = `${String(request['PoolID'])} ${addressOf(answer['Address'])}`;
      if (this.#leased.has(taken)) throw new Error(`${taken} was answered twice`);
      this.#leased.add(taken);
    } else if (call === 'IpamDriver.ReleaseAddress') {
      this.#leased.delete(`${String(request['PoolID'])} ${addressOf(request['Address'])}`);
    } else if (call === 'IpamDriver.ReleasePool') {
      for (const one of this.#leased) if (one.startsWith(`${String(request['PoolID'])} `)) this.#leased.delete(one);
    } else if (call === 'IpamDriver.RequestPool' && request['Pool'] !== '' && answer['Pool'] !== request['Pool']) {
      throw new Error(`the pool ${String(answer['Pool'])} was answered instead of ${String(request['Pool'])}`);
    }
  }

  /** Moves the link as an engine does, or finds it inside; then the gateway must answer to a ping. */
  async #attach(box: string, id: string, answer: Record<string, unknown>): Promise<void> {
    const ep = this.#endpoints.get(id) ?? { mac: '', v4: '', v6: '' };
    const move = answer['InterfaceName'] as { SrcName: string; DstPrefix: string } | undefined;
    if (move !== undefined) {
      const taken = await this.#linksOf(box);
      let number = 0;
      while (taken.some(({ ifname }) => ifname === `${move.DstPrefix}${number}`)) number++;
      const name = `${move.DstPrefix}${number}`;
      await execa('ip', ['-n', this.#lab.host, 'link', 'set', move.SrcName, 'netns', box, 'name', name]);
      await execa('ip', ['-n', box, 'link', 'set', name, 'address', ep.mac]);
      for (const prefix of [ep.v4, ep.v6].filter(Boolean))
        await execa('ip', ['-n', box, 'addr', 'add', prefix, 'dev', name, ...(prefix.includes(':') ? ['nodad'] : [])]);
      await execa('ip', ['-n', box, 'link', 'set', name, 'up']);
    }
    const found = (await this.#linksOf(box)).find(({ address }) => address === ep.mac);
    const addresses = found?.addr_info.map(({ local, prefixlen }) => `${local}/${prefixlen}`) ?? [];
    for (const prefix of [ep.v4, ep.v6].filter(Boolean))
      if (!addresses.includes(prefix)) throw new Error(`${prefix} is not in ${box}: ${JSON.stringify(found)}`);
    for (const gateway of [answer['Gateway'], answer['GatewayIPv6']].map(String).filter(Boolean))
      await execa('ip', ['netns', 'exec', box, 'ping', '-c1', '-W5', '-I', found?.ifname ?? '', gateway]);
  }

  async #linksOf(box: string): Promise<Inside[]> {
    const links = JSON.parse((await execa('ip', ['-n', box, '-j', 'addr'])).stdout) as Inside[];
    // Those that are out of service and about to be deleted.
    return links.filter(({ ifname }) => !ifname.startsWith('dead'));
  }

  /** Ends the sandboxes. */
  async close(): Promise<void> {
    for (const name of this.#boxes) await execa('ip', ['netns', 'del', name], { reject: false });
  }
}
