/** The daemon's flags for a cluster. */

import { hostname } from 'node:os';
import { type Address, type EtcdAddress, messageOf, parseAddress, parseEtcdAddress, shown } from '../base/index.ts';

export interface ClusterConfig {
  readonly address: EtcdAddress;
  readonly nodeName: string;
  /** Absent: the address that packets to the cluster leave from. */
  readonly advertise?: Address;
  readonly leaseSeconds: number;
  /** UDP port of the tunnels of networks that are made here. Default: VXLAN's own. */
  readonly dataPathPort?: number;
}

interface ClusterValues {
  readonly cluster?: string | undefined;
  readonly 'node-name'?: string | undefined;
  readonly advertise?: string | undefined;
  readonly 'node-lease'?: string | undefined;
  readonly 'data-path-port'?: string | undefined;
}

const DEFAULT_LEASE_SECONDS = 10;
/** Shorter ones die of a busy machine, longer ones keep names of the dead for too long. */
const LEASE_SECONDS = { least: 3, most: 300 };
/** As the reference has it (spec 07 D11): no port of the system, and none that the kernel gives to clients. */
const DATA_PORT = { least: 1024, most: 49_151 };
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}$/;

/** Reads `cluster` and its companions; what is wrong goes to `problems`. */
export function readCluster(values: ClusterValues, problems: string[]): ClusterConfig | undefined {
  if (values.cluster === undefined) {
    for (const key of ['node-name', 'advertise', 'node-lease', 'data-path-port'] as const)
      if (values[key] !== undefined) problems.push(`--${key} needs --cluster`);
    return undefined;
  }
  const tried = <T>(work: () => T): T | undefined => {
    try {
      return work();
    } catch (error) {
      problems.push(messageOf(error));
      return undefined;
    }
  };
  const text = values.cluster;
  const address = tried(() => parseEtcdAddress(text));
  const advertise = values.advertise === undefined ? undefined : tried(() => parseAddress(values.advertise ?? ''));
  const nodeName = values['node-name'] ?? hostname();
  if (!NAME.test(nodeName)) problems.push(`--node-name ${shown(nodeName)}: use letters, digits, dots, dashes and underscores`);
  const leaseSeconds = Number(values['node-lease'] ?? DEFAULT_LEASE_SECONDS);
  if (!(Number.isInteger(leaseSeconds) && leaseSeconds >= LEASE_SECONDS.least && leaseSeconds <= LEASE_SECONDS.most))
    problems.push(
      `--node-lease ${shown(values['node-lease'] ?? '')}: use ${LEASE_SECONDS.least} to ${LEASE_SECONDS.most} seconds`,
    );
  const port = values['data-path-port'];
  const dataPathPort = port === undefined ? undefined : Number(port);
  if (port !== undefined && !(/^\d+$/.test(port) && Number(port) >= DATA_PORT.least && Number(port) <= DATA_PORT.most))
    problems.push(`--data-path-port ${shown(port)}: use a UDP port from ${DATA_PORT.least} to ${DATA_PORT.most}`);
  const chosen = { ...(advertise && { advertise }), ...(dataPathPort !== undefined && { dataPathPort }) };
  return address && { address, nodeName, leaseSeconds, ...chosen };
}
