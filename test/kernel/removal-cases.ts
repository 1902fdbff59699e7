/** Removals that may fail half-way, and what they are of. */

import type { House } from './house-lab.ts';

/** More calls than any of the removals has. */
export const MOST_CALLS = 100;

export type Act = (house: House) => Promise<unknown>;

export const REMOVALS: readonly (readonly [what: string, act: Act])[] = [
  ['a disconnect', ({ controller }) => controller.disconnect('net', 'box', false)],
  ['the removal of a sandbox', ({ controller }) => controller.deleteSandbox('box', false)],
  ['the removal of an endpoint', ({ controller }) => controller.deleteEndpoint('ep', true)],
];

/** A sandbox with a published port in network `net`, which is there, and an endpoint by itself. */
export async function inhabit({ controller }: House): Promise<void> {
  await controller.createSandbox({ name: 'box', networks: [['net', {}]], portBindings: { '80/tcp': [{ HostPort: '8080' }] } });
  await controller.createEndpoint('net', 'ep');
}
