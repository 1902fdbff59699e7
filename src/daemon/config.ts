/** Flags and configuration file of the daemon, to one checked value. A flag and a key that disagree are refused. */

import { isAbsolute } from 'node:path';
import { Command, CommanderError, Option } from 'commander';
import { z } from 'zod';
import { type Address, CnmError, harmless, messageOf, parseNameserver, parseWith, quoted, shown } from '../base/index.ts';
import { type ClusterConfig, readCluster } from './cluster.ts';
import { readConfigFile } from './config-file.ts';
import { readHosts } from './hosts.ts';
import { LOG_LEVELS, type LogLevel } from './log.ts';
import type { TcpOptions } from './server.ts';
import { PRODUCT_VERSION } from './system.ts';

export interface DaemonConfig {
  /** Path of the API socket. */
  readonly socket: string;
  /** Further listeners, with certificates on both sides. */
  readonly tcp?: TcpOptions;
  readonly stateDir: string;
  readonly runDir: string;
  readonly pluginDir: string;
  /** Folders where plugins of others are looked for. */
  readonly pluginPath: readonly string[];
  /** Time for an answer of such a plugin, milliseconds. */
  readonly pluginTimeoutMs: number;
  /** Paths of the API sockets of engines that use the plugins; empty: none is asked what it has. */
  readonly engines: readonly string[];
  /** Absent: this host is alone. */
  readonly cluster?: ClusterConfig;
  readonly firewall: 'iptables' | 'nftables';
  /** What shares out connections to services. */
  readonly serviceBalancer: 'nft' | 'ipvs';
  /** `base=…,size=…` each; empty: the built-in pools. */
  readonly pools: readonly string[];
  readonly bridge: { readonly kind: 'auto' } | { readonly kind: 'adopt'; readonly name: string } | { readonly kind: 'none' };
  readonly group?: string;
  readonly dns: readonly Address[];
  readonly logLevel: LogLevel;
}

const DEFAULT_CONFIG_FILE = '/etc/patchbay/config.json';

/** Of flags that may repeat. Without words of our own the library says only that it is wrong. */
const textOrTexts = z.union([z.string(), z.array(z.string())], { error: 'expected string, or array of strings' });

const fileShape = {
  host: textOrTexts.optional(),
  tlscacert: z.string().optional(),
  tlscert: z.string().optional(),
  tlskey: z.string().optional(),
  'state-dir': z.string().optional(),
  'run-dir': z.string().optional(),
  'plugin-dir': z.string().optional(),
  'plugin-path': textOrTexts.optional(),
  'plugin-timeout': z.string().optional(),
  engine: textOrTexts.optional(),
  cluster: z.string().optional(),
  'node-name': z.string().optional(),
  advertise: z.string().optional(),
  'node-lease': z.string().optional(),
  'data-path-port': z.string().optional(),
  firewall: z.string().optional(),
  'service-balancer': z.string().optional(),
  'default-address-pool': z.array(z.string()).optional(),
  bridge: z.string().optional(),
  group: z.string().optional(),
  dns: z.array(z.string()).optional(),
  'log-level': z.string().optional(),
};
const fileSchema = z.strictObject(fileShape, {
  error: (issue) =>
    issue.code === 'unrecognized_keys'
      ? `unknown key ${issue.keys.map(quoted).join(', ')}: use ${Object.keys(fileShape).join(', ')}`
      : undefined,
});
type Values = z.infer<typeof fileSchema>;

/** Where engines look for plugins. */
const PLUGIN_PATH = ['/run/docker/plugins', '/etc/docker/plugins', '/usr/lib/docker/plugins'] as const;
/** Bounds of a plugin's time for an answer, seconds. */
const PLUGIN_SECONDS = { least: 1, most: 600 };

const DEFAULTS = {
  host: 'unix:///run/patchbay/patchbay.sock',
  'state-dir': '/var/lib/patchbay',
  'run-dir': '/run/patchbay',
  'plugin-dir': '/run/docker/plugins',
  'plugin-timeout': '20',
  engine: 'unix:///run/docker.sock',
  firewall: 'iptables',
  'service-balancer': 'nft',
  'log-level': 'info',
} as const;

/** Values once the defaults are in: no key of DEFAULTS is missing. */
type Settled = Values & { readonly [key in Exclude<keyof typeof DEFAULTS, 'host' | 'engine'>]: string };

const collect = (value: string, all: string[] | undefined): string[] => [...(all ?? []), value];

function command(): Command {
  return new Command('patchbayd')
    .description('The Patchbay network daemon')
    .version(PRODUCT_VERSION)
    .addOption(
      new Option(
        '--config <file>',
        `configuration file, its keys are the long flags (default ${DEFAULT_CONFIG_FILE} where it exists)`,
      ),
    )
    .addOption(
      new Option('--host <url>', `API socket (default ${DEFAULTS.host}); may repeat: tcp://ADDRESS:PORT beside it`).argParser(
        collect,
      ),
    )
    .addOption(new Option('--tlscacert <file>', 'authority that signs the certificates of clients, for tcp://'))
    .addOption(new Option('--tlscert <file>', 'certificate of the daemon, for tcp://'))
    .addOption(new Option('--tlskey <file>', 'its key, for tcp://'))
    .addOption(new Option('--state-dir <dir>', `what survives a reboot (default ${DEFAULTS['state-dir']})`))
    .addOption(new Option('--run-dir <dir>', `what lives until a reboot (default ${DEFAULTS['run-dir']})`))
    .addOption(new Option('--plugin-dir <dir>', `sockets of engine plugins (default ${DEFAULTS['plugin-dir']})`))
    .addOption(
      new Option(
        '--plugin-path <dir>',
        'where plugins of others are looked for, or none; may repeat (default those of an engine)',
      ).argParser(collect),
    )
    .addOption(
      new Option('--plugin-timeout <seconds>', `time for an answer of such a plugin (default ${DEFAULTS['plugin-timeout']})`),
    )
    .addOption(
      new Option(
        '--engine <url>',
        `API socket of an engine that uses the plugins (default ${DEFAULTS.engine}), or none; may repeat`,
      ).argParser(collect),
    )
    .addOption(new Option('--cluster <url>', 'etcd://HOST:PORT,… : share networks with other hosts'))
    .addOption(new Option('--node-name <name>', 'name of this host in the cluster (default its host name)'))
    .addOption(
      new Option('--advertise <address>', 'where other hosts of the cluster reach this one (default towards the cluster)'),
    )
    .addOption(new Option('--node-lease <seconds>', 'silence after which others take a host for dead (default 10)'))
    .addOption(new Option('--data-path-port <port>', 'UDP port of the tunnels of networks that are made here (default 4789)'))
    .addOption(new Option('--firewall <backend>', `packet filter backend: iptables (default ${DEFAULTS.firewall})`))
    .addOption(
      new Option(
        '--service-balancer <kind>',
        `what shares out connections to services: nft, or ipvs (default ${DEFAULTS['service-balancer']})`,
      ),
    )
    .addOption(
      new Option('--default-address-pool <pool>', 'base=CIDR,size=N; may repeat; replaces the built-in pools').argParser(collect),
    )
    .addOption(new Option('--bridge <name>', 'existing bridge for the default network, or none'))
    .addOption(new Option('--group <group>', 'group that may use the socket (default patchbay where it exists)'))
    .addOption(new Option('--dns <address>', 'nameserver for sandboxes that name none; may repeat').argParser(collect))
    .addOption(new Option('--log-level <level>', `${LOG_LEVELS.join(', ')} (default ${DEFAULTS['log-level']})`))
    .allowExcessArguments(false)
    .exitOverride();
}

/** What to print and leave with 0: the text of --help or --version. */
export class AskedForHelp extends Error {}

/** Reads flags (without node and script) and the file. Throws bad_config, naming what is wrong; AskedForHelp. */
export function readConfig(args: readonly string[]): DaemonConfig {
  const { config, ...flags } = parseFlags(args);
  const file = readFile(config);
  refuseDisagreement(flags, file);
  return checked({ ...DEFAULTS, ...file, ...flags } as Settled);
}

function parseFlags(args: readonly string[]): Values & { config?: string } {
  const program = command();
  let printed = '';
  program.configureOutput({ writeOut: (text) => void (printed += text), writeErr: () => {} });
  try {
    program.parse([...args], { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) throw new AskedForHelp(printed);
    const words = harmless(error.message, args)
      .replace(/^error: /, '')
      .replace('\n', ' ')
      .replace(/\.$/, '');
    throw new CnmError('bad_config', `${words}: see patchbayd --help`);
  }
  const dashed = (key: string): string => key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  return Object.fromEntries(Object.entries(program.opts()).map(([key, value]) => [dashed(key), value]));
}

function readFile(given: string | undefined): Values {
  if (given === '') throw new CnmError('bad_config', '--config is empty: use the path of a file');
  const path = given ?? DEFAULT_CONFIG_FILE;
  const text = readConfigFile(path);
  if (text === undefined) {
    if (given === undefined) return {};
    throw new CnmError('bad_config', `configuration file ${path}: ENOENT: there is no such file`);
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new CnmError('bad_config', `configuration file ${path} is not JSON: ${messageOf(error)}`);
  }
  return parseWith(fileSchema, value, `configuration file ${path}`, 'bad_config');
}

function refuseDisagreement(flags: Values, file: Values): void {
  const both = Object.keys(flags).filter((key) => key in file) as (keyof Values)[];
  const clash = both.filter((key) => JSON.stringify(listed(flags[key])) !== JSON.stringify(listed(file[key])));
  if (clash.length === 0) return;
  throw new CnmError(
    'bad_config',
    clash
      .map(
        (key) => `--${key} is ${JSON.stringify(flags[key])} as a flag and ${JSON.stringify(file[key])} in the configuration file`,
      )
      .join('; '),
  );
}

/** A flag that may repeat is a list, in the file it may be one text. */
const listed = (value: string | readonly string[] | undefined): readonly string[] => [value ?? []].flat();

function checked(values: Settled): DaemonConfig {
  const problems: string[] = [];
  const folder = (key: 'state-dir' | 'run-dir' | 'plugin-dir'): string => {
    if (!isAbsolute(values[key])) problems.push(`--${key} ${values[key]}: it must be an absolute path`);
    return values[key];
  };
  const { socket, tcp } = readHosts(values, problems);
  const firewall = (['iptables', 'nftables'] as const).find((name) => name === values.firewall);
  if (firewall === undefined) problems.push(`--firewall ${values.firewall}: use iptables`);
  const serviceBalancer = (['nft', 'ipvs'] as const).find((name) => name === values['service-balancer']);
  if (serviceBalancer === undefined) problems.push(`--service-balancer ${values['service-balancer']}: use nft or ipvs`);
  const logLevel = LOG_LEVELS.find((level) => level === values['log-level']);
  if (logLevel === undefined) problems.push(`--log-level ${values['log-level']}: use ${LOG_LEVELS.join(', ')}`);
  if (values.bridge !== undefined && !/^[a-zA-Z0-9_.-]{1,15}$/.test(values.bridge))
    problems.push(`--bridge ${values.bridge}: use the name of a bridge, or none`);
  const dns = (values.dns ?? []).flatMap((text) => {
    try {
      return [parseNameserver(text)];
    } catch (error) {
      problems.push(`--dns: ${messageOf(error)}`);
      return [];
    }
  });
  const engines = [values.engine ?? []].flat().flatMap((url) => {
    const path = /^unix:\/\/(\/.+)$/.exec(url)?.[1];
    if (path === undefined && url !== 'none') problems.push(`--engine ${shown(url)}: use unix:///PATH, or none`);
    return path ?? [];
  });
  const pluginPath = [values['plugin-path'] ?? [...PLUGIN_PATH]].flat().filter((path) => path !== 'none');
  for (const path of pluginPath)
    if (!isAbsolute(path)) problems.push(`--plugin-path ${shown(path)}: use an absolute path, or none`);
  const seconds = Number(values['plugin-timeout']);
  if (!(seconds >= PLUGIN_SECONDS.least && seconds <= PLUGIN_SECONDS.most)) {
    problems.push(`--plugin-timeout ${values['plugin-timeout']}: use ${PLUGIN_SECONDS.least} to ${PLUGIN_SECONDS.most} seconds`);
  }
  const cluster = readCluster(values, problems);
  const folders = { stateDir: folder('state-dir'), runDir: folder('run-dir'), pluginDir: folder('plugin-dir') };
  if (problems.length > 0 || firewall === undefined || serviceBalancer === undefined || logLevel === undefined) {
    throw new CnmError('bad_config', problems.join('; '));
  }
  return {
    socket,
    ...(tcp && { tcp }),
    ...folders,
    pluginPath,
    pluginTimeoutMs: seconds * 1000,
    engines,
    ...(cluster && { cluster }),
    firewall,
    serviceBalancer,
    pools: values['default-address-pool'] ?? [],
    bridge:
      values.bridge === undefined
        ? { kind: 'auto' }
        : values.bridge === 'none'
          ? { kind: 'none' }
          : { kind: 'adopt', name: values.bridge },
    ...(values.group !== undefined && { group: values.group }),
    dns,
    logLevel,
  };
}
