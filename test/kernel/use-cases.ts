/** What the controller is asked to do where some call of it fails, on which parts. */

import { dhcpCreations } from './dhcp-cases.ts';
import { foreignCreations, foreignRemovals } from './foreign-cases.ts';
import type { Faults } from './faults.ts';
import { gatewayBridgeCreations, gatewayBridgeRemovals } from './gateway-bridge-cases.ts';
import type { House, HouseOptions } from './house-lab.ts';
import { ingressCreations, ingressRemovals } from './ingress-cases.ts';
import { guestCreations, guestRemovals } from './guest-cases.ts';
import { overlayCreations, overlayRemovals } from './overlay-cases.ts';
import { parentCreations } from './parent-cases.ts';
import { hostAt, testHosts } from './support.ts';
import type { UseCase } from './use-case.ts';

/** Wraps what effects go through. What each part promises about a failed call decides when it may fail. */
export function breakable(faults: Faults): HouseOptions {
  return {
    foundation: (parts) => ({
      ...parts,
      // Operations of a batch before the failed one stay done, hence after: all of them.
      host: new Proxy(parts.host, {
        get: (host, key) => {
          if (key === 'rtnl') return () => faults.rtnl(host.rtnl());
          const value: unknown = Reflect.get(host, key, host);
          return typeof value === 'function' ? value.bind(host) : value;
        },
      }),
      firewall: faults.wrap('firewall', parts.firewall, ['apply'], ['before']),
      numbers: faults.wrap('numbers', parts.numbers, ['take', 'release'], ['before', 'after']),
      // Silence: whether the wish was performed is unknown.
      keeper: faults.wrap('keeper', parts.keeper, ['sandbox', 'names', 'holds'], ['before', 'after']),
    }),
    store: (store) => faults.wrap('store', store, ['commit'], ['before']),
    parts: (parts) => ({
      ...parts,
      ipams: faults.registry(parts.ipams),
      drivers: faults.drivers(parts.drivers),
    }),
  };
}

const PORTS = { '80/tcp': [{ HostIp: '', HostPort: '8080' }], '53/udp': [{ HostIp: '', HostPort: '' }] };

/** Namespaces that sandboxes are created in. */
const given = new WeakMap<House, string>();

/** When a call of a use case may fail. */
export const momentsOf = ({ isOnPaper }: UseCase): readonly ('before' | 'after')[] =>
  isOnPaper === true ? ['before'] : ['before', 'after'];

/** An endpoint that exists by itself, and a sandbox with ports beside it. */
async function apart(house: House): Promise<void> {
  await house.network('one');
  await house.network('two', { enableIPv6: true });
  await house.controller.createSandbox({ name: 'box', networks: [['one', {}]], portBindings: PORTS });
}

async function inGateway(house: House): Promise<void> {
  await house.controller.createEndpoint('two', 'ep', { gwPriority: 5 });
  await house.controller.joinEndpoint('ep', 'box');
}

async function boxed(house: House): Promise<void> {
  await house.controller.createSandbox({ name: 'box', networks: [['bridge', {}]], portBindings: PORTS });
  await house.controller.joinEndpoint('ep', 'box');
}

const endpointCases: readonly UseCase[] = [
  {
    title: 'create endpoint',
    prepare: (house) => house.network('one', { enableIPv6: true }),
    act: (house) => house.controller.createEndpoint('one', 'ep', { aliases: ['other'] }),
    revert: (house) => house.controller.deleteEndpoint('ep', false),
    isOnPaper: true,
  },
  {
    title: 'join of an endpoint that becomes the gateway',
    prepare: async (house) => {
      await apart(house);
      await house.controller.createEndpoint('two', 'ep', { gwPriority: 5 });
    },
    act: (house) => house.controller.joinEndpoint('ep', 'box'),
    revert: (house) => house.controller.leaveEndpoint('ep'),
    keeps: true,
  },
];

/** What makes things. `revert` takes them away again. */
export const creations: readonly UseCase[] = [
  {
    title: 'create network',
    prepare: async () => {},
    act: (house) => house.controller.createNetwork({ name: 'net', enableIPv6: true }),
    revert: (house) => house.controller.deleteNetwork('net'),
  },
  {
    title: 'create network on an adopted bridge',
    prepare: (house) =>
      house.host.exec('sh', [
        '-ec',
        'ip link add own0 type bridge; ip addr add 10.9.0.9/24 dev own0; ip addr add 192.0.2.9/24 dev own0; ip link set own0 up; ip addr add fd09::9/64 dev own0 nodad',
      ]),
    act: (house) =>
      house.controller.createNetwork({
        name: 'net',
        ipam: { config: [{ subnet: '10.9.0.0/24', gateway: '10.9.0.1' }] },
        options: { 'com.docker.network.bridge.name': 'own0' },
      }),
    revert: (house) => house.controller.deleteNetwork('net'),
  },
  {
    title: 'create sandbox with two networks and ports',
    prepare: async (house) => {
      await house.network('one', { enableIPv6: true });
      await house.network('two');
    },
    act: (house) =>
      house.controller.createSandbox({
        name: 'box',
        networks: [
          ['one', {}],
          ['two', { gwPriority: 5 }],
        ],
        portBindings: PORTS,
      }),
    revert: (house) => house.controller.deleteSandbox('box', false),
  },
  {
    title: 'create sandbox in a given namespace',
    prepare: async (house) => {
      await house.network('one', { enableIPv6: true });
      const path = hostAt(await testHosts(1), 0).path;
      given.set(house, path);
    },
    act: (house) => house.controller.createSandbox({ name: 'box', netns: given.get(house) ?? '', networks: [['one', {}]] }),
    revert: (house) => house.controller.deleteSandbox('box', false),
  },
  {
    title: 'connect of a sandbox with ports to a network that becomes its gateway',
    prepare: async (house) => {
      await house.network('one');
      await house.network('two', { enableIPv6: true });
      await house.controller.createSandbox({ name: 'box', networks: [['one', {}]], portBindings: PORTS });
    },
    act: (house) => house.controller.connect('two', 'box', { gwPriority: 5, aliases: ['other'] }),
    revert: (house) => house.controller.disconnect('two', 'box', false),
    keeps: true,
  },
  {
    title: 'connect to the first network with names',
    prepare: async (house) => {
      await house.network('inner', { internal: true });
      await house.controller.createSandbox({ name: 'box', networks: [['bridge', {}]], portBindings: PORTS });
    },
    act: (house) => house.controller.connect('inner', 'box', {}),
    revert: (house) => house.controller.disconnect('inner', 'box', false),
    keeps: true,
  },
  ...endpointCases,
  ...guestCreations,
  ...parentCreations,
  ...dhcpCreations,
  ...overlayCreations,
  ...gatewayBridgeCreations,
  ...foreignCreations,
  ...ingressCreations,
];

const named = (title: string): UseCase => {
  const found = creations.find((one) => one.title === title);
  if (found === undefined) throw new Error(`no use case ${title}`);
  return found;
};

/** The same backwards: `act` takes away, `revert` makes again. */
const reversed = (title: string, of: string): UseCase => {
  const { prepare, act, revert, isOnPaper } = named(of);
  return {
    title,
    prepare: async (house) => {
      await prepare(house);
      await act(house);
    },
    act: revert,
    revert: act,
    ...(isOnPaper && { isOnPaper }),
  };
};

/** What takes things away. */
export const removals: readonly UseCase[] = [
  reversed('delete network', 'create network'),
  reversed('delete sandbox with two networks and ports', 'create sandbox with two networks and ports'),
  reversed('delete sandbox in a given namespace', 'create sandbox in a given namespace'),
  reversed('disconnect from the gateway', 'connect of a sandbox with ports to a network that becomes its gateway'),
  reversed('remove endpoint', 'create endpoint'),
  reversed('leave', 'join of an endpoint that becomes the gateway'),
  reversed('delete network on a parent with a place of the host', 'create network on a parent with a place of the host'),
  reversed('disconnect from a network on a parent', 'connect to a network on a parent'),
  reversed('disconnect from a network by DHCP', 'connect to a network by DHCP'),
  {
    title: 'remove an endpoint that is joined',
    prepare: async (house) => {
      await apart(house);
      await inGateway(house);
    },
    act: (house) => house.controller.deleteEndpoint('ep', true),
    revert: inGateway,
  },
  {
    title: 'delete sandbox with an endpoint that stays',
    prepare: async (house) => {
      await house.network('one');
      await house.controller.createEndpoint('one', 'ep', {});
      await boxed(house);
    },
    act: (house) => house.controller.deleteSandbox('box', false),
    revert: boxed,
  },
  ...guestRemovals,
  ...overlayRemovals,
  ...gatewayBridgeRemovals,
  ...foreignRemovals,
  ...ingressRemovals,
];
