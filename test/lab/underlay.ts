/**
 * The wire between the hosts: a namespace with a bridge, and a link from it to each place. A place may be cut off, lose
 * packets, be late, or lose its carrier; everything is healed by one call.
 */

import type { Commands, Outcome } from './commands.ts';
import { type Delay, delayPort } from './delay.ts';
import type { Run } from './run.ts';

export type UnderlayFamily = 'v4' | 'v6';

/** The bridge. */
const LAN = 'lan0';
/** Link of a place, inside it. */
export const WIRE = 'wire0';
/** Table of the packet filter that drops frames on the bridge. */
const TABLE = 'faults';

export class Underlay {
  readonly #run: Run;
  readonly #commands: Commands;
  readonly family: UnderlayFamily;
  readonly #delays = new Map<string, Delay>();
  /** Namespace of the bridge. */
  readonly namespace: string;

  constructor(run: Run, commands: Commands, family: UnderlayFamily) {
    this.#run = run;
    this.#commands = commands;
    this.family = family;
    this.namespace = run.namespaceOf('lan');
  }

  /** The bridge without a place on it. The run takes it away. */
  async make(): Promise<void> {
    await this.#commands.ok('ip', ['netns', 'add', this.namespace]);
    await this.#ip(this.namespace, `link set lo up`);
    await this.#ip(this.namespace, `link add ${LAN} type bridge mcast_snooping 0`);
    await this.#ip(this.namespace, `link set ${LAN} up`);
    await this.#nft(`add table bridge ${TABLE}`, `add chain bridge ${TABLE} every { type filter hook forward priority 0; }`);
  }

  /** A namespace on the wire, with the address of its number (RFC 5737, RFC 3849), 1 to 254. */
  async addPlace(place: string, number: number): Promise<void> {
    const at = this.#run.namespaceOf(place);
    await this.#commands.ok('ip', ['netns', 'add', at]);
    await this.#ip(at, 'link set lo up');
    await this.#ip(at, `link add ${WIRE} type veth peer name ${place} netns ${this.namespace}`);
    const [length, more] = this.family === 'v4' ? [24, []] : [64, ['nodad']];
    await this.#ip(at, ['addr add', `${this.addressOf(number)}/${length}`, `dev ${WIRE}`, ...more].join(' '));
    await this.#ip(at, `link set ${WIRE} up`);
    await this.#ip(this.namespace, `link set ${place} master ${LAN} up`);
    await this.#nft(
      `add chain bridge ${TABLE} ${place}`,
      `add rule bridge ${TABLE} every iifname ${place} jump ${place}`,
      `add rule bridge ${TABLE} every oifname ${place} jump ${place}`,
    );
  }

  addressOf(number: number): string {
    return this.family === 'v4' ? `192.0.2.${number}` : `2001:db8:7::${number.toString(16)}`;
  }

  /** Drops so many of a hundred frames from and to a place. 100 cuts it off, and it sees no difference on its link. */
  async lose(place: string, percent: number): Promise<void> {
    const rule = percent >= 100 ? 'drop' : `numgen random mod 100 < ${percent} drop`;
    const wish = percent === 0 ? [] : [`add rule bridge ${TABLE} ${place} ${rule}`];
    await this.#nft(`flush chain bridge ${TABLE} ${place}`, ...wish);
  }

  /** Every frame from and to a place is so much later, milliseconds; 0 takes it back. Answers what makes it late. */
  async delay(place: string, ms: number): Promise<Delay['by'] | undefined> {
    await this.#delays.get(place)?.close();
    this.#delays.delete(place);
    if (ms === 0) return undefined;
    const delay = await delayPort({ commands: this.#commands, namespace: this.namespace, port: place, lan: LAN }, ms);
    this.#delays.set(place, delay);
    return delay.by;
  }

  /** Takes the carrier from a place, or gives it back. */
  async carry(place: string, isCarried: boolean): Promise<void> {
    await this.#ip(this.namespace, `link set ${place} ${isCarried ? 'up' : 'down'}`);
  }

  /** Takes back all that was done to a place. Repeatable. */
  async heal(place: string): Promise<void> {
    await this.carry(place, true);
    await this.lose(place, 0);
    await this.delay(place, 0);
  }

  /** A program in the namespace of a place, or of the wire itself (`lan`). */
  async exec(place: string, command: string, ...args: string[]): Promise<Outcome> {
    return await this.#commands.run('nsenter', [`--net=/run/netns/${this.#run.namespaceOf(place)}`, command, ...args]);
  }

  async #ip(namespace: string, words: string): Promise<void> {
    await this.#commands.ok('ip', ['-n', namespace, ...words.split(' ')]);
  }

  async #nft(...lines: string[]): Promise<void> {
    await this.#commands.ok('nsenter', [`--net=/run/netns/${this.namespace}`, 'nft', lines.join('; ')]);
  }
}
