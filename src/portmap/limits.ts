/** Which host ports may be chosen when none is named: parses two files of /proc/sys/net/ipv4, which the caller reads. */

import type { PortRange } from '../base/index.ts';

/** What stands in when the file cannot be read or makes no sense. */
const FALLBACK: PortRange = { from: 49153, to: 65535 };

/** Parses the text of ip_local_port_range. */
export function parseEphemeralRange(text: string | undefined): PortRange {
  const match = /^\s*(\d{1,5})\s+(\d{1,5})\s*$/.exec(text ?? '');
  const from = Number(match?.[1]);
  const to = Number(match?.[2]);
  return match !== null && from >= 1 && from <= to && to <= 65535 ? { from, to } : FALLBACK;
}

/** Parses the text of ip_local_reserved_ports, such as `8080,9148-9150`. */
export function parseReservedPorts(text: string | undefined): ReadonlySet<number> {
  const ports = new Set<number>();
  for (const part of (text ?? '').trim().split(',')) {
    const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(part);
    if (match === null) continue;
    const last = Math.min(Number(match[2] ?? match[1]), 65535);
    for (let port = Number(match[1]); port <= last; port++) ports.add(port);
  }
  return ports;
}
