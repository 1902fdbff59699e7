/** What every KeeperLink owes its callers, as a suite to run against an implementation. */

import { describe, expect, test } from 'vitest';
import {
  codeOf,
  newEndpointId,
  newNetworkId,
  newSandboxId,
  type Address,
  type EndpointId,
  type NetworkId,
} from '../../src/base/index.ts';
import type { HoldRequest, KeeperLink, NameRecord, NetnsRef, SandboxWish } from '../../src/keeper/index.ts';

export interface KeeperManifest {
  /** A link to a keeper that holds nothing. */
  readonly open: () => Promise<KeeperLink>;
  /** A namespace for a sandbox, not the host's. */
  readonly netns: () => Promise<NetnsRef>;
  /** Takes a TCP port on 127.0.0.1 of the host for another process until the test ends; absent: nobody else is on this host. */
  readonly occupy?: (port: number) => Promise<void>;
}

const address = (text: string): Address => text as Address;
const network: NetworkId = newNetworkId();
const record = (name: string, at: string): NameRecord => ({
  network,
  networkName: 'mynet',
  names: [name],
  addresses: [address(at)],
});
const hold = (port: number, protocol: HoldRequest['protocol'] = 'tcp', ...addresses: string[]): HoldRequest => ({
  protocol,
  port,
  addresses: (addresses.length === 0 ? ['127.0.0.1'] : addresses).map(address),
});
const wish = (netns: NetnsRef, ports = { udp: 0, tcp: 0 }): SandboxWish => ({
  netns,
  ports,
  upstreams: [],
  view: { networks: [{ id: network, name: 'mynet' }], forwardsFromHost: true },
});

export function keeperContract(name: string, manifest: KeeperManifest): void {
  describe(`keeper contract: ${name}`, () => {
    test('a sandbox gets two different ports, keeps them over further wishes, and ends repeatably', async () => {
      const keeper = await manifest.open();
      const [id, netns] = [newSandboxId(), await manifest.netns()];
      const ports = await keeper.sandbox(id, wish(netns));
      expect(ports.udp).toBeGreaterThan(0);
      expect(ports.tcp).toBeGreaterThan(0);
      expect(ports.udp).not.toBe(ports.tcp);
      expect(await keeper.sandbox(id, wish(netns))).toEqual(ports);
      expect(await keeper.sandbox(id, wish(netns, ports))).toEqual(ports);
      expect((await keeper.inventory()).sandboxes).toEqual([id]);
      await keeper.sandbox(id, null);
      await keeper.sandbox(id, null);
      expect((await keeper.inventory()).sandboxes).toEqual([]);
      expect(await keeper.sandbox(id, wish(netns, ports))).toEqual(ports);
    });

    test('names come and go, repeatably', async () => {
      const keeper = await manifest.open();
      const [one, two] = [newEndpointId(), newEndpointId()];
      await keeper.names(one, record('c1', '10.0.0.2'));
      await keeper.names(one, record('c1', '10.0.0.3'));
      await keeper.names(two, record('c2', '10.0.0.4'));
      expect([...(await keeper.inventory()).endpoints].sort()).toEqual([one, two].sort());
      await keeper.names(one, null);
      await keeper.names(one, null);
      expect((await keeper.inventory()).endpoints).toEqual([two]);
    });

    test('names on another host are told as a whole, and are not those of this one', async () => {
      const keeper = await manifest.open();
      const [here, ...far] = [newEndpointId(), newEndpointId(), newEndpointId()];
      const told = (...ids: readonly EndpointId[]) => ({
        network,
        networkName: 'mynet',
        endpoints: ids.map((id, i) => ({ id, names: [`c${i}`], addresses: [address(`10.0.0.${i + 7}`)] })),
      });
      await keeper.names(here, record('c1', '10.0.0.2'));
      await keeper.peers('net-a', told(...far));
      await keeper.peers('net-b', told());
      const { endpoints, peers } = await keeper.inventory();
      expect([endpoints, [...peers].sort()]).toEqual([[here], ['net-a', 'net-b']]);
      await keeper.peers('net-a', told());
      for (const id of ['net-a', 'net-a', 'net-b']) await keeper.peers(id, null);
      expect((await keeper.inventory()).peers).toEqual([]);
    });

    test('holds are the whole set of their owner; those held already stay, unlisted ones go', async () => {
      const keeper = await manifest.open();
      const [one, two] = [newSandboxId(), newSandboxId()];
      expect(await keeper.holds(one, [hold(8080, 'tcp', '127.0.0.1', '127.0.0.2'), hold(8080, 'udp')])).toEqual([
        { ok: true },
        { ok: true },
      ]);
      expect(await keeper.holds(one, [hold(8080, 'udp'), hold(8081)])).toEqual([{ ok: true }, { ok: true }]);
      expect(await keeper.holds(two, [hold(8080)])).toEqual([{ ok: true }]);
      const { holds } = await keeper.inventory();
      expect(holds.map((h) => `${h.owner === one ? 1 : 2} ${h.protocol} ${h.port}`).sort()).toEqual([
        '1 tcp 8081',
        '1 udp 8080',
        '2 tcp 8080',
      ]);
      expect(await keeper.holds(one, [])).toEqual([]);
      await keeper.holds(two, []);
      expect((await keeper.inventory()).holds).toEqual([]);
    });

    test('a port of another owner is refused by name of the address, all or nothing, and the other groups stand', async () => {
      const keeper = await manifest.open();
      const [one, two] = [newSandboxId(), newSandboxId()];
      await keeper.holds(one, [hold(9000, 'tcp', '127.0.0.2')]);
      const answers = await keeper.holds(two, [
        hold(9001),
        hold(9000, 'tcp', '127.0.0.1', '127.0.0.2'),
        hold(9000, 'udp', '127.0.0.2'),
      ]);
      expect(answers).toEqual([{ ok: true }, { ok: false, address: '127.0.0.2', errno: 'EADDRINUSE' }, { ok: true }]);
      expect(await keeper.holds(one, [hold(9000, 'tcp', '127.0.0.2'), hold(9000, 'tcp', '127.0.0.1')])).toEqual([
        { ok: true },
        { ok: true },
      ]);
    });

    test('the same group twice in one call collides with itself', async () => {
      const keeper = await manifest.open();
      expect(await keeper.holds(newSandboxId(), [hold(9100), hold(9100)])).toEqual([
        { ok: true },
        { ok: false, address: '127.0.0.1', errno: 'EADDRINUSE' },
      ]);
    });

    test('a group that is ours stays wished while another has a part of it, is held elsewhere, and comes back', async () => {
      const keeper = await manifest.open();
      const [one, two] = [newSandboxId(), newSandboxId()];
      const group = { ...hold(9400, 'tcp', '127.0.0.1', '127.0.0.2'), isOurs: true };
      const taken = { ok: false, address: '127.0.0.2', errno: 'EADDRINUSE' };
      await keeper.holds(two, [hold(9400, 'tcp', '127.0.0.2')]);
      expect(await keeper.holds(one, [group])).toEqual([taken]);
      const { ok: _not, ...where } = taken;
      expect(keeper.conflicts).toEqual([{ owner: one, protocol: 'tcp', port: 9400, ...where }]);
      expect((await keeper.inventory()).conflicts).toEqual(keeper.conflicts);
      expect((await keeper.inventory()).holds.map(({ owner }) => owner)).toEqual([two]);
      // From here on the group may come back at any moment: the other one's address is let go of when its next wish is looked at.
      const changed = new Promise<void>((resolve) => {
        keeper.onConflicts = () => keeper.conflicts.length === 0 && resolve();
      });
      expect(await keeper.holds(two, [hold(9400, 'tcp', '127.0.0.1')])).toEqual([{ ...taken, address: '127.0.0.1' }]);
      await keeper.holds(two, []);
      await changed;
      expect(keeper.conflicts).toEqual([]);
      expect((await keeper.inventory()).holds.map(({ owner }) => owner)).toEqual([one]);
      expect(await keeper.holds(one, [group])).toEqual([{ ok: true }]);
    });

    test('a conflict ends with the release of its port', async () => {
      const keeper = await manifest.open();
      const [one, two] = [newSandboxId(), newSandboxId()];
      await keeper.holds(two, [hold(9500)]);
      await keeper.holds(one, [{ ...hold(9500), isOurs: true }]);
      expect(keeper.conflicts).toHaveLength(1);
      await keeper.holds(one, []);
      expect(keeper.conflicts).toEqual([]);
      await keeper.holds(one, [{ ...hold(9500), isOurs: true }]);
      await keeper.holds(one, [hold(9500)]);
      expect(keeper.conflicts).toEqual([]);
    });

    const { occupy } = manifest;
    if (occupy !== undefined) {
      test('a port of another process is refused', async () => {
        const keeper = await manifest.open();
        await occupy(9200);
        expect(await keeper.holds(newSandboxId(), [hold(9200)])).toEqual([
          { ok: false, address: '127.0.0.1', errno: 'EADDRINUSE' },
        ]);
      });
    }

    test('after close every call says resolver_unavailable', async () => {
      const keeper = await manifest.open();
      await keeper.close();
      await keeper.close();
      const codes = await Promise.all(
        [
          keeper.names(newEndpointId(), record('c', '10.0.0.2')),
          keeper.inventory(),
          keeper.holds(newSandboxId(), [hold(9300)]),
        ].map((call) => call.then(() => 'no error', codeOf)),
      );
      expect(codes).toEqual(Array(3).fill('resolver_unavailable'));
    });
  });
}
