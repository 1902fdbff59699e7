/** Kernel settings below /proc/sys, of the namespace they are read or written in. */

import { readFileSync, writeFileSync } from 'node:fs';
import { CnmError, errnoOf, KernelError } from '../base/index.ts';
import type { Netns } from './contract.ts';

/** `net.ipv4.ip_forward`, with slashes, or path segments where a segment (an interface's name) may hold dots. */
type SysctlKey = string | readonly string[];

function pathOf(key: SysctlKey): string {
  const segments = typeof key === 'string' ? key.split(key.includes('/') ? '/' : '.') : key;
  if (
    segments.length === 0 ||
    segments.some((segment) => segment === '' || segment === '.' || segment === '..' || /[/\0]/.test(segment))
  ) {
    throw new CnmError('internal', `invalid sysctl key ${JSON.stringify(key)}`);
  }
  return `/proc/sys/${segments.join('/')}`;
}

const refused = (operation: string, path: string, error: unknown): KernelError =>
  new KernelError(operation, path, errnoOf(error) ?? 'EIO');

/** The value without its newline, or undefined where the kernel has no such setting. Throws KernelError. */
export function readSysctl(netns: Netns, key: SysctlKey): string | undefined {
  const path = pathOf(key);
  try {
    return netns.run(() => readFileSync(path, 'utf8')).trim();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw refused('read sysctl', path, error);
  }
}

/** Throws KernelError; ENOENT, which means that there is no such setting, not when `optional`. */
export function writeSysctl(netns: Netns, key: SysctlKey, value: string, options: { readonly optional?: boolean } = {}): void {
  const path = pathOf(key);
  try {
    // 'r+': never tries to create, so that a missing setting is ENOENT and not EACCES.
    netns.run(() => writeFileSync(path, value, { flag: 'r+' }));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' && options.optional === true) return;
    throw refused('write sysctl', path, error);
  }
}
