import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { createBridgeDriver } from '../../drivers/bridge/driver.ts';
import { createHostDriver } from '../../drivers/host/driver.ts';
import { createMacvlanDriver } from '../../drivers/macvlan/driver.ts';
import { createNullDriver } from '../../drivers/null/driver.ts';
import { createOverlayDriver } from '../../drivers/overlay/driver.ts';
import { VXLAN_PORT } from '../../drivers/overlay/segments.ts';
import { type Address, type NetworkId, type Prefix, type SandboxId, silentLogger } from '../../src/base/index.ts';
import { createNumbers } from '../../src/cluster/index.ts';
import type { Driver, DriverNetwork } from '../../src/driver/index.ts';
import { openFirewall } from '../../src/firewall/index.ts';
import { createReaper, markOf, newInstanceId, removeNetnsPin } from '../../src/kernel/index.ts';
import { MemoryStore } from '../../src/store/index.ts';
import { afterTest } from '../kernel/keeper-lab.ts';
import { type TestHost, hostAt, testFolder, testHosts } from '../kernel/support.ts';
import { type DriverStage, driverContract } from './driver.ts';

const network: DriverNetwork = {
  id: 'c'.repeat(64) as NetworkId,
  name: 'contract',
  internal: false,
  enableIPv4: true,
  enableIPv6: false,
  options: {},
  v4: [{ prefix: '10.66.0.0/24' as Prefix, gateway: '10.66.0.1' as Address, aux: { host: '10.66.0.9' as Address } }],
  v6: [],
  state: null,
};

/** Links, addresses, routes and rules of ours, without counters and with nothing that waits for its deletion. */
async function worldOf({ exec }: TestHost, pins: string, settled: () => Promise<void>): Promise<string> {
  await settled();
  // The carrier of a bridge without ports goes a moment later.
  const text = async (command: string, ...args: string[]): Promise<string> =>
    (await exec(command, args)).stdout.replaceAll(/ *linkdown */g, '').replaceAll(/ +$/gm, '');
  const links = (await text('ip', '-o', 'link')).split('\n').map((line) => line.split(':')[1]?.split('@')[0]?.trim());
  const rules = (await text('iptables-save'))
    .replaceAll(/\[\d+:\d+\]|# .*/g, '')
    .split('\n')
    .filter((line) => /br-|veth/.test(line));
  return [...readdirSync(pins), ...links, await text('ip', '-o', '-4', 'addr'), await text('ip', '-4', 'route'), ...rules].join(
    '\n',
  );
}

async function stageOf(
  make: (parts: Parameters<typeof createBridgeDriver>[0], pins: string) => Driver,
  addressed: boolean,
  options: DriverNetwork['options'] = {},
): Promise<DriverStage> {
  const hosts = await testHosts(1);
  const at = hostAt(hosts, 0);
  await at.exec('sh', ['-ec', 'ip link add lan0 type veth peer name lan1; ip link set lan0 up; ip link set lan1 up']);
  const mark = markOf(newInstanceId());
  const reaper = createReaper(at.host, mark, silentLogger);
  const firewall = await openFirewall({ backend: 'iptables', host: at.host, mark, log: silentLogger });
  onTestFinished(() => firewall.close());
  await firewall.sync([]);
  const pins = testFolder();
  afterTest(() => readdirSync(pins).forEach((name) => removeNetnsPin(join(pins, name))));
  const driver = make({ host: at.host, firewall, mark, reaper, env: { log: silentLogger, now: Date.now } }, pins);
  let places = 0;
  return {
    driver,
    network: { ...network, options, ...(!addressed && { v4: [] }) },
    address: (n) => (addressed ? (`10.66.0.${n}/24` as Prefix) : undefined),
    async place() {
      const { host } = hostAt(await testHosts(1), 0);
      return { sandbox: String(places++).padStart(64, 's') as SandboxId, netns: host, ifname: 'eth0' };
    },
    world: () =>
      worldOf(at, pins, async () => {
        reaper.kick();
        await reaper.idle();
      }),
  };
}

driverContract('bridge', { open: () => stageOf(createBridgeDriver, true) });
driverContract('macvlan', {
  open: () => stageOf((parts) => createMacvlanDriver(parts), true, { parent: 'lan0', host_access: 'true' }),
});
driverContract('overlay', {
  open: () =>
    stageOf(
      (parts, pinFolder) =>
        createOverlayDriver({
          ...parts,
          pinFolder,
          vtep: () => '127.0.0.1' as Address,
          dataPathPort: VXLAN_PORT,
          numbers: createNumbers(new MemoryStore(), 'vni'),
        }),
      true,
    ),
});
driverContract('host', { open: () => stageOf(createHostDriver, false) });
driverContract('null', { open: () => stageOf(createNullDriver, false) });
