/**
 * Balances in the client's own namespace as client.ts does, but the kernel's own balancer, IPVS, has the members: rules mark what
 * begins a connection to a virtual address, and IPVS knows the mark. Pings, and what IPVS cannot do, stay with the rules. Decision
 * 27 says when one wants that.
 */

import { KeyedLock } from '../base/index.ts';
import {
  changeIpvs,
  deleteFlows,
  type Mark,
  type Netns,
  nft,
  readIpvs,
  readIpvsTimeout,
  readSysctl,
  readTable,
  removeTable,
  type TableContents,
  writeIpvsTimeout,
  writeSysctl,
} from '../kernel/index.ts';
import { applyGroups } from './apply.ts';
import { refuseTooMany } from './bounds.ts';
import { flowsThrough, groupOf, orphans, SCHEME, strays } from './client.ts';
import type { BalancedService, Balancer } from './contract.ts';
import { ipvsChanges, ipvsOf, isOwn, marksFor } from './ipvs-plan.ts';
import { isTracking, TableMemory } from './memory.ts';
import { marksIn, noteIn, turned } from './table.ts';

/** Name of our nft table inside a client's namespace: another one than without IPVS, since one may follow the other. */
const tableOf = ({ tag }: Pick<Mark, 'tag'>): string => `patchbay-${tag}-ipvs`;

/** A setting of the namespace, and what it is where nobody has set it. */
interface Setting {
  readonly ours: string;
  readonly plain: string;
  read(netns: Netns): string | undefined;
  write(netns: Netns, value: string): void;
}

const sysctl = (key: string, ours: string, plain: string): Setting => ({
  ours,
  plain,
  read: (netns) => readSysctl(netns, key),
  write: (netns, value) => writeSysctl(netns, key, value, { optional: true }),
});

const SETTINGS: readonly Setting[] = [
  // Connection tracking sees to whom a connection leads: what is drained is counted, and what is gone is found.
  sysctl('net.ipv4.vs.conntrack', '1', '0'),
  // Who is gone is not sent to any more.
  sysctl('net.ipv4.vs.expire_nodest_conn', '1', '0'),
  {
    // Seconds. A silent connection lives as long as connection tracking's, and not a quarter of an hour.
    ours: '432000',
    plain: '900',
    read: (netns) => readIpvsTimeout(netns)?.toString(),
    write: (netns, value) => writeIpvsTimeout(netns, Number(value)),
  },
];

/** Puts ours in. What was there before is in the table's note; without one it is what it was, or `plain` where we have been. */
function settle(netns: Netns, note: string | undefined, hasBeenHere: boolean): string {
  const before = note?.split(' ');
  return SETTINGS.map((setting, i) => {
    const now = setting.read(netns) ?? setting.plain;
    if (now !== setting.ours) setting.write(netns, setting.ours);
    return before?.[i] ?? (hasBeenHere && now === setting.ours ? setting.plain : now);
  }).join(' ');
}

function unsettle(netns: Netns, note: string | undefined): void {
  const before = note?.split(' ');
  for (const [i, setting] of SETTINGS.entries())
    if (setting.read(netns) === setting.ours) setting.write(netns, before?.[i] ?? setting.plain);
}

const look = (netns: Netns, table: string): TableContents | undefined =>
  readTable(netns, nft.FAMILY.inet, table, Object.keys(SCHEME.maps));

/** By IPVS. Its calls for one namespace are done one after the other. Throws kernel_lacks. */
export function createIpvsBalancer(mark: Pick<Mark, 'tag'>): Balancer {
  const { tag } = mark;
  const locks = new KeyedLock();
  const table = tableOf(mark);
  const own = (netns: Netns) => readIpvs(netns).filter((service) => isOwn(tag, service.mark));

  async function clear(netns: Netns): Promise<void> {
    const found = look(netns, table);
    const services = own(netns);
    if (found === undefined && services.length === 0) return;
    await removeTable(netns, nft.FAMILY.inet, table);
    await changeIpvs(netns, ipvsChanges(services, []).last);
    unsettle(netns, found && noteIn(found));
  }

  async function apply(netns: Netns, services: readonly BalancedService[]): Promise<void> {
    if (services.length === 0) return await clear(netns);
    const groups = new Map(services.map((service) => [service, groupOf(service)]));
    refuseTooMany([...groups.values()]);
    const found = look(netns, table);
    const there = own(netns);
    const chains = [...groups.values()].map(({ chain }) => chain);
    const marks = marksFor(tag, chains, found === undefined ? new Map() : marksIn(found));
    const here = await addressesIn(netns);
    const wanted = [...groups].flatMap(([service, group]) => {
      const number = marks.get(group.chain);
      return number === undefined ? [] : ipvsOf(service, number, turned(netns, group).targets);
    });
    const changes = ipvsChanges(there, wanted);
    await changeIpvs(netns, changes.first);
    const note = settle(netns, found && noteIn(found), there.length > 0);
    const marked = [...groups.values()].map((group) => {
      const number = marks.get(group.chain);
      // IPVS leads nobody to itself, and without members it has nothing to refuse by.
      const isOurs = group.targets.length === 0 || group.targets.some((target) => here.has(target));
      return number === undefined || isOurs ? group : { ...group, mark: number };
    });
    const laid = await applyGroups(netns, table, { ...SCHEME, note }, marked, new TableMemory());
    const changed = new Set(laid.changed.map(({ chain }) => chain));
    await changeIpvs(netns, changes.last);
    const matches = [
      ...services.filter((service) => changed.has(groups.get(service)?.chain ?? '')).flatMap(strays),
      ...orphans(laid),
    ];
    if (matches.length > 0 && isTracking(netns)) await deleteFlows(netns, matches);
  }

  return {
    apply: (client, services) => locks.run(client.identity, () => apply(client, services)),
    clear: (client) => locks.run(client.identity, () => clear(client)),
    countFlows: flowsThrough,
  };
}

/** The namespace's own addresses. */
async function addressesIn(netns: Netns): Promise<ReadonlySet<string>> {
  const listed = await netns.rtnl().address.list();
  return new Set(listed.map(({ prefix }) => prefix.slice(0, prefix.indexOf('/'))));
}
