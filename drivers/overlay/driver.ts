/**
 * The overlay driver: a network of many hosts, on each of them a namespace with bridges and tunnels. Only the contract; the work
 * is beside this file.
 */

import {
  CnmError,
  type Json,
  KeyedLock,
  type NetworkId,
  attemptAll,
  codeOf,
  prefixAddress,
  undoable,
} from '../../src/base/index.ts';
import {
  type Driver,
  type DriverEndpoint,
  type DriverNetwork,
  type IfaceAddresses,
  type JoinPlace,
  type JoinResult,
  type NumberPool,
  type PeerAudit,
  type PeerChanges,
  parseEndpointSysctls,
} from '../../src/driver/index.ts';
import type { Netns } from '../../src/kernel/index.ts';
import { Announcer } from '../shared/announcer.ts';
import { Book } from './book.ts';
import { plug, portName } from './endpoint.ts';
import { ensureInside, furnitureOf, openInside, removeInside, withdraw } from './network.ts';
import { type OverlayOptions, checkOverlaySubnets, parseOverlayOptions } from './options.ts';
import type { OverlayParts } from './parts.ts';
import { observeNetworks, pinsOf, restoreNetwork } from './restore.ts';
import {
  type OverlayState,
  type Segment,
  derivedMac,
  portOf,
  routesOf,
  segmentCount,
  segmentFor,
  segmentsOf,
} from './segments.ts';
import { Security } from './security.ts';

const NOTHING_MENDED: PeerAudit = { restored: 0, removed: 0, left: 0 };

export function createOverlayDriver(parts: OverlayParts): Driver {
  const announcer = new Announcer(parts);
  /** Keys: ids of networks. */
  const locks = new KeyedLock();
  const books = new Map<NetworkId, Book>();
  const security = new Security(parts);

  function bookOf(net: DriverNetwork): Book {
    const book = books.get(net.id) ?? new Book(() => security.partsOf(net).vtep(net));
    books.set(net.id, book);
    return book;
  }

  const numbersOf = ({ isShared }: DriverNetwork): NumberPool =>
    isShared === true ? (parts.sharedNumbers ?? parts.numbers) : parts.numbers;

  /** Whose the id of a segment is: derived, so that it is found without a record. */
  const owners = (net: DriverNetwork): string[] => Array.from({ length: segmentCount(net) }, (_, i) => `${net.id}/${i}`);

  const releaseIds = (net: DriverNetwork): Promise<void> =>
    attemptAll(owners(net).map((owner) => ['release VXLAN id', () => numbersOf(net).release(owner)]));

  async function createNetwork(net: DriverNetwork): Promise<{ state: Json }> {
    const options = parseOverlayOptions(net);
    checkOverlaySubnets(net, options);
    await security.requireKernel(net);
    return undoable(async (undo) => {
      undo.add('release VXLAN ids', () => releaseIds(net));
      const vnis: number[] = [];
      // One that has been made already has its ids and its port.
      const made = net.state as OverlayState | null;
      const had = made?.vnis ?? [];
      for (const [i, owner] of owners(net).entries()) vnis.push(await takeId(net, owner, options.vnis[i] ?? had[i]));
      return { state: { vnis, port: made === null ? security.freshPort(net) : portOf(net) } };
    });
  }

  async function takeId(net: DriverNetwork, owner: string, wanted: number | undefined): Promise<number> {
    try {
      return await numbersOf(net).take(owner, wanted);
    } catch (error) {
      if (codeOf(error) !== 'number_taken') throw error;
      throw new CnmError('number_taken', `cannot create network ${net.name}: VXLAN id ${wanted} is another network's`, {
        cause: error,
      });
    }
  }

  const deleteNetwork = (net: DriverNetwork): Promise<void> =>
    locks.run(net.id, async () => {
      await removeInside(parts, net.id);
      await security.release(net.id);
      await releaseIds(net);
      books.delete(net.id);
    });

  async function join(net: DriverNetwork, ep: DriverEndpoint, at: JoinPlace): Promise<JoinResult> {
    const options = parseOverlayOptions(net);
    parseEndpointSysctls(ep.options, at.ifname);
    const segments = segmentsOf(net);
    const own = segmentFor(segments, ep.iface);
    await locks.run(net.id, () =>
      undoable(async (undo) => {
        undo.add('withdraw endpoint', () => goOut(net, ep));
        const { netns, isNew } = await enter(net, options, segments);
        using _open = netns;
        const book = bookOf(net);
        book.locals.set(ep.id, ep.iface);
        // First: what is told of its addresses elsewhere is old.
        await book.sync(parts, netns, segments, isNew);
        await plug(parts, netns, await netns.rtnl().link.get({ name: own.bridge }), ep, at);
      }),
    );
    if (at.isBare !== true) await announcer.start(ep, at, options.advertise);
    return {
      link: { name: at.ifname, at: 'sandbox' },
      routes: routesOf(segments, own, ep.iface),
      suppressDefaultGateway: false,
      publish: [],
      state: ep.state,
    };
  }

  /** The network's namespace, made with the first endpoint. One that looks whole is not looked at any closer. */
  async function enter(
    net: DriverNetwork,
    options: OverlayOptions,
    segments: readonly Segment[],
  ): Promise<{ netns: Netns; isNew: boolean }> {
    await security.hold(net);
    const isWhole = await inside(net, async (found) => {
      const bridges = await Promise.all(segments.map(({ bridge }) => found.rtnl().link.find({ name: bridge })));
      return bridges.every((bridge) => bridge?.up === true);
    });
    const netns = isWhole === true ? openInside(parts, net.id) : undefined;
    if (netns !== undefined) return { netns, isNew: false };
    bookOf(net).look();
    const on = security.partsOf(net);
    return ensureInside(on, net, await furnitureOf(on, net, options, segments));
  }

  /** The caller holds the network's lock. Peers that had to stand back for the endpoint have its addresses again. */
  async function goOut(net: DriverNetwork, ep: DriverEndpoint): Promise<void> {
    const book = bookOf(net);
    const isGone = await withdraw(parts, net.id, portName(ep));
    if (isGone) await security.release(net.id);
    if (!book.locals.delete(ep.id)) return;
    if (isGone) return book.look();
    await inside(net, async (netns) => void (await book.sync(parts, netns, segmentsOf(net))));
  }

  /** Answers undefined where the network has no namespace. */
  async function inside<T>(net: DriverNetwork, work: (netns: Netns) => Promise<T>): Promise<T | undefined> {
    using netns = openInside(parts, net.id);
    return netns === undefined ? undefined : await work(netns);
  }

  async function auditInside(net: DriverNetwork, netns: Netns): Promise<PeerAudit> {
    const restored = await security.audit(net);
    const audited = await bookOf(net).audit(parts, netns, segmentsOf(net));
    return { ...audited, restored: audited.restored + restored };
  }

  const leave = (net: DriverNetwork, ep: DriverEndpoint): Promise<void> => locks.run(net.id, () => goOut(net, ep));

  return {
    name: 'overlay',
    capabilities: {
      scope: 'global',
      connectivity: 'global',
      addressing: 'ipam',
      sandbox: 'own',
      singleton: false,
      gatewayBridge: true,
    },
    validateNetwork: (net) => void parseOverlayOptions(net),
    // Ids are found by the subnets: with these recorded, a removal after a kill gives back what was taken.
    planNetwork: async () => ({ state: { vnis: [] } }),
    createNetwork: (_ctx, net) => createNetwork(net),
    deleteNetwork: (_ctx, net) => deleteNetwork(net),
    async createEndpoint(_ctx, net, ep) {
      parseEndpointSysctls(ep.options, 'IFNAME');
      segmentFor(segmentsOf(net), ep.iface);
      return { iface: { ...ep.iface, ...(ep.iface.mac === undefined && macFor(ep.iface)) }, state: null };
    },
    deleteEndpoint: (_ctx, net, ep) => leave(net, ep),
    join: (_ctx, net, ep, at) => join(net, ep, at),
    async leave(_ctx, net, ep) {
      announcer.stop(ep.id);
      await leave(net, ep);
      return {};
    },
    restorer: {
      linksOf: () => [],
      pinsOf,
      observe: (desired) => observeNetworks(parts, security, desired),
      async restore(_ctx, desired) {
        const reports = [];
        for (const wish of desired)
          reports.push(await locks.run(wish.net.id, () => restoreNetwork(security, bookOf(wish.net), wish)));
        await security.sweep();
        return reports;
      },
    },
    cluster: {
      setPeers: (_ctx, net, peers, complete) =>
        locks.run(net.id, async () => {
          const book = bookOf(net);
          const segments = segmentsOf(net);
          book.wish(security.peersOf(net, peers), complete);
          return (await inside(net, (netns) => book.sync(parts, netns, segments))) ?? book.unwritten(segments);
        }),
      changePeers: (_ctx, net, update) =>
        locks.run(net.id, async () => {
          const book = bookOf(net);
          const segments = segmentsOf(net);
          const change = book.update(segments, { ...update, put: security.peersOf(net, update.put) });
          const write = (netns: Netns): Promise<PeerChanges> =>
            change === undefined ? book.sync(parts, netns, segments) : book.apply(parts, netns, segments, change);
          return (await inside(net, write)) ?? book.unwritten(segments);
        }),
      audit: (_ctx, net) =>
        locks.run(net.id, async () => (await inside(net, (netns) => auditInside(net, netns))) ?? NOTHING_MENDED),
      secure: (_ctx, wish) => security.secure(wish),
    },
  };
}

function macFor({ v4, v6 }: IfaceAddresses): Pick<IfaceAddresses, 'mac'> {
  const prefix = v4 ?? v6;
  return prefix === undefined ? {} : { mac: derivedMac(prefixAddress(prefix)) };
}
