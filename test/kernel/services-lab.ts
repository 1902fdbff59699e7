/** What tests of services share: a balancer that writes down what it was told, and small questions to resolvers. */

import type { BalancedMember, BalancedService, Balancer, TableMemory } from '../../src/balance/index.ts';
import type { Netns } from '../../src/kernel/index.ts';
import type { House } from './house-lab.ts';
import type { TestHost } from './support.ts';

/** The real one, and by the namespace's identity what clients were told last. */
export class NotedBalancer implements Balancer {
  readonly told = new Map<string, readonly BalancedService[]>();
  #inner: Balancer | undefined;

  /** Tells `inner` too, from now on. */
  over(inner: Balancer): this {
    this.#inner = inner;
    return this;
  }
  async apply(client: Netns, services: readonly BalancedService[], memory?: TableMemory): Promise<void> {
    await this.#inner?.apply(client, services, memory);
    this.told.set(client.identity, services);
  }
  async clear(client: Netns): Promise<void> {
    await this.#inner?.clear(client);
    this.told.delete(client.identity);
  }
  async countFlows(client: Netns, member: BalancedMember): Promise<number> {
    return (await this.#inner?.countFlows(client, member)) ?? 0;
  }
}

export async function addressesOf(place: TestHost, name: string): Promise<string[]> {
  const { stdout } = await place.exec('dig', ['+short', '+tries=1', '+time=2', '@127.0.0.11', name]);
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .sort();
}

export async function nameOf(place: TestHost, address: string): Promise<string> {
  return (await place.exec('dig', ['+short', '+tries=1', '+time=2', '@127.0.0.11', '-x', address])).stdout.trim();
}

/** States of a service's members, by sandbox. */
export function membersOf({ controller }: House, service: string): Record<string, string> {
  const { id, network } = controller.services.find(service);
  return Object.fromEntries(
    controller.endpointsOfNetwork(network).flatMap(({ name, services }) => {
      const place = services?.find((one) => one.service === id);
      return place === undefined ? [] : [[name, place.state]];
    }),
  );
}
