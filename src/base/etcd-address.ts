/** Where a cluster is, as people write it: `etcd://h1:2379,h2:2379[,prefix=/p][,ca=FILE][,cert=FILE][,key=FILE]`. Pure. */

import { isIP } from 'node:net';
import { CnmError } from './errors.ts';

export interface EtcdAddress {
  /** `host:port`, `[v6]:port`, or the absolute path of a unix socket. */
  readonly members: readonly string[];
  /** Before every key; ends with a slash. */
  readonly prefix: string;
  readonly tls?: { readonly ca?: string; readonly cert?: string; readonly key?: string };
}

const SCHEME = 'etcd://';
const DEFAULT_PORT = 2379;
const DEFAULT_PREFIX = '/patchbay/';
const FORM = 'etcd://HOST:PORT,HOST:PORT[,prefix=/PATH][,ca=FILE][,cert=FILE,key=FILE]';
const HOST = /^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/i;

/** Throws bad_request. */
export function parseEtcdAddress(text: string): EtcdAddress {
  const refuse = (why: string): never => {
    throw new CnmError('bad_request', `cluster ${JSON.stringify(text)}: ${why}; the form is ${FORM}`);
  };
  if (!text.startsWith(SCHEME)) return refuse(`it does not begin with ${SCHEME}`);
  const members: string[] = [];
  const settings = new Map<string, string>();
  for (const part of text.slice(SCHEME.length).split(',')) {
    const [, name, value] = /^([a-z]+)=(.*)$/.exec(part) ?? [];
    if (name === undefined || value === undefined) members.push(memberOf(part) ?? refuse(`${JSON.stringify(part)} is no member`));
    else if (settings.has(name)) return refuse(`${name} is given twice`);
    else settings.set(name, value);
  }
  if (members.length === 0) return refuse('it names no member');
  if (new Set(members).size < members.length) return refuse('it names a member twice');
  const prefix = settings.get('prefix') ?? DEFAULT_PREFIX;
  if (!/^(\/[\w.-]+)+\/?$/.test(prefix)) return refuse(`prefix ${JSON.stringify(prefix)} is no path such as /patchbay`);
  const files = { ca: settings.get('ca'), cert: settings.get('cert'), key: settings.get('key') };
  for (const name of settings.keys()) if (name !== 'prefix' && !(name in files)) return refuse(`${name} is no setting`);
  for (const [name, path] of Object.entries(files))
    if (path !== undefined && !path.startsWith('/')) return refuse(`${name} is no absolute path`);
  if ((files.cert === undefined) !== (files.key === undefined)) return refuse('cert and key go together');
  const { ca, cert, key } = files;
  const isSecured = ca !== undefined || cert !== undefined;
  return {
    members,
    prefix: prefix.endsWith('/') ? prefix : `${prefix}/`,
    ...(isSecured && {
      tls: { ...(ca !== undefined && { ca }), ...(cert !== undefined && { cert }), ...(key !== undefined && { key }) },
    }),
  };
}

function memberOf(text: string): string | undefined {
  if (text.startsWith('/')) return text;
  const [, v6, host = '', port] = /^(?:\[([^\]]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(text) ?? [];
  const number = port === undefined ? DEFAULT_PORT : Number(port);
  if (number < 1 || number > 65_535) return undefined;
  if (v6 !== undefined) return isIP(v6) === 6 ? `[${v6}]:${number}` : undefined;
  return HOST.test(host) ? `${host}:${number}` : undefined;
}
