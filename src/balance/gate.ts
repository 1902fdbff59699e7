/**
 * A gate: a namespace of our own through which published ports lead to members of services, wherever these are. What comes to
 * it by a published port goes on to a member, from the gate's own address, so that answers come back through it.
 */

import { type Address, familyOf, KeyedLock } from '../base/index.ts';
import { type ConntrackMatch, type Mark, type Netns, nft, writeSysctl } from '../kernel/index.ts';
import { applyGroups } from './apply.ts';
import { addressesOf, flowsThrough, tableOf } from './client.ts';
import type { Gate, PublishedPort, PublishedService } from './contract.ts';
import { TableMemory } from './memory.ts';
import { CHAIN_PREFIX, type Group, portOctets, type Scheme } from './table.ts';

const PRIORITY = { target: -90, source: 100 } as const;
const PROTOCOLS = { tcp: 6, udp: 17 } as const;
const TARGET_PORT_AT = 2;
const ID_DIGITS = 32;
const NONE = Buffer.alloc(4);

const SCHEME: Scheme = {
  maps: { ports: { keyType: nft.TYPE.protocolAndPort, keyLength: 8 } },
  chains: {
    entrance: {
      hook: { type: 'nat', at: nft.HOOK.prerouting, priority: PRIORITY.target },
      rules: [
        [
          nft.loadMeta(nft.META.protocol, nft.REGISTER.word0),
          nft.loadPayload(nft.PAYLOAD_BASE.transport, TARGET_PORT_AT, 2, nft.REGISTER.word1),
          nft.goBy('ports', nft.REGISTER.word0),
        ],
      ],
    },
    // What it has not led on itself nobody passes through it.
    passage: {
      hook: { type: 'filter', at: nft.HOOK.forward, priority: 0 },
      rules: [
        [nft.loadTracked(nft.CT.status), nft.masked(nft.CT_TRANSLATED_TARGET), nft.differs(NONE), nft.verdict(nft.NF_ACCEPT)],
        [nft.verdict(nft.NF_DROP)],
      ],
    },
    exit: {
      hook: { type: 'nat', at: nft.HOOK.postrouting, priority: PRIORITY.source },
      rules: [[nft.loadTracked(nft.CT.status), nft.masked(nft.CT_TRANSLATED_TARGET), nft.differs(NONE), nft.masquerade()]],
    },
  },
};

/** As the two words of the map's key: protocol and port, each padded. */
function keyOf(protocol: 'tcp' | 'udp', port: number): Buffer {
  const key = Buffer.alloc(8);
  key[0] = PROTOCOLS[protocol];
  portOctets(port).copy(key, 4);
  return key;
}

const targets = ({ service }: PublishedService): Address[] => addressesOf(service.members, 'serving');

/** One group a port: each has a port of the members of its own. */
function groupsOf(published: PublishedService): Group[] {
  const { id, members } = published.service;
  return published.ports.flatMap(({ protocol, published: port, target }): Group[] =>
    protocol === 'sctp'
      ? []
      : [
          {
            chain: `${CHAIN_PREFIX}${id.slice(0, ID_DIGITS)}-${protocol}-${port}`,
            keys: { ports: [keyOf(protocol, port)] },
            targets: targets(published),
            keeping: addressesOf(members),
            port: target,
            also: addressesOf(members, 'draining').toSorted(),
          },
        ],
  );
}

/** Flows by these ports that lead to nobody of the service. */
const strays = ({ service, ports }: PublishedService): ConntrackMatch[] =>
  ports.flatMap(({ protocol, published }) =>
    ([4, 6] as const).map((family) => ({
      family,
      protocol,
      originalDestinationPort: published,
      notAnsweredBy: addressesOf(service.members).filter((address) => familyOf(address) === family),
    })),
  );

/** Ports that a gate can lead on. */
export const isCarried = ({ protocol }: PublishedPort): boolean => protocol !== 'sctp';

/** By nf_tables and connection tracking, as createBalancer. Nothing of it is taken back: it goes with the namespace. */
export function createGate(mark: Pick<Mark, 'tag'>): Gate {
  const locks = new KeyedLock();
  const table = tableOf(mark);
  return {
    apply: (netns, published, memory: TableMemory = new TableMemory()) =>
      locks.run(netns.identity, async () => {
        openWay(netns);
        const { less } = await applyGroups(netns, table, SCHEME, published.flatMap(groupsOf), memory);
        const chains = new Set(less.map(({ chain }) => chain));
        await memory.settle(
          netns,
          published.filter((one) => groupsOf(one).some(({ chain }) => chains.has(chain))).flatMap(strays),
          () => published.flatMap(strays),
        );
      }),
    countFlows: flowsThrough,
  };
}

/** The namespace passes packets on, and tells nobody that there is a shorter way. */
function openWay(netns: Netns): void {
  writeSysctl(netns, 'net.ipv4.ip_forward', '1');
  writeSysctl(netns, 'net.ipv4.conf.all.send_redirects', '0');
  writeSysctl(netns, 'net.ipv6.conf.all.forwarding', '1', { optional: true });
}
