/** Ping, version and information: what stock clients ask before anything else (spec 02 §2). */

import { arch, hostname, release, totalmem, cpus } from 'node:os';
import type { DaemonParts, Route } from './route.ts';

export const PRODUCT_VERSION = '0.1.0';
/** Newest Engine API version that is served. */
export const API_VERSION = '1.56';
export const MIN_API_VERSION = '1.24';

const PING_HEADERS = {
  'Content-Type': 'text/plain; charset=utf-8',
  'Cache-Control': 'no-cache, no-store, must-revalidate',
  Pragma: 'no-cache',
  Swarm: 'inactive',
  'Builder-Version': '2',
} as const;

const goArch = (): string => ({ x64: 'amd64', arm64: 'arm64', arm: 'arm' })[arch() as string] ?? arch();

export function systemRoutes({ controller }: DaemonParts): Route[] {
  return [
    { method: 'HEAD', path: '/_ping', handle: () => ({ status: 200, headers: { ...PING_HEADERS, 'Content-Length': '0' } }) },
    { method: 'GET', path: '/_ping', handle: () => ({ status: 200, text: 'OK', headers: PING_HEADERS }) },
    {
      method: 'GET',
      path: '/version',
      handle: () => ({
        status: 200,
        json: {
          Platform: { Name: 'Patchbay' },
          Components: [
            { Name: 'Patchbay', Version: PRODUCT_VERSION, Details: { ApiVersion: API_VERSION, MinAPIVersion: MIN_API_VERSION } },
          ],
          Version: PRODUCT_VERSION,
          ApiVersion: API_VERSION,
          MinAPIVersion: MIN_API_VERSION,
          GitCommit: '',
          GoVersion: '',
          NodeVersion: process.version,
          Os: 'linux',
          Arch: goArch(),
          KernelVersion: release(),
        },
      }),
    },
    {
      method: 'GET',
      path: '/info',
      handle: () => ({
        status: 200,
        json: {
          ID: '',
          Name: hostname(),
          ServerVersion: PRODUCT_VERSION,
          OSType: 'linux',
          OperatingSystem: 'linux',
          Architecture: goArch(),
          KernelVersion: release(),
          NCPU: cpus().length,
          MemTotal: totalmem(),
          Containers: controller.sandboxes().length,
          ContainersRunning: controller.sandboxes().filter((s) => controller.isAlive(s.id)).length,
          Plugins: { Volume: [], Network: controller.driverNames(), Authorization: null, Log: [] },
          FirewallBackend: { Driver: controller.firewallBackend, Info: [] },
          Swarm: { LocalNodeState: 'inactive' },
          Warnings: [],
        },
      }),
    },
  ];
}
