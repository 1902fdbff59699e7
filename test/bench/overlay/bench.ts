/**
 * An overlay network of many hosts: when a sandbox that has just joined is found and answers elsewhere, what a join costs as
 * hosts become more, and what goes through a tunnel, beside one made by hand. `--hosts N` (may repeat) and `--endpoints N`
 * say how large, `--rounds N` how often. Everything happens in namespaces of the run's own.
 */

import { cpus, release } from 'node:os';
import { Lab } from '../../lab/lab.ts';
import { type Figure, print } from '../figures.ts';
import { convergence } from './convergence.ts';
import { throughput } from './throughput.ts';

const valuesOf = (flag: string): number[] =>
  process.argv.flatMap((word, i) => (word === flag ? [Number(process.argv[i + 1])] : []));
const [rounds = 100] = valuesOf('--rounds');
const [endpoints = 50] = valuesOf('--endpoints');
const sizes = valuesOf('--hosts').length > 0 ? valuesOf('--hosts') : [5, 20];

async function inLab<T>(hosts: number, work: (lab: Lab) => Promise<T>): Promise<T> {
  const lab = await Lab.open({ hosts, underlay: 'v4', leaseSeconds: 60 });
  try {
    return await work(lab);
  } finally {
    await lab.close();
  }
}

const date = new Date().toISOString().slice(0, 10);
process.stdout.write(
  `Node ${process.version}, Linux ${release()}, ${cpus().length} × ${cpus()[0]?.model ?? ''}, ${endpoints} endpoints a host, ${rounds} rounds, ${date}\n`,
);
const figures: Figure[] = [];
for (const hosts of sizes) figures.push(...(await inLab(hosts, (lab) => convergence(lab, endpoints, rounds))));
figures.push(...(await inLab(2, throughput)));
print(figures);
