/** `/cluster/nodes…`: the hosts that share networks with this one. */

import type { KeysJson, NodeJson } from '../base/api.ts';
import { CnmError } from '../base/index.ts';
import type { DaemonParts, Route } from './route.ts';

export function nodeRoutes({ controller }: DaemonParts): Route[] {
  const shown = (node: Node): NodeJson => nodeJson(node, controller.cluster.self);
  return [
    {
      method: 'GET',
      path: '/cluster/nodes',
      takes: [],
      handle: () => ({ status: 200, json: controller.cluster.nodes().map(shown) }),
    },
    {
      method: 'GET',
      path: '/cluster/nodes/:term',
      takes: [],
      handle: ({ term }) => ({ status: 200, json: shown(controller.cluster.node(term)) }),
    },
    {
      method: 'POST',
      path: '/cluster/keys/rotate',
      takes: [],
      handle: async ({ caller }) => {
        if (caller !== 'trusted') throw new CnmError('not_permitted', 'keys of all hosts are changed by root');
        const rotated = await sharedOf(controller).rotateKeys();
        return { status: 200, json: { Keys: rotated.keys } satisfies KeysJson };
      },
    },
    {
      method: 'DELETE',
      path: '/cluster/nodes/:term',
      takes: [],
      handle: async ({ term }) => {
        await controller.cluster.removeNode(term);
        return { status: 204 };
      },
    },
  ];
}

function sharedOf({ shared }: DaemonParts['controller']): NonNullable<DaemonParts['controller']['shared']> {
  if (shared === undefined) throw new CnmError('no_cluster', 'this daemon is in no cluster');
  return shared;
}

type Node = ReturnType<DaemonParts['controller']['cluster']['node']>;

const nodeJson = (node: Node, self: string): NodeJson => ({
  Id: node.id,
  Name: node.name,
  Address: node.address ?? '',
  State: node.isAlive ? 'ready' : 'down',
  Self: node.id === self,
  Version: node.version,
  Joined: new Date(node.joined).toISOString(),
});
