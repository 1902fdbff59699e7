/** What a client may do with its connection: send before it is answered, end sending, go away. */

import { type Socket, connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Lab } from './lab.ts';

let lab: Lab;
beforeAll(async () => {
  lab = await Lab.open();
});
afterAll(() => lab?.close());

const PATIENCE = { timeout: 10_000 };

function request(method: string, path: string, body?: unknown): string {
  const text = body === undefined ? '' : JSON.stringify(body);
  const type = body === undefined ? '' : 'Content-Type: application/json\r\n';
  return `${method} ${path} HTTP/1.1\r\nHost: x\r\n${type}Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`;
}

interface Talk {
  readonly socket: Socket;
  /** All that was answered until the other end closed; rejects when that takes too long. */
  readonly answer: Promise<string>;
  /** What has come until now. */
  heard(): string;
}

/** A connection that goes on reading after its own end has ended. */
function talk(text: string, end: boolean): Talk {
  let heard = '';
  const socket = connect({ path: lab.socket, allowHalfOpen: true });
  const answer = new Promise<string>((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`still open after ${heard}`)), 20_000);
    socket.on('data', (chunk) => (heard += chunk.toString()));
    socket.on('error', () => {});
    socket.on('end', () => socket.end());
    socket.on('close', () => {
      clearTimeout(late);
      resolve(heard);
    });
  });
  if (end) socket.end(text);
  else socket.write(text);
  return { socket, answer, heard: () => heard };
}

const statuses = (answer: string): string[] => [...answer.matchAll(/^HTTP\/1\.1 (\d+)/gm)].map(([, status]) => status ?? '');
const networks = async (): Promise<string[]> => {
  const { json } = await lab.api('GET', '/networks');
  return (json as { Name: string }[]).map(({ Name }) => Name);
};

describe('requests that are sent before the one before is answered', () => {
  test('are worked on in their order', async () => {
    const all = [
      request('POST', '/networks/create', { Name: 'pipe' }),
      request('POST', '/sandboxes/create', { Name: 'inside', Networks: { pipe: {} } }),
      request('POST', '/networks/pipe/disconnect', { Container: 'inside' }),
      request('DELETE', '/networks/pipe'),
      request('GET', '/networks/pipe'),
      request('DELETE', '/sandboxes/inside'),
    ];
    for (let round = 0; round < 5; round++) {
      expect(statuses(await talk(all.join(''), true).answer)).toEqual(['201', '201', '200', '204', '404', '204']);
    }
    expect(await networks()).not.toContain('pipe');
  });

  test('one that fails keeps none behind it from its turn, nor one that nobody understands', async () => {
    const all = [
      request('DELETE', '/networks/nobody'),
      request('POST', '/networks/create', { Name: 7 }),
      request('POST', '/networks/create', { Name: 'after' }),
      request('DELETE', '/networks/after'),
      'nonsense\r\n\r\n',
    ];
    const answer = await talk(all.join(''), false).answer;
    expect(statuses(answer)).toEqual(['404', '400', '201', '204', '400']);
  });

  test('a hundred on one connection hold up nobody else', async () => {
    const all = Array.from({ length: 50 }, () => [
      request('POST', '/networks/create', { Name: 'again' }),
      request('DELETE', '/networks/again'),
    ]);
    const { answer } = talk(all.flat().join(''), true);
    expect((await lab.api('GET', '/networks')).status).toBe(200);
    expect(statuses(await answer)).toEqual(all.flatMap(() => ['201', '204']));
  });

  test('those that wait when their client goes are not begun', async () => {
    const waiting = Array.from({ length: 20 }, (_, i) => request('POST', '/networks/create', { Name: `waiting${i}` }));
    const { socket, answer } = talk(waiting.join(''), false);
    await new Promise((resolve) => socket.once('data', resolve));
    socket.destroy();
    await answer;
    await lab.api('POST', '/networks/create', { Name: 'marker' });
    const left = (await networks()).filter((name) => name.startsWith('waiting'));
    expect(left.length).toBeGreaterThanOrEqual(1);
    expect(left.length).toBeLessThan(20);
    for (const name of [...left, 'marker']) expect((await lab.api('DELETE', `/networks/${name}`)).status).toBe(204);
  });
});

describe('a client that ends sending and goes on reading', () => {
  test('has its answer, and what it asked for', async () => {
    for (let round = 0; round < 10; round++) {
      const created = await talk(request('POST', '/networks/create', { Name: `half${round}` }), true).answer;
      expect(statuses(created)).toEqual(['201']);
      expect(await networks()).toContain(`half${round}`);
      expect(statuses(await talk(request('DELETE', `/networks/half${round}`), true).answer)).toEqual(['204']);
    }
  });

  test('before its request is whole is told so', async () => {
    const answer = await talk('GET /networks HTTP/1.1\r\nHost: x\r\n', true).answer;
    expect(answer).toMatch(/^HTTP\/1\.1 400 [^]*ended before it was whole/);
  });

  test('is not told of events without end; those of before it gets', async () => {
    // Both reject while the connection stays.
    await talk(request('GET', '/events'), true).answer;
    const { socket, answer, heard } = talk(request('GET', '/events'), false);
    await expect.poll(heard, PATIENCE).toContain('200 OK');
    socket.end();
    await answer;
    const until = (Date.now() / 1000).toFixed(3);
    const told = await talk(request('GET', `/events?since=0&until=${until}`), true).answer;
    expect(statuses(told)).toEqual(['200']);
    expect(told).toMatch(/"half0"[^]*\r\n0\r\n\r\n$/);
  });
});

test('what a client asked for that goes away is finished or undone, never half of it', async () => {
  for (let round = 0; round < 20; round++) {
    const { socket, answer } = talk(request('POST', '/networks/create', { Name: 'fled' }), false);
    await new Promise((resolve) => setTimeout(resolve, round));
    socket.destroy();
    await answer;
    const { status } = await lab.api('POST', '/networks/create', { Name: 'fled' });
    expect([201, 409]).toContain(status);
    expect((await lab.api('DELETE', '/networks/fled')).status).toBe(204);
  }
  expect(await networks()).not.toContain('fled');
});
