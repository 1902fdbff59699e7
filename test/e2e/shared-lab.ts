/** Several machines on one underlay, a daemon on each, and a real etcd. */

import { randomBytes } from 'node:crypto';
import { execa } from 'execa';
import { EtcdCluster } from '../contract/etcd.ts';
import { Lab, type Outcome } from './lab.ts';

/** The shortest that may be asked for, seconds. */
const LEASE_S = 3;

const ip = (netns: string, ...args: string[]) => execa('ip', ['-n', netns, ...args]);

/** Underlay address of a machine. */
export const addressOf = (i: number): string => `192.0.2.${i + 1}`;

export class SharedLab {
  readonly etcd: EtcdCluster;
  readonly #hosts: Lab[] = [];
  readonly #underlay = `pbu-${randomBytes(3).toString('hex')}`;

  private constructor(etcd: EtcdCluster) {
    this.etcd = etcd;
  }

  /** Machines of these names. `flags`: further ones of each daemon; `members`: of etcd. Call close(). */
  static async open(
    names: readonly string[],
    { flags = () => [], members = 3 }: { flags?: (i: number) => readonly string[]; members?: number } = {},
  ): Promise<SharedLab> {
    const lab = new SharedLab(await EtcdCluster.start(members));
    try {
      await lab.#begin(names, flags);
      return lab;
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  async #begin(names: readonly string[], flags: (i: number) => readonly string[]): Promise<void> {
    await execa('ip', ['netns', 'add', this.#underlay]);
    await ip(this.#underlay, 'link', 'add', 'name', 'wire', 'type', 'bridge');
    await ip(this.#underlay, 'link', 'set', 'wire', 'up');
    for (const [i, name] of names.entries()) {
      const cluster = ['--cluster', this.etcd.address('/lab'), '--node-name', name];
      const shown = ['--advertise', addressOf(i), '--node-lease', String(LEASE_S)];
      this.#hosts.push(await Lab.open({ flags: [...cluster, ...shown, ...flags(i)] }));
    }
    for (const [i, lab] of this.#hosts.entries()) await this.#join(lab, i);
  }

  /** One wire for all. The daemons find their address on it a little later than they start. */
  async #join(lab: Lab, i: number): Promise<void> {
    await ip(this.#underlay, 'link', 'add', `h${i}`, 'type', 'veth', 'peer', 'name', 'under', 'netns', lab.host);
    await ip(this.#underlay, 'link', 'set', `h${i}`, 'master', 'wire', 'up');
    await ip(lab.host, 'addr', 'add', `${addressOf(i)}/24`, 'dev', 'under');
    await ip(lab.host, 'link', 'set', 'under', 'up');
  }

  async close(): Promise<void> {
    for (const lab of this.#hosts) await lab.close();
    await execa('ip', ['netns', 'del', this.#underlay], { reject: false });
    await this.etcd.close();
  }

  at(i: number): Lab {
    const found = this.#hosts[i];
    if (found === undefined) throw new Error(`no host ${i}`);
    return found;
  }

  /** A program in a sandbox of machine `i`. */
  exec(i: number, sandbox: string, ...command: string[]): Promise<Outcome> {
    return this.at(i).cli('exec', sandbox, ...command);
  }

  async reaches(i: number, from: string, to: string): Promise<boolean> {
    return (await this.exec(i, from, 'ping', '-c', '1', '-W', '1', to)).exitCode === 0;
  }
}
