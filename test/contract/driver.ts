/** What every network Driver owes its callers, as a suite to run against an implementation on a real namespace. */

import { describe, expect, test } from 'vitest';
import type { EndpointId, Json, Prefix } from '../../src/base/index.ts';
import type { Ctx, Driver, DriverEndpoint, DriverNetwork, JoinPlace } from '../../src/driver/index.ts';

export interface DriverStage {
  readonly driver: Driver;
  /** A network that the driver takes; its state is null. */
  readonly network: DriverNetwork;
  /** An address for the n-th endpoint; undefined for drivers without addresses. */
  address(n: number): Prefix | undefined;
  /** A fresh sandbox, with `eth0` as the wanted name. */
  place(): Promise<JoinPlace>;
  /** Everything in the host namespace that a driver could leave behind, as text; waits for what is deleted in the background. */
  world(): Promise<string>;
}

export interface DriverManifest {
  readonly open: () => Promise<DriverStage>;
}

const ctx: Ctx = { signal: new AbortController().signal };

async function withNetwork(stage: DriverStage): Promise<DriverNetwork> {
  const { state } = await stage.driver.createNetwork(ctx, stage.network);
  return { ...stage.network, state };
}

async function withEndpoint(stage: DriverStage, net: DriverNetwork, n: number): Promise<DriverEndpoint> {
  const v4 = stage.address(n);
  const id = String(n).padEnd(64, 'e') as EndpointId;
  const request = { id, name: `ep${n}`, iface: { ...(v4 && { v4 }) }, linkLocal: [], options: {} };
  const made = await stage.driver.createEndpoint(ctx, net, request);
  return { ...request, iface: made.iface, state: made.state };
}

const joined = (ep: DriverEndpoint, state: Json): DriverEndpoint => ({ ...ep, state });

export function driverContract(name: string, { open }: DriverManifest): void {
  describe(`driver contract: ${name}`, () => {
    test('a network that is created and deleted leaves nothing, and a second delete is no error', async () => {
      const stage = await open();
      const before = await stage.world();
      const net = await withNetwork(stage);
      await stage.driver.deleteNetwork(ctx, net);
      await stage.driver.deleteNetwork(ctx, net);
      expect(await stage.world()).toBe(before);
    });

    test('a network whose creation was never answered can be deleted by its record alone', async () => {
      const stage = await open();
      const before = await stage.world();
      await withNetwork(stage);
      await stage.driver.deleteNetwork(ctx, stage.network);
      expect(await stage.world()).toBe(before);
    });

    test('state is JSON: it comes back the same through a record', async () => {
      const stage = await open();
      const net = await withNetwork(stage);
      const ep = await withEndpoint(stage, net, 2);
      expect(JSON.parse(JSON.stringify([net.state, ep.state]))).toEqual([net.state, ep.state]);
      await stage.driver.deleteEndpoint(ctx, net, ep);
      await stage.driver.deleteNetwork(ctx, net);
    });

    test('an endpoint keeps the addresses that it was given, and may be deleted twice', async () => {
      const stage = await open();
      const net = await withNetwork(stage);
      const between = await stage.world();
      const ep = await withEndpoint(stage, net, 2);
      expect(ep.iface.v4).toBe(stage.address(2));
      await stage.driver.deleteEndpoint(ctx, net, ep);
      await stage.driver.deleteEndpoint(ctx, net, ep);
      expect(await stage.world()).toBe(between);
      await stage.driver.deleteNetwork(ctx, net);
    });

    test('an endpoint joins, leaves, joins another sandbox, and may leave twice', async () => {
      const stage = await open();
      const net = await withNetwork(stage);
      const between = await stage.world();
      const ep = await withEndpoint(stage, net, 2);
      for (let round = 0; round < 2; round++) {
        const place = await stage.place();
        const result = await stage.driver.join(ctx, net, ep, place);
        await expectJoined(stage, place, ep);
        await stage.driver.leave(ctx, net, joined(ep, result.state), place);
        await stage.driver.leave(ctx, net, joined(ep, result.state), place);
        expect((await place.netns.rtnl().link.list()).filter((link) => link.name === place.ifname)).toEqual([]);
      }
      await stage.driver.deleteEndpoint(ctx, net, ep);
      expect(await stage.world()).toBe(between);
      await stage.driver.deleteNetwork(ctx, net);
    });

    test('an endpoint whose sandbox is gone can leave and be deleted', async () => {
      const stage = await open();
      const net = await withNetwork(stage);
      const between = await stage.world();
      const ep = await withEndpoint(stage, net, 2);
      const result = await stage.driver.join(ctx, net, ep, await stage.place());
      await stage.driver.leave(ctx, net, joined(ep, result.state));
      await stage.driver.deleteEndpoint(ctx, net, joined(ep, result.state));
      expect(await stage.world()).toBe(between);
      await stage.driver.deleteNetwork(ctx, net);
    });

    test('endpoints of one network come and go at the same time', async () => {
      const stage = await open();
      const net = await withNetwork(stage);
      const between = await stage.world();
      await Promise.all(
        [2, 3, 4, 5].map(async (n) => {
          const [ep, place] = [await withEndpoint(stage, net, n), await stage.place()];
          const result = await stage.driver.join(ctx, net, ep, place);
          await expectJoined(stage, place, ep);
          await stage.driver.leave(ctx, net, joined(ep, result.state), place);
          await stage.driver.deleteEndpoint(ctx, net, ep);
        }),
      );
      expect(await stage.world()).toBe(between);
      await stage.driver.deleteNetwork(ctx, net);
    });

    test('a restore reports every network, and is harmless twice', async () => {
      const stage = await open();
      const net = await withNetwork(stage);
      const ep = await withEndpoint(stage, net, 2);
      const place = await stage.place();
      const result = await stage.driver.join(ctx, net, ep, place);
      const between = await stage.world();
      const endpoint = { ep: joined(ep, result.state), roles: { v4: true, v6: false }, ports: [], place };
      for (let round = 0; round < 2; round++) {
        const reports = await stage.driver.restorer?.restore(ctx, [{ net, endpoints: [endpoint] }]);
        for (const report of reports ?? []) expect(report).toMatchObject({ id: net.id, state: net.state });
        for (const report of reports ?? []) expect(report.problem).toBeUndefined();
      }
      expect(await stage.world()).toBe(between);
      await stage.driver.leave(ctx, net, joined(ep, result.state), place);
      await stage.driver.deleteNetwork(ctx, net);
    });
  });
}

/** In a sandbox of its own, an endpoint is there under its final name, up, with its addresses. */
async function expectJoined({ driver }: DriverStage, { netns, ifname }: JoinPlace, ep: DriverEndpoint): Promise<void> {
  if (driver.capabilities.sandbox !== 'own') return;
  const link = await netns.rtnl().link.get({ name: ifname });
  expect(link.up).toBe(true);
  if (driver.capabilities.ownMac !== false) expect(link.mac).toBe(ep.iface.mac);
  expect((await netns.rtnl().address.list({ link: link.index })).map((a) => a.prefix)).toContain(ep.iface.v4);
}
