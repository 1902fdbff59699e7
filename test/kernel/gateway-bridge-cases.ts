/** What is asked of sandboxes that the gateway bridge leads outside, where some call of it fails. */

import type { House } from './house-lab.ts';
import type { UseCase } from './use-case.ts';

const PORTS = { '80/tcp': [{ HostIp: '', HostPort: '8080' }] };

const overlay = (house: House): Promise<string> =>
  house.network('over', {
    driver: 'overlay',
    ipam: { config: [{ subnet: '10.62.0.0/24' }] },
    options: { 'com.docker.network.driver.overlay.vxlanid_list': '602' },
  });

const box = (house: House, networks: readonly string[], name = 'box'): Promise<unknown> =>
  house.controller.createSandbox({ name, networks: networks.map((net) => [net, {}]), portBindings: PORTS });

const withoutBridge = async (house: House): Promise<void> => {
  if (house.controller.networks().some(({ name }) => name === 'docker_gwbridge'))
    await house.controller.deleteNetwork('docker_gwbridge');
};

/** The bridge is there already. */
async function common(house: House): Promise<void> {
  await overlay(house);
  await house.network('docker_gwbridge', { options: { 'com.docker.network.bridge.enable_icc': 'false' } });
}

/** A sandbox that nothing leads outside, whose host ports are held since something once did. */
async function inside(house: House): Promise<void> {
  await common(house);
  await house.network('inner', { internal: true });
  await box(house, ['inner', 'docker_gwbridge']);
  await disconnect(house, 'docker_gwbridge');
}

async function onBoth(house: House): Promise<void> {
  await common(house);
  await house.network('net');
  await box(house, ['over']);
}

const connect = (house: House, net: string): Promise<unknown> => house.controller.connect(net, 'box', {});
const disconnect = (house: House, net: string): Promise<unknown> => house.controller.disconnect(net, 'box', false);

export const gatewayBridgeCreations: readonly UseCase[] = [
  {
    title: 'create the first sandbox that the gateway bridge leads outside',
    prepare: overlay,
    act: (house) => box(house, ['over']),
    revert: async (house) => {
      await house.controller.deleteSandbox('box', false);
      await withoutBridge(house);
    },
    tidy: withoutBridge,
  },
  {
    title: 'connect of a sandbox that the gateway bridge leads outside from then on',
    prepare: inside,
    act: (house) => connect(house, 'over'),
    revert: (house) => disconnect(house, 'over'),
  },
  {
    title: 'first connect of a sandbox with ports to a network that wants the gateway bridge',
    prepare: async (house) => {
      await common(house);
      await house.network('inner', { internal: true });
      await box(house, ['inner']);
    },
    act: (house) => connect(house, 'over'),
    revert: (house) => disconnect(house, 'over'),
    keeps: true,
    isUndoOnly: true,
  },
  {
    title: 'connect to a network that takes the place of the gateway bridge',
    prepare: onBoth,
    act: (house) => connect(house, 'net'),
    revert: (house) => disconnect(house, 'net'),
    isEither: true,
    keeps: true,
  },
];

export const gatewayBridgeRemovals: readonly UseCase[] = [
  {
    title: 'disconnect from a network whose place the gateway bridge takes',
    prepare: async (house) => {
      await onBoth(house);
      await connect(house, 'net');
    },
    act: (house) => disconnect(house, 'net'),
    revert: (house) => connect(house, 'net'),
    isEither: true,
  },
  {
    title: 'disconnect from the last network that wanted the gateway bridge',
    prepare: async (house) => {
      await inside(house);
      await connect(house, 'over');
    },
    act: (house) => disconnect(house, 'over'),
    revert: (house) => connect(house, 'over'),
    isEither: true,
  },
  {
    title: 'delete a sandbox that the gateway bridge leads outside',
    prepare: onBoth,
    act: (house) => house.controller.deleteSandbox('box', false),
    revert: (house) => box(house, ['over']),
  },
];
