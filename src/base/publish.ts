/**
 * The publish grammar `[hostIP:][hostPort[-end]:]containerPort[-end][/proto]`, split into the Engine API's form. It loads
 * nothing but errors, so that the command line can afford it; what the API form means is portmap/spec.ts.
 */

import { BlockList, isIP } from 'node:net';
import { CnmError } from './errors.ts';
import { shown } from './shown.ts';

/** First and last port, both included. */
export interface PortRange {
  readonly from: number;
  readonly to: number;
}

/** `{"80/tcp": [{HostIp, HostPort}]}`; an empty HostPort lets the daemon choose. */
export type PublishBindings = Record<string, { HostIp: string; HostPort: string }[]>;

/** Collects what is wrong, in words. */
export type Report = (problem: string) => void;

/** Splits the values of `--publish`. Throws bad_port with every problem of every value. */
export function splitPublish(texts: readonly string[]): PublishBindings {
  const bindings: PublishBindings = {};
  const problems: string[] = [];
  for (const text of texts) {
    const report: Report = (problem) => void problems.push(problem);
    const add = (key: string, HostIp: string, HostPort: string): void => void (bindings[key] ??= []).push({ HostIp, HostPort });
    if (/^\w+=/.test(text)) splitLong(text, add, report);
    else splitShort(text, add, report);
  }
  if (problems.length > 0) throw new CnmError('bad_port', problems.join('; '));
  return bindings;
}

type Add = (key: string, hostIp: string, hostPort: string) => void;

function splitShort(text: string, add: Add, report: Report): void {
  const parts = text.split(':');
  const container = parts.pop() ?? '';
  const host = parts.pop() ?? '';
  // From the right, so that an IPv6 address needs no brackets.
  const joined = parts.join(':');
  const address = joined.startsWith('[') && joined.endsWith(']') ? joined.slice(1, -1) : joined;
  const slash = container.indexOf('/');
  const ports = slash < 0 ? container : container.slice(0, slash);
  if (ports === '') return report(`no port specified: ${shown(text)}<empty>`);
  splitRanges({ address, host, ports, protocol: slash < 0 ? 'tcp' : container.slice(slash + 1) || 'tcp' }, add, report);
}

function splitLong(text: string, add: Add, report: Report): void {
  const fields = new Map<string, string>();
  for (const part of text.split(',')) {
    const [key = '', value] = part.split('=', 2);
    if (value === undefined || !['published', 'target', 'protocol', 'mode'].includes(key)) {
      return report(`invalid field ${JSON.stringify(part)}, expected published=, target=, protocol= or mode=`);
    }
    fields.set(key, value);
  }
  const mode = fields.get('mode') ?? 'ingress';
  if (mode !== 'ingress' && mode !== 'host')
    return report(`invalid publish mode ${JSON.stringify(mode)}, expected ingress or host`);
  const ports = fields.get('target') ?? '';
  if (ports === '') return report(`no port specified: ${text} has no target`);
  splitRanges(
    { address: '', host: fields.get('published') ?? '', ports, protocol: fields.get('protocol') ?? 'tcp' },
    add,
    report,
  );
}

interface Pieces {
  readonly address: string;
  readonly host: string;
  readonly ports: string;
  readonly protocol: string;
}

function splitRanges(pieces: Pieces, add: Add, report: Report): void {
  const protocol = checkProtocol(pieces.protocol, report);
  checkHostIp(pieces.address, report);
  const container = parsePorts(pieces.ports, 'containerPort', report);
  const isChosen = pieces.host === '' || pieces.host === '0';
  const host = isChosen ? undefined : parsePorts(pieces.host, 'hostPort', report);
  if (protocol === undefined || container === undefined || (host === undefined && !isChosen)) return;

  const count = container.to - container.from + 1;
  if (host !== undefined && count > 1 && host.to - host.from + 1 !== count) {
    return report(`invalid ranges specified for container and host Ports: ${pieces.ports} and ${pieces.host}`);
  }
  for (let i = 0; i < count; i++) {
    const hostPort = host === undefined ? '' : count > 1 ? String(host.from + i) : pieces.host;
    add(`${container.from + i}/${protocol}`, pieces.address, hostPort);
  }
}

/** `tcp` or `udp`, in lower case; reports anything else. */
export function checkProtocol(text: string, report: Report): 'tcp' | 'udp' | undefined {
  const protocol = text.toLowerCase();
  if (protocol === 'tcp' || protocol === 'udp') return protocol;
  report(
    protocol === 'sctp' ? 'protocol sctp is not supported yet, use tcp or udp' : `invalid proto: ${shown(text)}, use tcp or udp`,
  );
  return undefined;
}

/** Multicast of both families and the broadcast of all networks: no host has these, though the kernel lets a socket bind to them. */
const NOBODYS = new BlockList();
NOBODYS.addSubnet('224.0.0.0', 4);
NOBODYS.addAddress('255.255.255.255');
NOBODYS.addSubnet('ff00::', 8, 'ipv6');

const LINKS = new BlockList();
LINKS.addSubnet('fe80::', 10, 'ipv6');

/** Reports what is neither empty nor one plain address that a host can have. */
export function checkHostIp(text: string, report: Report): void {
  if (text === '') return;
  const family = isIP(text);
  if (family === 0 || text.includes('%')) report(`invalid IP address: ${shown(text)}; use one such as 127.0.0.1 or ::1`);
  else if (NOBODYS.check(text, family === 4 ? 'ipv4' : 'ipv6'))
    report(`invalid IP address: ${text} is no host's own: use an address of the host, or none for all of them`);
  else if (LINKS.check(text, family === 4 ? 'ipv4' : 'ipv6'))
    report(
      `invalid IP address: ${text} is one of each link, and none is named: use another address of the host, or none for all of them`,
    );
}

/** Parses `80` or `80-90`, 1 to 65535; reports anything else, naming `what`. */
export function parsePorts(text: string, what: 'containerPort' | 'hostPort', report: Report): PortRange | undefined {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text);
  const from = Number(match?.[1]);
  const to = Number(match?.[2] ?? match?.[1]);
  if (match !== null && from >= 1 && from <= to && to <= 65535) return { from, to };
  report(`invalid ${what}: ${shown(text)}; use 1 to 65535, or a range such as 80-90`);
  return undefined;
}
