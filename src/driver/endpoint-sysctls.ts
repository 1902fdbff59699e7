/** Per-endpoint sysctls, `net.ipv4.conf.IFNAME.log_martians=1,…` (spec 01 I3). */

import { CnmError, errnoOf, messageOf } from '../base/index.ts';
import { type Netns, writeSysctl } from '../kernel/index.ts';
import type { DriverOptions } from './contract.ts';
import { labels } from './labels.ts';

interface EndpointSysctl {
  readonly path: readonly string[];
  readonly value: string;
}

/** Parses the option; IFNAME stands for the interface. Throws bad_option. */
export function parseEndpointSysctls(options: DriverOptions, ifname: string): EndpointSysctl[] {
  const text = options[labels.endpointSysctls];
  if (text === undefined || text === '') return [];
  return text.split(',').map((item) => {
    const match = /^net\.(ipv4|ipv6|mpls)\.([a-z_]+)\.IFNAME\.([a-zA-Z0-9_]+)=(.*)$/.exec(item.trim());
    const [, family, area, key, value] = match ?? [];
    // oxlint-disable-next-line no-control-regex
    if (family === undefined || area === undefined || key === undefined || value === undefined || /[\u0000-\u001f]/.test(value)) {
      throw new CnmError(
        'bad_option',
        `unrecognised network interface sysctl ${JSON.stringify(item)}; represent as net.X.Y.IFNAME.Z=V, X in ipv4, ipv6, mpls`,
      );
    }
    return { path: ['net', family, area, ifname, key], value };
  });
}

/** Throws bad_option for a key or value that the kernel does not take. */
export function applyEndpointSysctls(netns: Netns, ifname: string, options: DriverOptions): void {
  for (const { path, value } of parseEndpointSysctls(options, ifname)) {
    try {
      writeSysctl(netns, path, value);
    } catch (error) {
      if (!['ENOENT', 'EINVAL', 'ERANGE'].includes(errnoOf(error) ?? '')) throw error;
      throw new CnmError('bad_option', `network interface sysctl ${path.join('.')}=${value}: ${messageOf(error)}`, {
        cause: error,
      });
    }
  }
}
