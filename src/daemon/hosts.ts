/** Where the API is served: one unix socket, and TCP only with certificates on both sides. */

import { isIP } from 'node:net';
import { type TlsFiles, shown } from '../base/index.ts';
import type { TcpOptions } from './server.ts';
import type { TcpHost } from './tcp.ts';

export const DEFAULT_SOCKET = '/run/patchbay/patchbay.sock';

interface HostValues {
  readonly host?: string | readonly string[] | undefined;
  readonly tlscacert?: string | undefined;
  readonly tlscert?: string | undefined;
  readonly tlskey?: string | undefined;
}

/** Reads `host` and its companions; what is wrong goes to `problems`. */
export function readHosts(values: HostValues, problems: string[]): { socket: string; tcp?: TcpOptions } {
  const sockets: string[] = [];
  const hosts: TcpHost[] = [];
  for (const url of [values.host ?? []].flat()) {
    const path = /^unix:\/\/(\/[^\0]+)$/.exec(url)?.[1];
    const tcp = parseTcp(url);
    if (path !== undefined) sockets.push(path);
    else if (tcp !== undefined) hosts.push(tcp);
    else problems.push(`--host ${shown(url)}: use unix:///PATH, or tcp://ADDRESS:PORT with an IP address`);
  }
  if (sockets.length > 1) problems.push(`--host: one unix socket is served, not ${sockets.join(' and ')}`);
  const tls = tlsFiles(values, hosts, problems);
  const socket = sockets[0] ?? DEFAULT_SOCKET;
  return tls === undefined || hosts.length === 0 ? { socket } : { socket, tcp: { hosts, tls } };
}

function parseTcp(url: string): TcpHost | undefined {
  const [, address = '', port = ''] = /^tcp:\/\/(.+):(\d{1,5})$/.exec(url) ?? [];
  const bare = address.startsWith('[') && address.endsWith(']') ? address.slice(1, -1) : address;
  const number = Number(port);
  return isIP(bare) === 0 || number < 1 || number > 65535 ? undefined : { address: bare, port: number };
}

function tlsFiles(values: HostValues, hosts: readonly TcpHost[], problems: string[]): TlsFiles | undefined {
  const { tlscacert: ca, tlscert: cert, tlskey: key } = values;
  const files = { tlscacert: ca, tlscert: cert, tlskey: key };
  const missing = Object.entries(files).flatMap(([flag, file]) => (file ? [] : [`--${flag}`]));
  if (hosts.length === 0) {
    if (missing.length < 3)
      problems.push('--tlscacert, --tlscert and --tlskey are for --host tcp://ADDRESS:PORT, and none is given');
    return undefined;
  }
  if (!ca || !cert || !key) {
    problems.push(
      `--host tcp://…: plain TCP is refused, since whoever reaches it could use this host's network; give ${missing.join(' and ')} too`,
    );
    return undefined;
  }
  return { ca, cert, key };
}
