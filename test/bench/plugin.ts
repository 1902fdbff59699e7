/** Connect and disconnect of a running container through our plugin, in turn with the engine's own bridge in the same engine. */

import { EngineLab } from '../engine/lab.ts';
import { Client } from './client.ts';
import { type Figure, type PeerFigure, median, timed } from './figures.ts';

const MOST_ROUNDS = 50;
/** A container that has only started gets its links from the engine. */
const RUNNING_MS = 3000;

interface PluginFigures {
  /** Through the plugin. */
  readonly ours: readonly Figure[];
  /** The engine's own driver. */
  readonly own: readonly PeerFigure[];
}

export async function pluginFigures(rounds: number): Promise<PluginFigures> {
  const lab = await EngineLab.open('newest');
  const client = new Client(lab.engine.socket);
  try {
    const { Version } = (await client.call('GET', '/version')) as { Version: string };
    for (const [name, driver] of [
      ['own', 'bridge'],
      ['ours', 'patchbay-bridge'],
    ] as const)
      await client.call('POST', '/networks/create', { Name: name, Driver: driver });
    await lab.ok('run', '-d', '--name', 'box', 'bb:1', 'sleep', '3600');
    await new Promise((resolve) => setTimeout(resolve, RUNNING_MS));
    const taken: Record<string, number[]> = {
      'own connect': [],
      'own disconnect': [],
      'ours connect': [],
      'ours disconnect': [],
    };
    for (let i = 0; i < Math.min(rounds, MOST_ROUNDS); i++) {
      for (const net of ['own', 'ours']) {
        for (const verb of ['connect', 'disconnect'])
          taken[`${net} ${verb}`]?.push(await timed(() => client.call('POST', `/networks/${net}/${verb}`, { Container: 'box' })));
      }
    }
    const of = (key: string): number => median(taken[key] ?? []);
    const both = (net: string): number => of(`${net} connect`) + of(`${net} disconnect`);
    const peer = `docker ${Version}, its own bridge`;
    const names = ['connect by the engine', 'disconnect by the engine', 'both by the engine'] as const;
    return {
      ours: [
        { name: names[0], unit: 'ms', value: of('ours connect'), goal: '≤ 1.2 × own' },
        { name: names[1], unit: 'ms', value: of('ours disconnect'), goal: '≤ 0.3 × own' },
        { name: names[2], unit: 'ms', value: both('ours'), goal: '≤ 0.5 × own' },
      ],
      own: [
        { name: names[0], peer, value: of('own connect') },
        { name: names[1], peer, value: of('own disconnect') },
        { name: names[2], peer, value: both('own') },
      ],
    };
  } finally {
    client.close();
    await lab.close();
  }
}
