/** What one client may take of the daemon: connections, requests, time. The same for every listener. */

import type { ServerOptions } from 'node:http';

/** Connections of one listener at once: for more, idle ones are closed; where none is idle, the newest. */
export const MAX_CONNECTIONS = 1024;
/** Connections of one TCP listener whose handshake is not done, beside those: for more, the oldest from where most come is closed. */
export const MAX_HANDSHAKES = 512;
/** Requests of all listeners that are being served at once; more are answered with 503. */
export const MAX_REQUESTS = 512;
/** Largest request body, octets. */
export const BODY_LIMIT = 4 * 1024 * 1024;

/** For Node's servers. Times in milliseconds: all headers, the whole request, an idle connection, how often is looked. */
export const SERVER_LIMITS = {
  maxHeaderSize: 16 * 1024,
  headersTimeout: 10_000,
  requestTimeout: 60_000,
  keepAliveTimeout: 60_000,
  connectionsCheckingInterval: 1000,
  // It is refused by us, in words.
  requireHostHeader: false,
} as const satisfies ServerOptions;

/** Time for a TLS handshake, milliseconds. */
export const HANDSHAKE_MS = 10_000;
