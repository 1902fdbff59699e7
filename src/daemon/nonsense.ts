/** What is no request for us is refused in the form of all other errors, before the application sees it. */

import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';

/** What is no HTTP request, or comes too slowly. */
export function refuseNonsense(error: Error & { code?: string; reason?: string }, socket: Socket): void {
  const [status, message] =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? ['431 Request Header Fields Too Large', 'the header is too large']
      : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? ['408 Request Timeout', 'the request did not come in time']
        : ['400 Bad Request', `this is no request of HTTP/1.1: ${error.reason ?? error.message}`];
  refuse(socket, status, message, 'bad_request');
}

/** Node ends a tunnel without a word, and answers an expectation that it does not know with a status alone. */
export function refuseOddities(server: Server): void {
  server.on('connect', (_request, socket) => {
    // Node has let go of the socket, and of its errors: a client that is gone by now must end nobody else.
    socket.on('error', () => socket.destroy());
    refuse(socket, '404 Not Found', 'page not found', 'no_page');
  });
  server.on('checkExpectation', (_request, response) => {
    const message = 'the header Expect is not understood: use 100-continue, or leave it out';
    const head = { 'Content-Type': 'application/json', Connection: 'close' };
    response.writeHead(417, head).end(bodyOf(message, 'bad_request'));
  });
}

const bodyOf = (message: string, code: string): string => `${JSON.stringify({ message, code })}\n`;

function refuse(socket: Duplex, status: string, message: string, code: string): void {
  if (!socket.writable) return void socket.destroy();
  const body = bodyOf(message, code);
  const head = `HTTP/1.1 ${status}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n`;
  socket.end(`${head}Connection: close\r\n\r\n${body}`, () => socket.destroy());
}
