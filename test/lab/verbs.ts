/** What the shell of a lab can do to its hosts, by words: `cut 2`, `lose etcd1 20`, `kill-daemon 3`. */

import { Etcd, MEMBERS } from './etcd.ts';
import type { Lab } from './lab.ts';

export interface Verb {
  /** What follows it, for people. */
  readonly words: string;
  readonly about: string;
  /** Answers a line to print. Throws for words that it does not understand. */
  run(lab: Lab, args: readonly string[]): Promise<string>;
}

const MAX_DELAY_MS = 10_000;
const BY = { netem: "the kernel's netem", program: 'a program, since this kernel has no netem' } as const;

/** A place by `2` or `host2` or `etcd1`. */
function placeOf(lab: Lab, word = ''): string {
  const name = /^\d+$/.test(word) ? `host${Number(word)}` : word;
  const places = [...lab.hosts.map((host) => host.name), ...Etcd.places()];
  if (places.includes(name)) return name;
  throw new Error(`${JSON.stringify(word)} is no place: 1 to ${lab.hosts.length} for a host, etcd1 to etcd${MEMBERS}`);
}

function numberOf(word: string | undefined, most: number, what: string): number {
  if (word !== undefined && /^\d{1,6}$/.test(word) && Number(word) <= most) return Number(word);
  throw new Error(`${JSON.stringify(word ?? '')}: ${what}, 0 to ${most}`);
}

const memberOf = (word: string | undefined): number => {
  const member = numberOf(word?.replace(/^etcd/, ''), MEMBERS, 'a member of etcd');
  if (member === 0) throw new Error(`members are 1 to ${MEMBERS}`);
  return member;
};

const hostOf = (lab: Lab, word = '') => lab.host(Number(word.replace(/^host/, '')));

export const VERBS: Readonly<Record<string, Verb>> = {
  cut: {
    words: 'PLACE',
    about: 'nothing comes from it or to it; its link stays up',
    async run(lab, [word]) {
      const place = placeOf(lab, word);
      await lab.underlay.lose(place, 100);
      return `${place} is cut off`;
    },
  },
  lose: {
    words: 'PLACE PERCENT',
    about: 'so many of a hundred packets from it and to it are lost',
    async run(lab, [word, percent]) {
      const [place, number] = [placeOf(lab, word), numberOf(percent, 100, 'percent')];
      await lab.underlay.lose(place, number);
      return `${place} loses ${number} % each way`;
    },
  },
  delay: {
    words: 'PLACE MS',
    about: 'every packet from it and to it is so much later',
    async run(lab, [word, ms]) {
      const [place, number] = [placeOf(lab, word), numberOf(ms, MAX_DELAY_MS, 'milliseconds')];
      const by = await lab.underlay.delay(place, number);
      return by === undefined ? `${place} is not late` : `${place} is ${number} ms late each way, by ${BY[by]}`;
    },
  },
  heal: {
    words: 'PLACE',
    about: 'takes back cut, lose, delay and the link of kill-host',
    async run(lab, [word]) {
      const place = placeOf(lab, word);
      await lab.underlay.heal(place);
      return `${place} is healed`;
    },
  },
  'kill-daemon': {
    words: 'I',
    about: 'SIGKILL to the daemon of a host',
    async run(lab, [word]) {
      await hostOf(lab, word).kill();
      return `the daemon of ${hostOf(lab, word).name} is killed`;
    },
  },
  'start-daemon': {
    words: 'I',
    about: 'starts it again, and waits until it serves',
    async run(lab, [word]) {
      await hostOf(lab, word).start();
      return `the daemon of ${hostOf(lab, word).name} serves`;
    },
  },
  'kill-host': {
    words: 'I',
    about: 'SIGKILL to the daemon, and no carrier on its link; heal and start-daemon bring it back',
    async run(lab, [word]) {
      const host = hostOf(lab, word);
      await killHost(lab, host.number);
      return `${host.name} is dead`;
    },
  },
  'kill-etcd': {
    words: 'I',
    about: 'SIGKILL to a member of etcd',
    async run(lab, [word]) {
      await lab.etcd.kill(memberOf(word));
      return `etcd ${memberOf(word)} is killed`;
    },
  },
  'stop-etcd': {
    words: '',
    about: 'SIGKILL to all members',
    async run(lab) {
      await lab.etcd.stopAll();
      return 'etcd is away';
    },
  },
  'start-etcd': {
    words: '',
    about: 'starts the members that do not run, and waits for a leader',
    async run(lab) {
      await lab.etcd.startAll();
      return `etcd is there, ${await lab.etcd.leader()} leads`;
    },
  },
};

/** A machine without power: its daemon is dead and its link has no carrier. */
export async function killHost(lab: Lab, number: number): Promise<void> {
  const host = lab.host(number);
  await lab.underlay.carry(host.name, false);
  await host.kill();
}
