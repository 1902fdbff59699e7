/** Tells a service manager how this process is (sd_notify(3)): datagrams to the socket that it names. Nobody waits for it. */

import type { Env } from '../base/index.ts';
import * as libc from './libc.ts';

/** Pause until what a manager did not take is sent again, milliseconds. */
const RETRY_MS = 100;
/** Longest pause that a timer takes, milliseconds. */
const MAX_PAUSE_MS = 0x7fffffff;
const ALIVE = 'WATCHDOG=1';

export class ServiceManager {
  readonly #path: string | undefined;
  readonly #log: Env['log'];
  /** What it has not taken yet, in order. */
  #waiting: string[] = [];
  #retry: NodeJS.Timeout | undefined;
  #isUnreachable = false;

  /** `socketPath`: the value of NOTIFY_SOCKET; a leading @ means the abstract namespace. Without a path all of this does nothing. */
  constructor(socketPath: string | undefined, log: Env['log']) {
    this.#path = socketPath === '' ? undefined : socketPath;
    this.#log = log;
  }

  /** Sends lines such as `READY=1`, later where it does not read at the moment. Never throws: who does not listen keeps nobody from working. */
  tell(lines: readonly string[]): void {
    if (this.#path === undefined) return;
    this.#waiting.push(lines.join('\n'));
    if (this.#retry === undefined) this.#flush();
  }

  /** Says from now on that this process is alive, as often as `env` asks for (sd_watchdog_enabled(3)). */
  keepAlive(env: Readonly<Record<string, string | undefined>>): void {
    const everyMs = keepAliveMs(env);
    if (everyMs === undefined) return;
    // What it has yet to read says the same.
    const tell = (): void => void (this.#waiting.length === 0 && this.tell([ALIVE]));
    tell();
    setInterval(tell, everyMs).unref();
  }

  #flush(): void {
    this.#retry = undefined;
    while (this.#waiting[0] !== undefined) {
      if (!this.#send(this.#waiting[0])) {
        this.#retry = setTimeout(() => this.#flush(), RETRY_MS).unref();
        return;
      }
      this.#waiting.shift();
    }
  }

  /** False when it does not read at the moment. */
  #send(text: string): boolean {
    const fd = libc.socket(libc.AF.unix, libc.SOCK.datagram, 0);
    try {
      const sent = libc.sendTo(fd, Buffer.from(text), unixAddress(this.#path ?? ''), libc.MSG.dontwait);
      if (sent >= 0) this.#isUnreachable = false;
      return sent >= 0;
    } catch (error) {
      if (!this.#isUnreachable) this.#log.warn({ error: String(error) }, 'the service manager cannot be told');
      this.#isUnreachable = true;
      return true;
    } finally {
      libc.close(fd);
    }
  }
}

/**
 * Half of the time that a service manager waits for a word of this process, milliseconds; undefined: it does not wait for one, or for that of another
 * process, whose environment we have.
 */
export function keepAliveMs({ WATCHDOG_USEC, WATCHDOG_PID }: Readonly<Record<string, string | undefined>>): number | undefined {
  const isOurs = WATCHDOG_PID === undefined || WATCHDOG_PID === String(process.pid);
  if (!isOurs || WATCHDOG_USEC === undefined || !/^0*[1-9]\d{0,18}$/.test(WATCHDOG_USEC)) return undefined;
  return Math.min(Math.max(1, Math.floor(Number(WATCHDOG_USEC) / 2000)), MAX_PAUSE_MS);
}

/** struct sockaddr_un of a path, or of an abstract name behind an @. */
export function unixAddress(path: string): Buffer {
  const name = Buffer.from(path.startsWith('@') ? `\0${path.slice(1)}` : `${path}\0`);
  return Buffer.concat([Buffer.from([libc.AF.unix, 0]), name]);
}
