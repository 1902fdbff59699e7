/** Where a plugin is to be found: a socket, or a file that says where (spec 03 §1). Looked for anew each time; nothing is kept. */

import { readFile, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { z } from 'zod';
import { CnmError, errnoOf, messageOf, parseWith, quoted } from '../../src/base/index.ts';

/** Longest file that says where a plugin is, octets. */
const MAX_FILE = 64 * 1024;

/** Certificates as their files hold them. */
export interface PluginTls {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly isVerified: boolean;
}

export type PluginPlace =
  | { readonly socketPath: string }
  | { readonly host: string; readonly port: number; readonly tls?: PluginTls };

export interface FoundPlugin {
  /** The file that led to it. */
  readonly path: string;
  readonly place: PluginPlace;
  /** Another one: a socket made anew, hence a plugin that was started anew. */
  readonly era: string;
}

const specSchema = z.object({
  Addr: z.string(),
  TLSConfig: z
    .object({
      InsecureSkipVerify: z.boolean().nullish(),
      CAFile: z.string().nullish(),
      CertFile: z.string().nullish(),
      KeyFile: z.string().nullish(),
    })
    .nullish(),
});

/** What a file can be called everywhere: no slash, no dots alone, nothing that is not seen. */
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$/;

export const isPluginName = (name: string): boolean => NAME.test(name);

export class Discovery {
  readonly #folders: readonly string[];
  readonly #own: string | undefined;

  /** `own`: folder of the sockets that this daemon itself serves; it is no plugin of its own. */
  constructor(folders: readonly string[], own?: string) {
    this.#folders = folders;
    this.#own = own;
  }

  /** Sockets come first, then files. Throws plugin_failed for a file that cannot be understood, no_driver for ourselves. */
  async find(name: string): Promise<FoundPlugin | undefined> {
    if (!isPluginName(name)) return undefined;
    for (const path of this.#candidates(name, ['sock'])) {
      const found = await socketAt(path);
      if (found === undefined) continue;
      this.#refuseOwn(name, path);
      return found;
    }
    for (const path of this.#candidates(name, ['spec', 'json'])) {
      const text = await textAt(path);
      if (text === undefined) continue;
      return await (path.endsWith('.spec') ? foundAt(path, text.trim(), undefined) : fromJson(path, text));
    }
    return undefined;
  }

  /** Where it is looked for, in words. */
  get where(): string {
    return this.#folders.join(', ') || 'no folder (--plugin-path none)';
  }

  #candidates(name: string, extensions: readonly string[]): string[] {
    return this.#folders.flatMap((folder) =>
      extensions.flatMap((extension) => [join(folder, `${name}.${extension}`), join(folder, name, `${name}.${extension}`)]),
    );
  }

  #refuseOwn(name: string, path: string): void {
    if (this.#own === undefined || resolve(dirname(path)) !== resolve(this.#own) || !name.startsWith('patchbay-')) return;
    throw new CnmError(
      'no_driver',
      `plugin ${quoted(name)} is this daemon itself: use ${quoted(name.slice('patchbay-'.length))}`,
    );
  }
}

/** Undefined for what is no socket, such as a file or a link that leads nowhere. */
async function socketAt(path: string): Promise<FoundPlugin | undefined> {
  try {
    const found = await stat(path, { bigint: true });
    return found.isSocket()
      ? { path, place: { socketPath: path }, era: `${found.dev}:${found.ino}:${found.ctimeNs}` }
      : undefined;
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw new CnmError('plugin_failed', `${path}: ${messageOf(error)}`, { cause: error });
  }
}

const isAbsent = (error: unknown): boolean => ['ENOENT', 'ENOTDIR', 'ELOOP'].includes(errnoOf(error) ?? '');

async function textAt(path: string): Promise<string | undefined> {
  try {
    const found = await stat(path);
    if (!found.isFile()) return undefined;
    if (found.size > MAX_FILE) throw new CnmError('plugin_failed', `${path} is longer than ${MAX_FILE} octets`);
    return await readFile(path, 'utf8');
  } catch (error) {
    if (isAbsent(error)) return undefined;
    if (error instanceof CnmError) throw error;
    throw new CnmError('plugin_failed', `${path}: ${messageOf(error)}`, { cause: error });
  }
}

async function fromJson(path: string, text: string): Promise<FoundPlugin> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new CnmError('plugin_failed', `${path} is not JSON: ${messageOf(error)}`);
  }
  const { Addr, TLSConfig } = parseWith(specSchema, value, path, 'plugin_failed');
  if (!TLSConfig) return foundAt(path, Addr, undefined);
  const { CAFile, CertFile, KeyFile, InsecureSkipVerify } = TLSConfig;
  const [ca, cert, key] = await Promise.all([CAFile, CertFile, KeyFile].map((file) => pemAt(path, file)));
  return foundAt(path, Addr, {
    ...(ca !== undefined && { ca }),
    ...(cert !== undefined && { cert }),
    ...(key !== undefined && { key }),
    // Without an authority nobody could be verified (spec 03 D4).
    isVerified: ca !== undefined && InsecureSkipVerify !== true,
  });
}

async function pemAt(path: string, file: string | null | undefined): Promise<string | undefined> {
  if (!file) return undefined;
  const text = await textAt(file);
  if (text === undefined) throw new CnmError('plugin_failed', `${path} names ${quoted(file)}, which is not there`);
  return text;
}

async function foundAt(path: string, text: string, tls: PluginTls | undefined): Promise<FoundPlugin> {
  const refuse = (why: string): never => {
    throw new CnmError('plugin_failed', `${path}: ${why}; use unix:///PATH, tcp://HOST:PORT, http:// or https://`);
  };
  const [, scheme] = /^([a-z]+):\/\/./.exec(text) ?? [];
  if (scheme === undefined || !['unix', 'tcp', 'http', 'https'].includes(scheme)) {
    return refuse(`unknown protocol in ${quoted(text)}`);
  }
  if (scheme === 'unix') {
    const socketPath = text.slice('unix://'.length);
    if (!socketPath.startsWith('/')) return refuse(`${quoted(text)} has no absolute path`);
    return { path, place: { socketPath }, era: (await socketAt(socketPath))?.era ?? 'absent' };
  }
  let url: URL;
  try {
    url = new URL(text.replace(/^tcp:/, 'http:'));
  } catch {
    return refuse(`${quoted(text)} is not a URL`);
  }
  if (scheme === 'tcp' && !/:\d+\/?$/.test(text)) return refuse(`${quoted(text)} has no port`);
  // Whoever gives certificates means them to be used.
  const secure = scheme === 'https' || tls !== undefined;
  return {
    path,
    place: {
      host: url.hostname.replace(/^\[(.*)\]$/, '$1'),
      port: Number(url.port) || (scheme === 'https' ? 443 : 80),
      ...(secure && { tls: tls ?? { isVerified: true } }),
    },
    era: `at ${text}`,
  };
}
