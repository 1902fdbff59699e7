/** Sends one request as it stands, on a connection of its own; what a daemon and its kernel hold, to be compared. */

import { readFileSync, readdirSync } from 'node:fs';
import { request } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { openNetns, type Netns } from '../../../src/kernel/index.ts';
import type { Lab } from '../lab.ts';
import type { Ask } from './row.ts';

export interface Told {
  readonly status: number;
  readonly message: string;
  readonly code: string;
}

/** Longest wait for an answer, milliseconds: a request that hangs fails its row. */
const ANSWER_MS = 20_000;

export function ask(
  socketPath: string,
  { method, path, headers, body, announces }: Ask,
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const length = body === undefined ? {} : { 'content-length': announces ?? Buffer.byteLength(body) };
    const sent = request({ socketPath, method, path, headers: { ...headers, ...length }, agent: false }, (answer) => {
      const chunks: Buffer[] = [];
      answer.on('data', (chunk: Buffer) => chunks.push(chunk));
      answer.on('end', () => resolve({ status: answer.statusCode ?? 0, text: Buffer.concat(chunks).toString() }));
      answer.on('error', reject);
    });
    sent.setTimeout(ANSWER_MS, () => sent.destroy(new Error(`no answer within ${ANSWER_MS} ms`)));
    sent.on('error', reject);
    // The rest of an announced body never comes.
    if (announces === undefined) sent.end(body);
    else sent.write(body ?? '');
  });
}

/** The answer to a request that must fail. */
export async function told(socketPath: string, asked: Ask): Promise<Told> {
  const { status, text } = await ask(socketPath, asked);
  const { message, code } = JSON.parse(text) as { message: string; code: string };
  return { status, message, code };
}

/** The answer to octets as they stand, which must be an error's and close the connection; `isLast`: no more come. */
export async function octets(socketPath: string, sent: Buffer, isLast = false): Promise<Told> {
  const text = await new Promise<string>((resolve, reject) => {
    const chunks: Buffer[] = [];
    const socket = connect({ path: socketPath, allowHalfOpen: true }, () => (isLast ? socket.end(sent) : socket.write(sent)));
    socket.on('end', () => socket.end());
    socket.setTimeout(ANSWER_MS, () => socket.destroy(new Error(`no answer within ${ANSWER_MS} ms`)));
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.on('error', reject);
    socket.on('close', () => resolve(Buffer.concat(chunks).toString()));
  });
  const { message, code } = JSON.parse(text.slice(text.indexOf('\r\n\r\n') + 4)) as { message: string; code: string };
  return { status: Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1]), message, code };
}

/** What is cheap to read: links, addresses, routes, files of the run directory, and what the daemon shows. */
export class Watched {
  readonly #lab: Lab;
  readonly #netns: Netns;

  constructor(lab: Lab) {
    this.#lab = lab;
    this.#netns = openNetns(`/run/netns/${lab.host}`);
  }

  async look(): Promise<unknown> {
    const shown = ['/networks', '/endpoints', '/sandboxes', '/guests', '/network-services'].map((path) =>
      ask(this.#lab.socket, { method: 'GET', path }),
    );
    return { kernel: this.#kernel(), files: this.#files(), shown: (await Promise.all(shown)).map((answer) => answer.text) };
  }

  /** Also the packet filter, which takes a process a family. */
  async lookWell(): Promise<unknown> {
    const rules = await Promise.all(['iptables-save', 'ip6tables-save'].map((tool) => this.#lab.in('host', tool)));
    const withoutCounters = rules.map(({ stdout }) => stdout.replaceAll(/\[\d+:\d+\]|^#.*$/gm, ''));
    return [await this.look(), withoutCounters];
  }

  #kernel(): unknown {
    return this.#netns.run(() => {
      const read = (name: string): string => readFileSync(`/proc/thread-self/net/${name}`, 'utf8');
      const links = [...read('dev').matchAll(/^\s*([^\s:]+):/gm)].map(([, name]) => name);
      // Links that wait for their deletion are out of service.
      return {
        links: links.filter((name) => name?.startsWith('dead') !== true).sort(),
        routes: read('route'),
        addresses: read('if_inet6')
          .split('\n')
          .filter((line) => !/ dead/.test(line)).length,
      };
    });
  }

  #files(): string[] {
    const folders = ['netns', 'sandboxes', 'keeper/sandboxes', 'keeper/names', 'keeper/holds'];
    return folders.flatMap((folder) => readdirSync(join(this.#lab.runDir, folder)).map((name) => `${folder}/${name}`)).sort();
  }

  close(): void {
    this.#netns[Symbol.dispose]();
  }
}
