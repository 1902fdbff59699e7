/** Checks what is asked of a service before anything is made. Pure. */

import { CnmError, quoted, shown } from '../../base/index.ts';
import type { HealthCheck, ServicePort, ServiceRecord } from '../records.ts';
import { checkEndpointName } from '../spec.ts';

/** A service as asked for; text as the user wrote it. */
export interface ServiceSpec {
  readonly name: string;
  /** Name, id or beginning of the id. */
  readonly network: string;
  /** `vip` or `dnsrr`; absent: `vip`. */
  readonly mode?: string;
  readonly aliases?: readonly string[];
  readonly ports?: readonly { readonly protocol?: string; readonly published: number; readonly target: number }[];
  readonly health?: HealthSpec;
  readonly labels?: Readonly<Record<string, string>>;
}

/** One of the first three; times in milliseconds, as the engine has them by default. */
export interface HealthSpec {
  readonly command?: string;
  /** `[:PORT]/PATH`. */
  readonly http?: string;
  readonly tcp?: number;
  readonly intervalMs?: number;
  readonly timeoutMs?: number;
  readonly retries?: number;
  readonly startPeriodMs?: number;
}

/** Before the name under which members are known one by one. */
export const TASKS = 'tasks.';

const DEFAULTS = { intervalMs: 30_000, timeoutMs: 30_000, retries: 3, startPeriodMs: 0 };
const DAY_MS = 24 * 3600 * 1000;
/** Least and most of each. A shorter interval would keep the daemon busy with nothing else. */
const LIMITS = {
  intervalMs: [100, DAY_MS],
  timeoutMs: [10, DAY_MS],
  retries: [1, 100],
  startPeriodMs: [0, DAY_MS],
} as const;
const WORDS = { intervalMs: 'interval', timeoutMs: 'timeout', retries: 'retries', startPeriodMs: 'start-period' } as const;
const MAX_PORTS = 100;
const MAX_ALIASES = 32;
/** Ports and aliases: each is claimed in one transaction of the cluster, which takes 128. */
const MAX_CLAIMS = 110;
const MAX_COMMAND = 4096;
const MAX_PATH = 1024;
/** Behind `tasks.` it must still be a name of DNS. */
const MAX_NAME = 253 - TASKS.length;
const HTTP_PORT = 80;

export type CheckedService = Pick<ServiceRecord, 'name' | 'mode' | 'aliases' | 'ports' | 'health' | 'labels'>;

/** Throws bad_name, bad_option, bad_port. */
export function checkService(spec: ServiceSpec): CheckedService {
  checkName(spec.name);
  const aliases = [...new Set((spec.aliases ?? []).map((name) => name.toLowerCase()))].filter(
    (name) => name !== spec.name.toLowerCase(),
  );
  if (aliases.length > MAX_ALIASES) throw new CnmError('bad_name', `over ${MAX_ALIASES} aliases`);
  for (const alias of aliases) checkName(alias);
  const mode = spec.mode === undefined || spec.mode === '' ? 'vip' : spec.mode;
  if (mode !== 'vip' && mode !== 'dnsrr') throw new CnmError('bad_option', `invalid mode ${shown(mode)}: use vip or dnsrr`);
  const ports = checkPorts(spec.ports ?? []);
  if (ports.length + aliases.length > MAX_CLAIMS)
    throw new CnmError('bad_port', `over ${MAX_CLAIMS} published ports and aliases together`);
  if (mode === 'dnsrr' && ports.length > 0)
    throw new CnmError(
      'bad_option',
      'a port published on all hosts needs mode vip: with dnsrr clients choose members by themselves',
    );
  const health = spec.health === undefined ? undefined : checkHealth(spec.health);
  return { name: spec.name, mode, aliases, ports, ...(health && { health }), labels: spec.labels ?? {} };
}

function checkName(name: string): void {
  checkEndpointName(name);
  if (name.length > MAX_NAME || name.toLowerCase().startsWith(TASKS))
    throw new CnmError(
      'bad_name',
      `invalid service name ${quoted(name)}: up to ${MAX_NAME} characters, not beginning with ${TASKS}`,
    );
}

function checkPorts(asked: NonNullable<ServiceSpec['ports']>): ServicePort[] {
  if (asked.length > MAX_PORTS) throw new CnmError('bad_port', `over ${MAX_PORTS} published ports`);
  const ports = asked.map(({ protocol = 'tcp', published, target }): ServicePort => {
    if (protocol !== 'tcp' && protocol !== 'udp')
      throw new CnmError('bad_port', `invalid protocol ${shown(protocol)} of a published port: use tcp or udp`);
    for (const port of [published, target])
      if (!isPort(port)) throw new CnmError('bad_port', `invalid port ${port}: all hosts publish the same one, use 1 to 65535`);
    return { protocol, published, target };
  });
  const keys = new Set(ports.map(({ protocol, published }) => `${published}/${protocol}`));
  if (keys.size < ports.length) throw new CnmError('bad_port', 'a port is published twice');
  return ports;
}

const isPort = (port: number): boolean => Number.isInteger(port) && port >= 1 && port <= 65_535;

function checkHealth(spec: HealthSpec): HealthCheck {
  const { command, http, tcp } = spec;
  const kinds = [command, http, tcp].filter((one) => one !== undefined);
  if (kinds.length !== 1) throw new CnmError('bad_option', 'a health check is one of a command, an HTTP path and a TCP port');
  const times = { ...DEFAULTS };
  for (const key of Object.keys(DEFAULTS) as (keyof typeof DEFAULTS)[]) {
    const value = spec[key] ?? DEFAULTS[key];
    const [least, most] = LIMITS[key];
    const unit = key === 'retries' ? '' : ' ms';
    if (!(Number.isInteger(value) && value >= least && value <= most))
      throw new CnmError('bad_option', `invalid health ${WORDS[key]} ${value}${unit}: use ${least} to ${most}${unit}`);
    times[key] = value;
  }
  return { probe: checkProbe(spec), ...times };
}

function checkProbe({ command, http, tcp }: HealthSpec): HealthCheck['probe'] {
  if (command !== undefined) {
    if (command.trim() === '' || command.length > MAX_COMMAND || command.includes('\0'))
      throw new CnmError('bad_option', `invalid health command: use 1 to ${MAX_COMMAND} characters`);
    return { kind: 'command', command };
  }
  if (http !== undefined) {
    const match = /^(?::(\d{1,5}))?(\/[\x21-\x7e]*)?$/.exec(http);
    const port = Number(match?.[1] ?? HTTP_PORT);
    if (match === null || http === '' || http.length > MAX_PATH || !isPort(port))
      throw new CnmError('bad_option', `invalid health path ${shown(http)}: use [:PORT]/PATH, such as :8080/healthy`);
    return { kind: 'http', port, path: match[2] ?? '/' };
  }
  if (tcp === undefined || !isPort(tcp)) throw new CnmError('bad_option', `invalid health port ${tcp}: use 1 to 65535`);
  return { kind: 'tcp', port: tcp };
}
