/** An IPAM driver that a plugin serves (spec 03 §7). Leases are the plugin's; owners are known to the model alone. */

import {
  type Address,
  type Prefix,
  CnmError,
  familyOf,
  isUnspecified,
  messageOf,
  networkOf,
  parsePrefix,
  prefixAddress,
  prefixContains,
  prefixesOverlap,
  quoted,
} from '../../src/base/index.ts';
import { asking, wire } from '../../src/driver/index.ts';
import {
  type AddressRequest,
  type IpamDriver,
  type Pool,
  type PoolId,
  type PoolRequest,
  GATEWAY_REQUEST,
} from '../../src/ipam/index.ts';
import type { PluginClient } from './client.ts';

/** How often another subnet is asked for instead of one that the host uses. */
const MAX_REFUSALS = 16;
const { answers } = asking;

/** Of calls that have no caller who could go away. */
const always = (): { signal: AbortSignal } => ({ signal: new AbortController().signal });

export class RemoteIpam implements IpamDriver {
  readonly name: string;
  readonly #client: PluginClient;

  constructor(client: PluginClient) {
    this.name = client.name;
    this.#client = client;
  }

  /** Those of the plugin, once it is activated. */
  get capabilities(): IpamDriver['capabilities'] {
    return this.#client.manifest?.ipam ?? { requiresMac: false, requiresReplay: false };
  }

  async addressSpaces(): Promise<{ readonly local: string; readonly global: string }> {
    const answer = await this.#client.call('IpamDriver.GetDefaultAddressSpaces', undefined, answers.addressSpaces, always());
    return { local: answer.LocalDefaultAddressSpace ?? '', global: answer.GlobalDefaultAddressSpace ?? '' };
  }

  /** A subnet that the host uses is kept until another one is found, so that it is not handed out again, and then released. */
  async requestPool(request: PoolRequest): Promise<Pool> {
    const refused: Pool[] = [];
    try {
      for (let n = 0; n <= MAX_REFUSALS; n++) {
        const pool = await this.#requestOne(request);
        const hit = this.#isFree(request) ? request.exclude?.find(({ prefix }) => isHit(pool.prefix, prefix)) : undefined;
        if (hit === undefined) return pool;
        const isRepeated = refused.some(({ id }) => id === pool.id);
        if (!isRepeated) refused.push(pool);
        if (isRepeated || n === MAX_REFUSALS) throw this.#exhausted(pool, hit.reason);
      }
      throw new CnmError('internal', 'no subnet was asked for');
    } finally {
      for (const { id } of refused) await this.releasePool(id);
    }
  }

  /** Any subnet will do. */
  #isFree({ subnet }: PoolRequest): boolean {
    return subnet === undefined || isUnspecified(prefixAddress(subnet));
  }

  #exhausted({ prefix }: Pool, reason: string): CnmError {
    return new CnmError(
      'pools_exhausted',
      `plugin ${quoted(this.name)} offers ${prefix}, which overlaps ${reason}, and no other: give --subnet`,
    );
  }

  async #requestOne(request: PoolRequest): Promise<Pool> {
    const body = {
      AddressSpace: request.space,
      Pool: request.subnet ?? '',
      SubPool: request.range ?? '',
      Options: { ...request.options },
      V6: request.family === 6,
    };
    const answer = await this.#client.call('IpamDriver.RequestPool', body, answers.requestPool, always());
    await this.#client.forgive('IpamDriver.ReleasePool', { PoolID: answer.PoolID });
    try {
      const prefix = networkOf(parsePrefix(answer.Pool));
      if (familyOf(prefix) !== request.family) throw new CnmError('bad_subnet', `${prefix} is not of IPv${request.family}`);
      if (!this.#isFree(request) && prefix !== request.subnet)
        throw new CnmError('bad_subnet', `${prefix} is not the subnet ${request.subnet} that was asked for`);
      const given = answer.Data?.[GATEWAY_REQUEST];
      const gateway = typeof given === 'string' && given !== '' ? wire.addressOf(given) : undefined;
      if (gateway !== undefined && !prefixContains(prefix, gateway))
        throw new CnmError('bad_gateway', `gateway ${gateway} is not inside ${prefix}`);
      return { id: answer.PoolID, prefix, ...(gateway && { gateway }) };
    } catch (error) {
      await this.releasePool(answer.PoolID);
      throw this.#fault('RequestPool', error);
    }
  }

  async releasePool(pool: PoolId): Promise<void> {
    await this.#client.dismiss('IpamDriver.ReleasePool', { PoolID: pool });
  }

  async requestAddress(pool: PoolId, request: AddressRequest): Promise<Prefix> {
    const options = { ...request.options, ...(request.mac && { [wire.keys.macAddress]: request.mac }) };
    const body = { PoolID: pool, Address: request.address ?? '', Options: options };
    const answer = await this.#client.call('IpamDriver.RequestAddress', body, answers.requestAddress, always());
    if (!answer.Address) throw this.#fault('RequestAddress', new Error('no address returned'));
    try {
      const prefix = parsePrefix(answer.Address);
      await this.#client.forgive('IpamDriver.ReleaseAddress', { PoolID: pool, Address: prefixAddress(prefix) });
      if (request.address === undefined || prefixAddress(prefix) === request.address) return prefix;
      await this.releaseAddress(pool, prefixAddress(prefix));
      throw new CnmError('bad_address', `${prefix} is not the address ${request.address} that was asked for`);
    } catch (error) {
      throw this.#fault('RequestAddress', error);
    }
  }

  async releaseAddress(pool: PoolId, address: Address): Promise<void> {
    await this.#client.dismiss('IpamDriver.ReleaseAddress', { PoolID: pool, Address: address });
  }

  #fault(method: string, error: unknown): CnmError {
    return new CnmError('plugin_failed', `plugin ${quoted(this.name)}: IpamDriver.${method}: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

/** The subnet of networks without addresses hits nothing. */
const isHit = (pool: Prefix, taken: Prefix): boolean => !isUnspecified(prefixAddress(pool)) && prefixesOverlap(pool, taken);
