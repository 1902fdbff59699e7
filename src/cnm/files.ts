/**
 * The three files of a sandbox: hosts, resolv.conf, hostname (spec 01 §8, §9). They are bind-mounted by whoever runs in
 * the sandbox, hence edited in place, never replaced.
 */

import { closeSync, constants, existsSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Address, type Unread, errnoOf, makeOpenFolder, readBounded, shortId, writeOpenFile } from '../base/index.ts';
import {
  HOST_RESOLV_CONF,
  type ResolvConfAnswer,
  type ResolvConfRequest,
  buildResolvConf,
  resolvConfHash,
  upstreamFileFor,
} from '../dns/index.ts';
import type { Upstream } from '../keeper/index.ts';
import type { Cnm } from './context.ts';
import type { SandboxRecord } from './records.ts';

/** Largest file of a sandbox that is read, octets: processes inside write what they like. */
const MAX_FILE_OCTETS = 4 * 1024 * 1024;

export interface SandboxFiles {
  readonly folder: string;
  readonly hosts: string;
  readonly resolvConf: string;
  readonly hostname: string;
  readonly outputLog: string;
}

export function filesOf(cnm: { readonly runDir: string }, sandbox: Pick<SandboxRecord, 'id'>): SandboxFiles {
  const folder = join(cnm.runDir, 'sandboxes', shortId(sandbox.id));
  return {
    folder,
    hosts: join(folder, 'hosts'),
    resolvConf: join(folder, 'resolv.conf'),
    hostname: join(folder, 'hostname'),
    outputLog: join(folder, 'output.log'),
  };
}

/** Makes the folder and those files that are not there, as they are without any network. Undo: removeFiles. */
export function createFiles(cnm: Cnm, sandbox: SandboxRecord): void {
  const files = filesOf(cnm, sandbox);
  makeOpenFolder(files.folder);
  const base = sandbox.mode === 'host' && sandbox.extraHosts.length === 0 ? readText('/etc/hosts') : HOSTS_HEAD;
  const extra = sandbox.extraHosts.map(({ name, address }) => `${address}\t${name}\n`).join('');
  writeAbsent(files.hosts, base + extra);
  writeAbsent(files.hostname, `${sandbox.hostname}\n`);
  writeAbsent(files.outputLog, '', 0o640);
  if (existsSync(files.resolvConf)) return;
  rmSync(`${files.resolvConf}.hash`, { force: true });
  writeResolvConf(cnm, sandbox, built(cnm, sandbox, resolvConfMode(sandbox)));
}

function resolvConfMode(sandbox: SandboxRecord): ResolvConfRequest['mode'] {
  if (sandbox.mode === 'host') return 'host';
  return sandbox.resolver === undefined ? 'legacy' : 'internal';
}

function writeAbsent(path: string, text: string, mode?: number): void {
  if (!existsSync(path)) writeOpenFile(path, text, mode);
}

export function removeFiles(cnm: Cnm, sandbox: SandboxRecord): void {
  rmSync(filesOf(cnm, sandbox).folder, { recursive: true, force: true });
}

const HOSTS_HEAD = [
  '127.0.0.1\tlocalhost',
  '::1\tlocalhost ip6-localhost ip6-loopback',
  'fe00::\tip6-localnet',
  'ff00::\tip6-mcastprefix',
  'ff02::1\tip6-allnodes',
  'ff02::2\tip6-allrouters',
  '',
].join('\n');

/** `IP<TAB>hostname[.domain] [shortname]`. */
export function hostLine(address: Address, hostname: string): string {
  const dot = hostname.indexOf('.');
  return dot > 0 ? `${address}\t${hostname} ${hostname.slice(0, dot)}` : `${address}\t${hostname}`;
}

/** Appends lines that are not there yet. */
export function addHostLines(cnm: Cnm, sandbox: SandboxRecord, lines: readonly string[]): void {
  editHosts(cnm, sandbox, (present) => [...present, ...lines.filter((line) => !present.includes(line))]);
}

/** Removes exactly these lines; what a user wrote stays. */
export function removeHostLines(cnm: Cnm, sandbox: SandboxRecord, lines: readonly string[]): void {
  editHosts(cnm, sandbox, (present) => present.filter((line) => !lines.includes(line)));
}

function editHosts(cnm: Cnm, sandbox: SandboxRecord, edit: (lines: string[]) => string[]): void {
  const { hosts } = filesOf(cnm, sandbox);
  const found = readTheirs(hosts);
  if (found === 'absent') return;
  if (typeof found === 'string') {
    cnm.env.log.warn({ path: hosts }, 'a hosts file is larger than 4 MiB or no file: lines of networks are not kept in it');
    return;
  }
  const lines = found.text.split('\n').filter((line) => line !== '');
  const wanted = `${edit(lines).join('\n')}\n`;
  if (wanted !== found.text) writePresent(hosts, wanted);
}

/** Writes a file in place if it is still there; one that is made anew has more in it than this, see createFiles. */
function writePresent(path: string, text: string): void {
  const fd = unlessAbsent(() => openSync(path, constants.O_WRONLY | constants.O_TRUNC));
  if (fd === undefined) return;
  try {
    writeFileSync(fd, text);
  } finally {
    closeSync(fd);
  }
}

/** Whom the sandbox's resolver asks: its own servers, else the daemon's, else the host's. */
export const upstreamsOf = (cnm: Cnm, sandbox: SandboxRecord): readonly Upstream[] => built(cnm, sandbox, 'internal').upstreams;

/** resolv.conf for a sandbox whose resolver runs. */
export function writeResolverResolvConf(cnm: Cnm, sandbox: SandboxRecord): void {
  writeResolvConf(cnm, sandbox, built(cnm, sandbox, 'internal'));
}

/** Whether resolv.conf sends the sandbox to its resolver. */
export function namesResolver(cnm: Cnm, sandbox: SandboxRecord): boolean {
  const found = readTheirs(filesOf(cnm, sandbox).resolvConf);
  return typeof found !== 'string' && /^nameserver 127\.0\.0\.11$/m.test(found.text);
}

/** resolv.conf with the servers written out, as before the resolver. */
export function writeLegacyResolvConf(cnm: Cnm, sandbox: SandboxRecord): void {
  writeResolvConf(cnm, sandbox, built(cnm, sandbox, 'legacy'));
}

function built(cnm: Cnm, sandbox: SandboxRecord, mode: ResolvConfRequest['mode']): ResolvConfAnswer {
  const path = upstreamFileFor(readText(HOST_RESOLV_CONF));
  return buildResolvConf({
    mode,
    path,
    text: readText(path),
    overrides: {
      nameservers: sandbox.dns.length > 0 ? sandbox.dns : cnm.dns,
      search: sandbox.dnsSearch,
      options: sandbox.dnsOptions,
    },
    ipv6: true,
  });
}

/** A file whose content is not what we wrote last belongs to the user and is left alone (spec R8). */
function writeResolvConf(cnm: Cnm, sandbox: SandboxRecord, { text }: ResolvConfAnswer): void {
  const { resolvConf } = filesOf(cnm, sandbox);
  const hashFile = `${resolvConf}.hash`;
  const current = readTheirs(resolvConf);
  const written = readText(hashFile);
  if (written !== '' && (typeof current === 'string' || resolvConfHash(current.text) !== written)) return;
  writeOpenFile(resolvConf, text);
  writeOpenFile(hashFile, resolvConfHash(text));
}

/** A file of a sandbox, or why it cannot be what we wrote. Looked at once: it may go, or come, at any moment. */
function readTheirs(path: string): { readonly text: string } | 'absent' | Unread {
  const found = unlessAbsent(() => readBounded(path, MAX_FILE_OCTETS)) ?? 'absent';
  return typeof found === 'string' ? found : { text: found.toString('utf8') };
}

const readText = (path: string): string => unlessAbsent(() => readFileSync(path, 'utf8')) ?? '';

/** What `work` finds in a file; undefined where the file is not there. */
function unlessAbsent<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}
