/** TCP listeners: only with certificates on both sides. Who has one that our authority signed may do what the socket's group may. */

import { readFileSync } from 'node:fs';
import { type Server, createServer } from 'node:https';
import { type Server as NetServer, createServer as createPlainServer } from 'node:net';
import { createSecureContext } from 'node:tls';
import type { FastifyInstance } from 'fastify';
import { CnmError, messageOf } from '../base/index.ts';
import { boundConnections } from './crowd.ts';
import { refuseNonsense, refuseOddities } from './nonsense.ts';
import { HANDSHAKE_MS, SERVER_LIMITS } from './limits.ts';

/** Paths of PEM files: the authority of clients, our certificate, its key. */
export interface TlsFiles {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

export interface TcpHost {
  readonly address: string;
  readonly port: number;
}

/** Makes the listeners; they open when `open` is called and close with the app. Throws bad_config. */
export function createTcpServers(app: FastifyInstance, hosts: readonly TcpHost[], files: TlsFiles): { open(): Promise<void> } {
  const servers = hosts.map((host) => ({ host, server: createTlsServer(app, files) }));
  app.addHook('preClose', async () => {
    for (const { server } of servers) {
      server.close();
      server.closeAllConnections();
    }
  });
  return {
    async open() {
      for (const { host, server } of servers) await listenOn(server, host);
    },
  };
}

function createTlsServer(app: FastifyInstance, files: TlsFiles): Server {
  const server = createServer(
    {
      ...SERVER_LIMITS,
      ...readTls(files),
      requestCert: true,
      rejectUnauthorized: true,
      minVersion: 'TLSv1.2',
      handshakeTimeout: HANDSHAKE_MS,
    },
    (request, response) => app.routing(request, response),
  );
  boundConnections(server, 'secureConnection');
  server.on('clientError', refuseNonsense);
  refuseOddities(server);
  return server;
}

/** Throws bad_config for files that are missing, are none, or do not belong together. */
export function readTls(files: TlsFiles): { ca: Buffer; cert: Buffer; key: Buffer } {
  const pem = { ca: read('tlscacert', files.ca), cert: read('tlscert', files.cert), key: read('tlskey', files.key) };
  try {
    createSecureContext(pem);
    return pem;
  } catch (error) {
    throw new CnmError('bad_config', `--tlscacert, --tlscert, --tlskey: ${messageOf(error)}`, { cause: error });
  }
}

function read(flag: string, path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new CnmError('bad_config', `--${flag} ${path}: ${messageOf(error)}`, { cause: error });
  }
}

/** Tries to bind each address and lets go of it. Throws bad_config. */
export async function refuseTaken(hosts: readonly TcpHost[]): Promise<void> {
  for (const host of hosts) {
    const trial = createPlainServer();
    await listenOn(trial, host);
    await new Promise((resolve) => trial.close(resolve));
  }
}

function listenOn(server: NetServer, { address, port }: TcpHost): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (error: Error): void =>
      reject(new CnmError('bad_config', `--host tcp://${address}:${port}: ${messageOf(error)}`, { cause: error }));
    server.once('error', failed);
    server.listen(port, address, () => {
      server.off('error', failed);
      resolve();
    });
  });
}
