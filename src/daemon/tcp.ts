/** TCP listeners: only with certificates on both sides. Who has one that our authority signed may do what the socket's group may. */

import { type Server, createServer } from 'node:https';
import { type Server as NetServer, createServer as createPlainServer, isIP } from 'node:net';
import { createSecureContext } from 'node:tls';
import type { FastifyInstance } from 'fastify';
import { CnmError, type TlsContents, type TlsFiles, messageOf, readTlsFiles } from '../base/index.ts';
import { boundConnections } from './crowd.ts';
import { boundHandshakes } from './handshakes.ts';
import { refuseNonsense, refuseOddities } from './nonsense.ts';
import { HANDSHAKE_MS, SERVER_LIMITS } from './limits.ts';

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
  boundHandshakes(server);
  server.on('clientError', refuseNonsense);
  // Node leaves that to us where somebody asks for these errors, and what is written never goes out without a handshake.
  server.on('tlsClientError', (_error, socket) => socket.destroy());
  refuseOddities(server);
  return server;
}

/** Throws bad_config for files that are missing, are none, or do not belong together. */
export function readTls(files: TlsFiles): TlsContents {
  const pem = readTlsFiles(files);
  try {
    createSecureContext(pem);
    return pem;
  } catch (error) {
    throw new CnmError('bad_config', `--tlscacert, --tlscert, --tlskey: ${messageOf(error)}`, { cause: error });
  }
}

/** Tries to bind all addresses, together, since one may be in another, and lets go of them. Throws bad_config. */
export async function refuseTaken(hosts: readonly TcpHost[]): Promise<void> {
  const trials: NetServer[] = [];
  try {
    for (const host of hosts) {
      const trial = createPlainServer();
      await listenOn(trial, host);
      trials.push(trial);
    }
  } finally {
    await Promise.all(trials.map((trial) => new Promise((resolve) => trial.close(resolve))));
  }
}

function listenOn(server: NetServer, { address, port }: TcpHost): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (error: Error): void =>
      reject(new CnmError('bad_config', `--host ${urlOf(address, port)}: ${messageOf(error)}`, { cause: error }));
    server.once('error', failed);
    server.listen(port, address, () => {
      server.off('error', failed);
      resolve();
    });
  });
}

const urlOf = (address: string, port: number): string => `tcp://${isIP(address) === 6 ? `[${address}]` : address}:${port}`;
