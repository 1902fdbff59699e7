/** Dependencies point one way: the table of docs/architecture.md, checked on every import. */

import { expect, test } from 'vitest';
import { productFiles, type SourceFile } from './source.ts';

/** Room → rooms it may import. `base` is open to all. */
const MAY: Readonly<Record<string, readonly string[]>> = {
  base: [],
  kernel: ['base'],
  store: ['base'],
  ipam: ['base', 'store'],
  cluster: ['base', 'store'],
  dns: ['base'],
  keeper: ['base', 'kernel', 'dns'],
  firewall: ['base', 'kernel'],
  balance: ['base', 'kernel'],
  portmap: ['base', 'keeper'],
  driver: ['base', 'kernel', 'firewall', 'keeper', 'ipam'],
  'drivers/shared': ['base', 'kernel', 'driver'],
  'drivers/bridge': ['base', 'kernel', 'firewall', 'portmap', 'driver', 'keeper', 'drivers/shared'],
  'drivers/macvlan': ['base', 'driver', 'drivers/shared'],
  'drivers/ipvlan': ['base', 'driver', 'drivers/shared'],
  'drivers/overlay': ['base', 'kernel', 'driver', 'drivers/shared'],
  'drivers/host': ['base', 'driver', 'drivers/shared'],
  'drivers/null': ['base', 'driver', 'drivers/shared'],
  'drivers/remote': ['base', 'kernel', 'driver', 'ipam', 'store'],
  'drivers/dhcp': ['base', 'kernel', 'driver', 'ipam', 'store'],
  cnm: ['base', 'kernel', 'store', 'ipam', 'dns', 'keeper', 'firewall', 'portmap', 'driver', 'cluster', 'balance'],
  daemon: ['base', 'kernel', 'cnm', 'driver'],
  plugin: ['base', 'cnm', 'driver', 'ipam'],
  launch: ['base', 'kernel'],
  cli: ['base', 'launch'],
  'src/index.ts': ['base', 'cnm', 'driver', 'src/compose.ts'],
  'src/main.ts': ['src/start.ts'],
  'src/start.ts': ['base', 'kernel', 'src/serve.ts'],
  'src/kept-code.ts': [],
  'src/serve.ts': ['base', 'kernel', 'cnm', 'driver', 'daemon', 'plugin', 'src/compose.ts'],
  'src/compose.ts': ['*'],
};

/** The one file that may import a package. Others reach it through that file. */
const SOLE_IMPORTER: Readonly<Record<string, readonly string[]>> = {
  koffi: ['src/kernel/libc.ts'],
  'classic-level': ['src/store/embedded.ts'],
  dns2: ['src/dns/wire.ts'],
  'ip-address': ['src/base/address.ts'],
  fastify: ['src/daemon/app.ts', 'src/daemon/server.ts', 'src/daemon/tcp.ts', 'src/plugin/app.ts', 'src/plugin/server.ts'],
  pino: ['src/daemon/log.ts'],
};

/** Files beside index.ts that are doors too, and why. */
const SIDE_DOORS = new Set(['src/base/api.ts']);

function roomOf(path: string): string {
  const [top = '', room = ''] = path.split('/');
  if (path.split('/').length === 2) return path;
  return top === 'drivers' ? `drivers/${room}` : room;
}

function wrongImports(file: SourceFile): string[] {
  const room = roomOf(file.path);
  const allowed = MAY[room];
  if (allowed === undefined) return [`${file.path}: room ${room} is not in the table`];
  return file.imports.flatMap(({ target, line }) => {
    const where = `${file.path}:${line} imports ${target}`;
    if (!target.startsWith('src/') && !target.startsWith('drivers/')) {
      const sole = SOLE_IMPORTER[target];
      const inKernel = target === 'netlink' && room !== 'kernel';
      return (sole !== undefined && !sole.includes(file.path)) || inKernel ? [`${where}, which has a file of its own`] : [];
    }
    const other = roomOf(target);
    if (other === room) return [];
    if (!allowed.includes('*') && !allowed.includes(other)) return [`${where}: ${room} must not import ${other}`];
    const isDoor = target.endsWith('/index.ts') || SIDE_DOORS.has(target) || target.split('/').length === 2;
    const isDriverInside = target.startsWith('drivers/') && (other === 'drivers/shared' || room === 'src/compose.ts');
    return isDoor || isDriverInside ? [] : [`${where}, which is not a door`];
  });
}

test('every import follows the floors', () => {
  const files = productFiles();
  expect(files.length).toBeGreaterThan(80);
  expect(files.flatMap(wrongImports)).toEqual([]);
});

test('only compose names concrete drivers', () => {
  const importers = productFiles().filter(
    (f) => !f.path.startsWith('drivers/') && f.imports.some(({ target }) => target.startsWith('drivers/')),
  );
  expect(importers.map((f) => f.path)).toEqual(['src/compose.ts']);
});

test('no import circle', () => {
  const files = new Map(productFiles().map((f) => [f.path, f]));
  const done = new Set<string>();
  const circles: string[] = [];
  const walk = (path: string, trail: readonly string[]): void => {
    if (trail.includes(path)) return void circles.push([...trail.slice(trail.indexOf(path)), path].join(' → '));
    if (done.has(path)) return;
    for (const { target } of files.get(path)?.imports ?? []) if (files.has(target)) walk(target, [...trail, path]);
    done.add(path);
  };
  for (const path of files.keys()) walk(path, []);
  expect(circles).toEqual([]);
});

test('every file is reached from an entry', () => {
  const files = new Map(productFiles().map((f) => [f.path, f]));
  const reached = new Set<string>();
  const queue = [
    'src/index.ts',
    'src/main.ts',
    'src/kept-code.ts',
    'src/cli/main.ts',
    'src/keeper/main.ts',
    'src/keeper/worker.ts',
    'src/driver/index.ts',
  ];
  while (queue.length > 0) {
    const path = queue.pop() as string;
    if (reached.has(path)) continue;
    reached.add(path);
    queue.push(...(files.get(path)?.imports ?? []).map(({ target }) => target).filter((target) => files.has(target)));
  }
  expect([...files.keys()].filter((path) => !reached.has(path))).toEqual([]);
});
