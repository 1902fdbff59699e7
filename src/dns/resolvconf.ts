/** resolv.conf: parsing and the file that a sandbox gets (spec 01 §9). Pure; reading and writing files is the caller's. */

import { createHash } from 'node:crypto';
import { CnmError, RESOLVER_ADDRESS, familyOf, isLoopback, tryAddress, unmapped, type Address } from '../base/index.ts';
import type { Upstream } from './upstream.ts';

export const HOST_RESOLV_CONF = '/etc/resolv.conf';
/** What systemd-resolved knows behind its stub. */
export const RESOLVED_RESOLV_CONF = '/run/systemd/resolve/resolv.conf';

const STUB_ADDRESS = '127.0.0.53';
const FALLBACK_SERVERS: Readonly<Record<4 | 6, readonly Address[]>> = {
  4: ['8.8.8.8', '8.8.4.4'] as Address[],
  6: ['2001:4860:4860::8888', '2001:4860:4860::8844'] as Address[],
};

export interface ResolvConf {
  readonly nameservers: readonly Address[];
  /** Texts after `nameserver` that are no address. */
  readonly invalid: readonly string[];
  readonly search: readonly string[];
  readonly options: readonly string[];
  /** Lines of other kinds, kept as they are. */
  readonly other: readonly string[];
}

/** Last `search` or `domain` wins, `options` accumulate, comments are dropped. Never throws. */
export function parseResolvConf(text: string): ResolvConf {
  const nameservers: Address[] = [];
  const invalid: string[] = [];
  const options: string[] = [];
  const other: string[] = [];
  let search: readonly string[] = [];
  for (const raw of text.split('\n')) {
    const line = raw.trim();
    if (line === '' || line.startsWith('#') || line.startsWith(';')) continue;
    const [keyword, ...words] = line.split(/\s+/);
    if (keyword === 'nameserver') {
      const address = tryAddress(words[0] ?? '');
      if (address === undefined) invalid.push(words[0] ?? '');
      else nameservers.push(address);
    } else if (keyword === 'search' || keyword === 'domain') search = keyword === 'domain' ? words.slice(0, 1) : words;
    else if (keyword === 'options') options.push(...words);
    else other.push(line);
  }
  return { nameservers, invalid, search: withoutRoot(search), options, other };
}

/** `.` in a search list stands for none. */
const withoutRoot = (search: readonly string[]): readonly string[] => search.filter((domain) => domain !== '.');

/** Which file holds the host's real servers: resolved's own list when the host's file names only the stub. */
export function upstreamFileFor(hostText: string): string {
  const { nameservers } = parseResolvConf(hostText);
  return nameservers.length === 1 && nameservers[0] === STUB_ADDRESS ? RESOLVED_RESOLV_CONF : HOST_RESOLV_CONF;
}

/** Values of `--dns`, `--dns-search`, `--dns-option`; an empty or absent list leaves the host's. */
export interface ResolvConfOverrides {
  readonly nameservers?: readonly Address[];
  /** `['.']` removes the search list. */
  readonly search?: readonly string[];
  readonly options?: readonly string[];
}

export interface ResolvConfRequest {
  /** `legacy`: servers are written out, as on the default network; `internal`: the resolver is in between; `host`: a copy. */
  readonly mode: 'legacy' | 'internal' | 'host';
  /** File that `text` came from, named in a comment. */
  readonly path: string;
  /** Content of the host's file; '' when there is none. */
  readonly text: string;
  readonly overrides: ResolvConfOverrides;
  /** Legacy: IPv6 servers are kept, and are among the fallbacks. */
  readonly ipv6: boolean;
}

export interface ResolvConfAnswer {
  readonly text: string;
  /** Mode internal: whom the resolver asks, in order. Empty otherwise. */
  readonly upstreams: readonly Upstream[];
}

type Source = 'host' | 'override' | 'internal';

/** The file's content and whom the resolver asks. Throws bad_option for an override that is not one word. */
export function buildResolvConf(request: ResolvConfRequest): ResolvConfAnswer {
  for (const word of [...(request.overrides.search ?? []), ...(request.overrides.options ?? [])]) {
    if (!/^\S+$/.test(word)) throw new CnmError('bad_option', `invalid resolver setting: ${JSON.stringify(word)}`);
  }
  const host = parseResolvConf(request.text);
  const given = <T>(list: readonly T[] | undefined): readonly T[] | undefined => (list?.length ? list : undefined);
  const nameservers = given(request.overrides.nameservers);
  const search = given(request.overrides.search);
  const options = given(request.overrides.options);
  const merged: ResolvConf = {
    nameservers: nameservers ?? host.nameservers,
    invalid: nameservers === undefined ? host.invalid : [],
    search: search === undefined ? host.search : withoutRoot(search),
    options: options ?? host.options,
    other: host.other,
  };
  const overridden = [nameservers && 'nameservers', search && 'search', options && 'options'].filter(
    (name) => name !== undefined,
  );
  const optionSource: Source = options === undefined ? 'host' : 'override';
  const page = { request, overridden };
  if (request.mode === 'internal') return internal(page, merged, nameservers === undefined ? 'host' : 'sandbox', optionSource);
  if (request.mode === 'host' || nameservers !== undefined) return plain(page, merged, optionSource, []);
  return legacy(page, merged, optionSource);
}

interface Page {
  readonly request: ResolvConfRequest;
  readonly overridden: readonly string[];
}

const isNdots = (option: string): boolean => option === 'ndots' || option.startsWith('ndots:');
const isSoundNdots = (option: string): boolean => /^ndots:\d+$/.test(option);

function internal(page: Page, conf: ResolvConf, at: Upstream['at'], optionSource: Source): ResolvConfAnswer {
  // Our own address would be asked from where it is us: a loop. Asked from the host it is somebody else.
  const upstreams = conf.nameservers
    .filter((address) => at === 'host' || (unmapped(address) ?? address) !== RESOLVER_ADDRESS)
    .map((address) => ({ address, at }));
  const sound = conf.options.filter((option) => !isNdots(option) || isSoundNdots(option));
  const hasNdots = sound.some(isNdots);
  const options = hasNdots ? sound : [...sound, 'ndots:0'];
  const shown = upstreams.map(({ address }) => (at === 'host' ? `host(${address})` : address));
  const notes = [`# ExtServers: [${shown.join(' ')}]`];
  const text = render(page, { ...conf, nameservers: [RESOLVER_ADDRESS], options }, notes, hasNdots ? optionSource : 'internal');
  return { text, upstreams };
}

function legacy(page: Page, conf: ResolvConf, optionSource: Source): ResolvConfAnswer {
  const { ipv6 } = page.request;
  const usable = conf.nameservers.filter((address) => !isLoopback(address) && (ipv6 || familyOf(address) === 4));
  if (usable.length > 0) return plain(page, { ...conf, nameservers: usable }, optionSource, []);
  const nameservers = [...FALLBACK_SERVERS[4], ...(ipv6 ? FALLBACK_SERVERS[6] : [])];
  return plain(page, { ...conf, nameservers }, optionSource, [
    '# No usable name server in the host file: public servers are used.',
  ]);
}

function plain(page: Page, conf: ResolvConf, optionSource: Source, notes: readonly string[]): ResolvConfAnswer {
  return { text: render(page, conf, notes, conf.options.some(isNdots) ? optionSource : undefined), upstreams: [] };
}

const MODE_NAME = { legacy: ' (legacy)', internal: ' (internal resolver)', host: '' } as const;

function render(page: Page, conf: ResolvConf, notes: readonly string[], ndotsFrom: Source | undefined): string {
  const lines = [
    '# Written by Patchbay.',
    '# You may edit this file: once its content differs, Patchbay leaves it',
    '# alone.',
    '',
    ...conf.nameservers.map((address) => `nameserver ${address}`),
    ...(conf.search.length > 0 ? [`search ${conf.search.join(' ')}`] : []),
    ...(conf.options.length > 0 ? [`options ${conf.options.join(' ')}`] : []),
    ...conf.other,
    '',
    `# Based on host file: '${page.request.path}'${MODE_NAME[page.request.mode]}`,
    ...notes,
    ...(conf.invalid.length > 0 ? [`# Invalid nameservers: [${conf.invalid.join(' ')}]`] : []),
    `# Overrides: [${page.overridden.join(' ')}]`,
    ...(ndotsFrom === undefined ? [] : [`# Option ndots from: ${ndotsFrom}`]),
  ];
  return `${lines.join('\n')}\n`;
}

/** Fingerprint kept beside the file: a different one later means that the user wrote it (spec R8). */
export const resolvConfHash = (text: string): string => `sha256:${createHash('sha256').update(text).digest('hex')}`;
