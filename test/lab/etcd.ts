/** Three members of a real etcd, each in a namespace of its own on the underlay, so that each can be cut off. */

import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { ETCD, SCRIPTS } from './places.ts';
import { Program } from './program.ts';
import type { Run } from './run.ts';
import type { Underlay } from './underlay.ts';
import { until } from './wait.ts';

export const MEMBERS = 3;
/** Numbers on the underlay of member 1 and up. */
const FIRST_NUMBER = 201;
const CLIENT_PORT = 2379;
/** Of records, where `--cluster` names none. */
const PREFIX = '/patchbay/';
const READY_MS = 30_000;
const ASK_MS = 2000;
/** Short, since a lab's wire is: milliseconds between signs of the leader, and without them until a new one is chosen. */
const TIMES = '--heartbeat-interval 50 --election-timeout 500';

export class Etcd {
  readonly #run: Run;
  readonly #underlay: Underlay;
  readonly #members = new Map<number, Program>();

  constructor(run: Run, underlay: Underlay) {
    this.#run = run;
    this.#underlay = underlay;
  }

  /** Their places, `etcd1` and up. */
  static places(): string[] {
    return numbers().map((member) => `etcd${member}`);
  }

  /** As `--cluster` takes it. */
  get address(): string {
    return `etcd://${numbers()
      .map((member) => `${this.#host(member)}:${CLIENT_PORT}`)
      .join(',')}`;
  }

  /** Members that run. */
  get running(): number[] {
    return numbers().filter((member) => this.#members.get(member)?.isRunning === true);
  }

  /** Places on the wire, and all members. */
  async make(): Promise<void> {
    mkdirSync(this.#folder());
    for (const member of numbers()) await this.#underlay.addPlace(`etcd${member}`, FIRST_NUMBER + member - 1);
    await this.startAll();
  }

  /** Starts those that do not run, and waits until the cluster has a leader. */
  async startAll(): Promise<void> {
    for (const member of numbers()) this.begin(member);
    await until('etcd has a leader', async () => (await this.leader()) !== undefined, READY_MS);
  }

  begin(member: number): void {
    if (this.#members.get(member)?.isRunning === true) return;
    rmSync(join(this.#folder(), `m${member}:1`), { force: true });
    const script = [
      join(SCRIPTS, 'etcd-member.sh'),
      String(member),
      numbers()
        .map((one) => this.#host(one))
        .join(','),
    ];
    const flags = `--data-dir d${member} --unsafe-no-fsync ${TIMES}`.split(' ');
    const settings = [`PROGRAM=${ETCD}`, `LISTEN_ALSO=unix://m${member}:1`];
    const log = this.#log(member);
    const namespace = this.#run.namespaceOf(`etcd${member}`);
    this.#members.set(
      member,
      new Program({ namespace, command: ['env', ...settings, 'sh', ...script, ...flags], out: log, log, folder: this.#folder() }),
    );
  }

  async kill(member: number): Promise<void> {
    await this.#members.get(member)?.end('SIGKILL');
  }

  async stopAll(): Promise<void> {
    await Promise.all(numbers().map((member) => this.kill(member)));
  }

  /** The member that leads, as the members themselves say; undefined while none does. */
  async leader(): Promise<number | undefined> {
    for (const member of this.running) {
      const text = await this.#ask(member, 'GET', '/metrics').catch(() => '');
      if (/^etcd_server_is_leader 1$/m.test(text) && /^etcd_server_has_leader 1$/m.test(text)) return member;
    }
    return undefined;
  }

  /** Forgets all history up to now; answers the revision. */
  async compact(): Promise<number> {
    const member = this.running[0];
    if (member === undefined) throw new Error('no member of etcd runs');
    const range = JSON.parse(await this.#ask(member, 'POST', '/v3/kv/range', { key: base64('/') })) as Answer;
    const revision = Number(range.header?.revision ?? 0);
    const { header } = JSON.parse(await this.#ask(member, 'POST', '/v3/kv/compaction', { revision, physical: true })) as Answer;
    if (header === undefined) throw new Error(`etcd does not compact to revision ${revision}`);
    return revision;
  }

  /** All records of the hosts: key below their prefix, and value. */
  async records(): Promise<[key: string, value: string][]> {
    const member = this.running[0];
    if (member === undefined) throw new Error('no member of etcd runs');
    const range = { key: base64(PREFIX), range_end: base64('/patchbay0') };
    const { kvs = [] } = JSON.parse(await this.#ask(member, 'POST', '/v3/kv/range', range)) as Answer;
    const text = (octets: string): string => Buffer.from(octets, 'base64').toString();
    return kvs.map(({ key, value = '' }) => [text(key).slice(PREFIX.length), text(value)]);
  }

  /** Files of all members that have run. */
  logs(): string[] {
    return numbers()
      .map((member) => this.#log(member))
      .filter((path) => existsSync(path));
  }

  #log(member: number): string {
    return join(this.#folder(), `etcd${member}.log`);
  }

  #folder(): string {
    return join(this.#run.folder, 'etcd');
  }

  #host(member: number): string {
    const address = this.#underlay.addressOf(FIRST_NUMBER + member - 1);
    return address.includes(':') ? `[${address}]` : address;
  }

  /** By the member's unix socket: it answers also while it is cut off. */
  #ask(member: number, method: string, path: string, body?: unknown): Promise<string> {
    return new Promise((resolve, reject) => {
      const socketPath = join(this.#folder(), `m${member}:1`);
      const req = request({ socketPath, method, path, timeout: ASK_MS, headers: { Host: 'x' } }, (res) => {
        let text = '';
        res.on('data', (chunk: Buffer) => (text += chunk.toString()));
        res.on('end', () => (res.statusCode === 200 ? resolve(text) : reject(new Error(`etcd: ${text}`))));
      });
      req.on('timeout', () => req.destroy(new Error('etcd does not answer')));
      req.on('error', reject);
      req.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }
}

interface Answer {
  readonly header?: { readonly revision?: string };
  readonly kvs?: readonly { readonly key: string; readonly value?: string }[];
}

const base64 = (text: string): string => Buffer.from(text).toString('base64');

const numbers = (): number[] => Array.from({ length: MEMBERS }, (_, i) => i + 1);
