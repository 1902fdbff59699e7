/** The daemon's start: gives up the rights that the daemon does not need before anything else is loaded. */

import { messageOf } from './base/index.ts';
import { type Capability, inheritedDescriptors, restartWithOnly, withstandSignals } from './kernel/index.ts';

/** docs/decisions/0015-capabilities.md says what each is for. */
const KEPT: readonly Capability[] = [
  'CAP_CHOWN',
  'CAP_KILL',
  'CAP_SETPCAP',
  'CAP_NET_BIND_SERVICE',
  'CAP_NET_ADMIN',
  'CAP_NET_RAW',
  'CAP_SYS_PTRACE',
  'CAP_SYS_ADMIN',
];

/** What could not be given up, in words. A container may not let us; serving with more rights is better than not serving. */
function shedPrivileges(): string | undefined {
  try {
    // With the sockets that a service manager listens on.
    restartWithOnly(
      KEPT,
      inheritedDescriptors(process.env).map(({ fd }) => fd),
    );
    return undefined;
  } catch (error) {
    return `capabilities that are not needed are kept: ${messageOf(error)}`;
  }
}

/** Starts the program once more with what is left, and then all the rest of it. */
export function start(): void {
  withstandSignals();
  const notice = shedPrivileges();
  void import('./serve.ts').then(({ runDaemon }) => runDaemon(notice));
}
