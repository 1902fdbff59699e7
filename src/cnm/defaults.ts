/** The predefined networks: none, host and the default bridge (spec 01 §5). The one that is made on demand is gateway-bridge.ts. */

import { CnmError, messageOf, networkOf, prefixAddress } from '../base/index.ts';
import { labels } from '../driver/index.ts';
import { type Cnm, contextOf } from './context.ts';
import { settleGatewaysAtStart } from './gateway-bridge.ts';
import { makeNetwork, unmakeNetwork } from './networks.ts';
import type { NetworkRecord } from './records.ts';

/** Devices tried for the default network of a further daemon on one host: patchbay0, patchbay1, … */
const MAX_DEFAULT_BRIDGES = 64;

/** Makes what is missing and takes away a default bridge that is wished no longer. A failure is logged: it never stops the start. */
export async function ensureDefaults(cnm: Cnm): Promise<void> {
  const present = new Set(cnm.state.allNetworks().map((n) => n.name));
  for (const [name, driver] of [
    ['none', 'null'],
    ['host', 'host'],
  ] as const) {
    if (!present.has(name)) await makeNetwork(cnm, { name, driver }, contextOf());
  }
  try {
    await ensureBridge(cnm);
  } catch (error) {
    if (cnm.defaultBridge.kind === 'adopt') throw error;
    cnm.env.log.error({ err: error }, `the default network cannot be made: ${messageOf(error)}`);
  }
  await settleGatewaysAtStart(cnm);
}

/** What can be known to be wrong before the start changes anything. Throws bad_config. */
export async function checkDefaults(cnm: Cnm): Promise<void> {
  const wish = cnm.defaultBridge;
  if (wish.kind === 'adopt' && bridgePlan(cnm).make) await existingBridge(cnm, wish.name);
}

interface BridgePlan {
  /** A default network that is wished no longer. */
  readonly stale?: NetworkRecord;
  readonly make: boolean;
}

function bridgePlan({ state, defaultBridge: wish }: Cnm): BridgePlan {
  const found = state.allNetworks().find((n) => n.name === 'bridge');
  if (found === undefined) return { make: wish.kind !== 'none' };
  const device = found.options[labels.bridgeName];
  const isStale = wish.kind === 'none' || (wish.kind === 'adopt' && wish.name !== device);
  if (!isStale) return { make: false };
  const isInUse = state.endpointsOfNetwork(found.id).length > 0;
  return { stale: found, make: wish.kind !== 'none' && !isInUse };
}

async function ensureBridge(cnm: Cnm): Promise<void> {
  const wish = cnm.defaultBridge;
  const { stale, make } = bridgePlan(cnm);
  if (stale !== undefined && cnm.state.endpointsOfNetwork(stale.id).length > 0) {
    cnm.env.log.warn({ network: stale.id }, 'the default network is in use and stays as it was');
    return;
  }
  if (stale !== undefined) await unmakeNetwork(cnm, stale.id);
  if (!make) return;
  const name = wish.kind === 'adopt' ? await existingBridge(cnm, wish.name) : await freeDevice(cnm);
  await makeNetwork(
    cnm,
    {
      name: 'bridge',
      driver: 'bridge',
      options: { [labels.bridgeName]: name, [labels.defaultBridge]: 'true' },
      ...(await adoptedSubnet(cnm, wish)),
    },
    contextOf(),
  );
}

async function existingBridge(cnm: Cnm, name: string): Promise<string> {
  const link = await cnm.host.rtnl().link.find({ name });
  if (link?.kind !== 'bridge') {
    throw new CnmError(
      'bad_config',
      `--bridge ${name}: ${link === undefined ? 'there is no such link' : 'it is not a bridge'}; it must be made before`,
    );
  }
  return name;
}

/** An adopted bridge that has an IPv4 address keeps it: its subnet becomes the network's. */
async function adoptedSubnet(
  cnm: Cnm,
  wish: Cnm['defaultBridge'],
): Promise<{ ipam?: { config: { subnet: string; gateway: string }[] } }> {
  if (wish.kind !== 'adopt') return {};
  const rtnl = cnm.host.rtnl();
  const { index } = await rtnl.link.get({ name: wish.name });
  const own = (await rtnl.address.list({ link: index })).map((a) => a.prefix).find((prefix) => !prefix.includes(':'));
  if (own === undefined) return {};
  return { ipam: { config: [{ subnet: networkOf(own), gateway: prefixAddress(own) }] } };
}

async function freeDevice(cnm: Cnm): Promise<string> {
  for (let number = 0; number < MAX_DEFAULT_BRIDGES; number++) {
    const name = `patchbay${number}`;
    if ((await cnm.host.rtnl().link.find({ name })) === undefined) return name;
  }
  throw new CnmError('name_taken', `patchbay0 to patchbay${MAX_DEFAULT_BRIDGES - 1} are all taken`);
}
