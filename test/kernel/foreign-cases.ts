/** What is asked of networks of a foreign plugin where some call of it fails. */

import { join } from 'node:path';
import { ForeignPlugin, GATEWAY, innerOf } from './foreign-plugin.ts';
import type { House } from './house-lab.ts';
import { afterTest } from './keeper-lab.ts';
import type { UseCase } from './use-case.ts';

const PORTS = { '80/tcp': [{ HostIp: '', HostPort: '8080' }] };
const SPEC = { driver: 'foreign', ipam: { driver: 'foreign' } };

/** A plugin that gives routes and a gateway. */
async function served(house: House): Promise<void> {
  const plugin = await ForeignPlugin.open(join(house.plugins, 'foreign.sock'), (command, args) => house.host.exec(command, args));
  plugin.instead = {
    'NetworkDriver.Join': (body) => ({
      InterfaceName: { SrcName: innerOf(String(body['EndpointID'])), DstPrefix: 'far' },
      Gateway: GATEWAY,
      StaticRoutes: [
        { Destination: '10.78.0.0/24', RouteType: 1 },
        { Destination: '10.79.0.0/24', RouteType: 0, NextHop: '10.78.0.9' },
      ],
    }),
  };
  afterTest(() => plugin.stop());
}

async function networked(house: House): Promise<void> {
  await served(house);
  await house.network('net', SPEC);
}

async function boxed(house: House): Promise<void> {
  await networked(house);
  await house.network('own');
  await house.controller.createSandbox({ name: 'box', networks: [['own', {}]], portBindings: PORTS });
}

const connected: UseCase = {
  title: 'connect to a network of a plugin, which becomes the gateway',
  prepare: boxed,
  act: (house) => house.controller.connect('net', 'box', { gwPriority: 5 }),
  revert: (house) => house.controller.disconnect('net', 'box', false),
  keeps: true,
};

const joined: UseCase = {
  title: 'join of an endpoint of a plugin',
  prepare: async (house) => {
    await boxed(house);
    await house.controller.createEndpoint('net', 'ep', {});
  },
  act: (house) => house.controller.joinEndpoint('ep', 'box'),
  revert: (house) => house.controller.leaveEndpoint('ep'),
  keeps: true,
};

export const foreignCreations: readonly UseCase[] = [
  {
    title: 'create a network of a plugin',
    prepare: served,
    act: (house) => house.network('net', SPEC),
    revert: (house) => house.controller.deleteNetwork('net'),
    isOnPaper: true,
  },
  connected,
  joined,
];

const reversed = (title: string, { prepare, act, revert }: UseCase): UseCase => ({
  title,
  prepare: async (house) => {
    await prepare(house);
    await act(house);
  },
  act: revert,
  revert: act,
});

export const foreignRemovals: readonly UseCase[] = [
  reversed('disconnect from a network of a plugin', connected),
  reversed('leave of an endpoint of a plugin', joined),
];
