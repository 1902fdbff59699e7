/** What is no request for us is refused in the form of all other errors, before the application sees it. */

import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { SERVER_LIMITS } from './limits.ts';

/** What the parser stumbles over, by its code, and what would work. */
export const PROBLEMS: Readonly<Record<string, string>> = {
  HPE_INVALID_METHOD: 'the method is none of HTTP: write one such as GET, in capitals; this socket speaks no TLS',
  HPE_INVALID_URL: 'the path has a character that it cannot have: write it as percent and two hexadecimal digits, such as %20',
  HPE_INVALID_CONSTANT: 'HTTP/1.1 is not where it must be, behind the path: a space in the path is written as %20',
  HPE_INVALID_VERSION: 'the version of HTTP is not served, or its line does not end with CR and LF: use HTTP/1.1',
  HPE_PAUSED_H2_UPGRADE: 'the version of HTTP is not served: use HTTP/1.1',
  HPE_INVALID_HEADER_TOKEN: 'a header is not one line of the form Name: value, without control characters',
  HPE_UNEXPECTED_CONTENT_LENGTH: 'the header Content-Length is there twice: send one',
  HPE_INVALID_CONTENT_LENGTH: 'the header Content-Length is no whole number, or beside Transfer-Encoding: send one of the two',
  HPE_INVALID_TRANSFER_ENCODING: 'the header Transfer-Encoding is not chunked, or beside Content-Length: send one of the two',
  HPE_INVALID_CHUNK_SIZE: "a chunk's size is not hexadecimal, or is not that of the chunk before it",
  HPE_STRICT: "a line does not end with CR and LF, or a chunk's size is not its own",
  HPE_CR_EXPECTED: 'a line does not end with CR and LF',
  HPE_LF_EXPECTED: 'a line does not end with CR and LF',
  HPE_INVALID_EOF_STATE: 'the request ended before it was whole: send all that its headers announce',
  HPE_CLOSED_CONNECTION: 'more came after a request with Connection: close: send it on another connection',
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 'the extensions of a chunk are too long: leave them out',
};

/** What is no HTTP request, or comes too slowly. */
export function refuseNonsense(error: Error & { code?: string }, socket: Socket): void {
  const [status, message] =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? ['431 Request Header Fields Too Large', `path and headers are larger than ${SERVER_LIMITS.maxHeaderSize / 1024} KiB`]
      : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? ['408 Request Timeout', 'the request did not come in time']
        : ['400 Bad Request', PROBLEMS[error.code ?? ''] ?? 'this is no HTTP request: use HTTP/1.1'];
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
