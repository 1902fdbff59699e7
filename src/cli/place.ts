/** Where the daemon is: a unix socket, or TCP with certificates on both sides. */

import { type Socket, connect } from 'node:net';
import { join } from 'node:path';
import { type TlsContents, type TlsFiles, readTlsFiles } from '../base/index.ts';
import { UsageError } from './usage.ts';

const MAX_PORT = 65_535;

export type TlsPaths = Partial<TlsFiles>;

export interface Place {
  readonly url: string;
  /** Of a unix socket. */
  readonly path?: string;
  readonly tcp?: TlsContents & { readonly host: string; readonly port: number };
}

/** Files by flags, else by the names that docker's tools use in one folder. */
export function tlsPaths(flags: { tlscacert?: string; tlscert?: string; tlskey?: string }, folder: string | undefined): TlsPaths {
  const fallback = (name: string): string | undefined => (folder ? join(folder, name) : undefined);
  const ca = flags.tlscacert ?? fallback('ca.pem');
  const cert = flags.tlscert ?? fallback('cert.pem');
  const key = flags.tlskey ?? fallback('key.pem');
  return { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) };
}

/** Throws UsageError for what is no place, bad_config for files that are none or do not belong together. */
export function placeOf(url: string, tls: TlsPaths): Place {
  const path = /^unix:\/\/(\/.+)$/.exec(url)?.[1];
  if (path !== undefined) return { url, path };
  const [, address = '', port] = /^tcp:\/\/(.+):(\d{1,5})$/.exec(url) ?? [];
  if (port === undefined || Number(port) > MAX_PORT) {
    throw new UsageError(`invalid host ${JSON.stringify(url)}: use unix:///PATH, or tcp://ADDRESS:PORT with TLS`);
  }
  const { ca, cert, key } = tls;
  if (ca === undefined || cert === undefined || key === undefined)
    throw new UsageError(`${url} needs --tlscacert, --tlscert and --tlskey, or NETWORK_CERT_PATH with a folder of them`);
  const host = address.replace(/^\[(.*)\]$/, '$1');
  return { url, tcp: { host, port: Number(port), ...readTlsFiles({ ca, cert, key }) } };
}

/** A socket on its way to be connected; its errors come as events. */
export async function openSocket({ path, tcp }: Place): Promise<Socket> {
  if (tcp === undefined) return connect(path ?? '');
  // Loaded only here: most commands go by a unix socket.
  const { connect: secure } = await import('node:tls');
  return secure(tcp);
}
