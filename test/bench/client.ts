/** One kept-alive connection to an API on a unix socket. */

import { Agent, request } from 'node:http';

export class Client {
  readonly #socketPath: string;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });

  constructor(socketPath: string) {
    this.#socketPath = socketPath;
  }

  /** The answer's JSON, or its text. Throws what the server says of a failure. */
  async call(method: string, path: string, body?: unknown): Promise<unknown> {
    try {
      return await this.#once(method, path, body);
    } catch (error) {
      // A server may close a connection that nobody used for a while, just when it is used again; then nothing was asked yet.
      if ((error as { isStale?: boolean }).isStale !== true) throw error;
      return this.#once(method, path, body);
    }
  }

  #once(method: string, path: string, body: unknown): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const text = body === undefined ? '' : JSON.stringify(body);
      const headers = { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text) };
      const req = request({ socketPath: this.#socketPath, method, path, agent: this.#agent, headers }, (res) => {
        let answer = '';
        res.on('data', (chunk: Buffer) => (answer += chunk.toString()));
        res.on('end', () => {
          if ((res.statusCode ?? 500) >= 300) return reject(new Error(answer));
          resolve(/^[[{]/.test(answer) ? JSON.parse(answer) : answer);
        });
      });
      req.on('error', (error: NodeJS.ErrnoException) => {
        const isStale = req.reusedSocket && ['EPIPE', 'ECONNRESET'].includes(error.code ?? '');
        reject(Object.assign(error, { isStale }));
      });
      req.end(text);
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}
