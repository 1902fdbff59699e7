/** The process that a sandbox stands for: watched while it lives; with `--rm` the sandbox ends with it. */

import { type SandboxId, CnmError, codeOf, within } from '../base/index.ts';
import { openNetns, processStartTime, signalProcess, watchProcess } from '../kernel/index.ts';
import { type Caller, checkProcessOwner } from './callers.ts';
import { type Cnm, refuseWhenClosing } from './context.ts';
import type { SandboxRecord } from './records.ts';
import { deleteSandbox } from './sandboxes.ts';

/** From SIGTERM to SIGKILL when a sandbox is removed by force, milliseconds. */
const GRACE_MS = 10_000;
/** For the kernel to end a killed process, milliseconds. */
const KILL_WAIT_MS = 5_000;

interface Watch {
  readonly ended: Promise<void>;
  close(): void;
}

/** Undefined for one that we may not look at, or that ended just now. */
function netnsOf(pid: number): string | undefined {
  try {
    using netns = openNetns(`/proc/${pid}/ns/net`);
    return netns.identity;
  } catch (error) {
    if (codeOf(error) === 'bad_netns') return undefined;
    throw error;
  }
}

/** Watches the processes of one controller's sandboxes. */
export class Processes {
  readonly #cnm: Cnm;
  readonly #watches = new Map<SandboxId, Watch>();

  constructor(cnm: Cnm) {
    this.#cnm = cnm;
  }

  /** Declares the sandbox's process. Throws bad_process when it is not alive or lives elsewhere. */
  async set(term: string, pid: number, caller: Caller = 'trusted'): Promise<void> {
    refuseWhenClosing(this.#cnm);
    const { id } = this.#cnm.state.sandbox(term);
    await this.#cnm.locks.run(`sandbox:${id}`, async () => {
      const sandbox = this.#cnm.state.sandbox(id);
      const startTime = this.#checked(sandbox, pid, caller);
      const { exited: _old, ...rest } = sandbox;
      const record: SandboxRecord = { ...rest, process: { pid, startTime } };
      await this.#cnm.state.commit({ sandboxes: [record] });
      this.watch(record);
    });
  }

  #checked(sandbox: SandboxRecord, pid: number, caller: Caller): string {
    const startTime = processStartTime(pid);
    if (startTime === undefined) throw new CnmError('bad_process', `process ${pid} is not alive`);
    checkProcessOwner(pid, caller);
    if (netnsOf(pid) !== sandbox.identity)
      throw new CnmError('bad_process', `process ${pid} does not live in sandbox ${sandbox.name}`);
    return startTime;
  }

  /** Starts watching what the record names; one that ended meanwhile is dealt with at once. */
  watch(sandbox: SandboxRecord): void {
    if (sandbox.process === undefined) return;
    this.#watches.get(sandbox.id)?.close();
    const { pid, startTime } = sandbox.process;
    let done = (): void => {};
    const ended = new Promise<void>((resolve) => (done = resolve));
    const onExit = (): void => {
      this.#watches.delete(sandbox.id);
      done();
      void this.#ended(sandbox.id);
    };
    if (processStartTime(pid) !== startTime) return onExit();
    try {
      const { close } = watchProcess(pid, onExit);
      this.#watches.set(sandbox.id, { ended, close });
    } catch (error) {
      if (codeOf(error) !== 'syscall_failed') throw error;
      onExit();
    }
  }

  async #ended(id: SandboxId): Promise<void> {
    const cnm = this.#cnm;
    if (cnm.closing) return;
    try {
      await cnm.locks.run(`sandbox:${id}`, async () => {
        const sandbox = cnm.state.sandboxById(id);
        if (sandbox === undefined || sandbox.phase !== 'ready') return;
        const { process: _gone, ...rest } = sandbox;
        await cnm.state.commit({ sandboxes: [{ ...rest, exited: true }] });
        if (sandbox.autoRemove) await deleteSandbox(cnm, id);
      });
    } catch (error) {
      cnm.env.log.error({ sandbox: id, err: error }, 'the end of a process could not be dealt with');
    }
  }

  /** Deletes a sandbox. Throws sandbox_busy while its process lives, unless `force`: SIGTERM, after 10 s SIGKILL. */
  async remove(term: string, force: boolean): Promise<SandboxRecord> {
    const cnm = this.#cnm;
    refuseWhenClosing(cnm);
    const found =
      cnm.state.allSandboxes().find((s) => s.phase === 'deleting' && (s.id === term || s.name === term)) ??
      cnm.state.sandbox(term);
    const isAlive = found.process !== undefined && this.#watches.has(found.id);
    if (isAlive) {
      if (!force) {
        throw new CnmError(
          'sandbox_busy',
          `cannot remove sandbox ${found.name}: its process ${found.process?.pid} is alive; stop it, or force`,
        );
      }
      await this.#end(found);
    }
    await cnm.locks.run(`sandbox:${found.id}`, async () => {
      // With its process the sandbox may have gone by itself, which is what was asked for.
      if (!isAlive && cnm.state.sandboxById(found.id) === undefined) throw new CnmError('no_sandbox', `No such sandbox: ${term}`);
      await deleteSandbox(cnm, found.id);
    });
    return found;
  }

  async #end(sandbox: SandboxRecord): Promise<void> {
    const watch = this.#watches.get(sandbox.id);
    if (watch === undefined || sandbox.process === undefined) return;
    for (const [signal, waitMs] of [
      ['SIGTERM', GRACE_MS],
      ['SIGKILL', KILL_WAIT_MS],
    ] as const) {
      signalProcess(sandbox.process.pid, signal, sandbox.process.startTime);
      if (
        await within(
          waitMs,
          watch.ended.then(() => true),
        )
      )
        return;
    }
    throw new CnmError('sandbox_busy', `process ${sandbox.process.pid} of sandbox ${sandbox.name} does not end`);
  }

  isAlive(id: SandboxId): boolean {
    return this.#watches.has(id);
  }

  close(): void {
    for (const watch of this.#watches.values()) watch.close();
    this.#watches.clear();
  }
}
