/** From nothing to a lease (RFC 2131 §3.1): who offers what, and which offer is taken; and the way back. */

import {
  type Address,
  CnmError,
  type Prefix,
  makePrefix,
  messageOf,
  networkOf,
  prefixContains,
  undoable,
} from '../../src/base/index.ts';
import type { Clock } from './clock.ts';
import { type Answer, exchange, tell } from './exchange.ts';
import { type Client, type DhcpParts, type Grant, type LeaseRecord, identityOf, recordOf } from './leases.ts';
import { type Terms, termsOf } from './terms.ts';
import type { Wires } from './wire.ts';

/** Where and when the world is asked. */
export interface Asking extends DhcpParts {
  readonly wires: Wires;
  readonly clock: Clock;
}

/** From one sending of a question to the next, and to the end of waiting, milliseconds. */
const PAUSES_MS = [4000, 6000];
/** Times that an offer comes to nothing before we give up. Of many who ask at once and are offered one address, one a time gets it. */
const MAX_ROUNDS = 16;

export interface Surroundings {
  readonly subnet: Prefix;
  readonly router?: Address;
}

/** What a server says of the wire; nothing is leased. Throws dhcp_unanswered, dhcp_refused, parent_gone. */
export async function probe(asking: Asking, parent: string, network: string): Promise<Surroundings> {
  let refusal: string | undefined;
  const found = await exchange(asking.wires, asking.clock, {
    parent,
    identity: { clientId: anonymous(network) },
    asks: [{ type: 'discover' }],
    pausesMs: PAUSES_MS,
    signal: asking.closing,
    accept(answer): Surroundings | undefined {
      if (answer.type !== 'offer' || answer.address === undefined) return undefined;
      if (answer.length === undefined || answer.length > MAX_LENGTH) {
        refusal = `DHCP server ${answer.server} on ${parent} does not say how large its subnet is: give --subnet`;
        return undefined;
      }
      const subnet = networkOf(makePrefix(answer.address, answer.length));
      const { router } = answer;
      return { subnet, ...(router && prefixContains(subnet, router) && { router }) };
    },
    isEnough: () => refusal !== undefined,
  });
  if (found !== undefined) return found;
  if (refusal !== undefined) throw new CnmError('dhcp_refused', refusal);
  throw new CnmError(
    'dhcp_unanswered',
    `no DHCP server answers on ${parent}: start one there, or give --subnet, and addresses are asked for when sandboxes come`,
  );
}

/** Longest prefix of a subnet with a router and a sandbox. */
const MAX_LENGTH = 30;

/** An identifier that is no MAC (RFC 2132 §9.14): type 0 and the id's first octets. */
export const anonymous = (id: string): Uint8Array => Buffer.concat([Buffer.from([0]), Buffer.from(id.slice(0, 32), 'hex')]);

/**
 * Leases an address, recorded before the server is told that it is wanted and before this returns. What fails has given back
 * what it got. Throws dhcp_unanswered, dhcp_refused, address_in_use, parent_gone.
 */
export async function acquire(
  asking: Asking,
  client: Client,
  wanted: Address | undefined,
  reserved: ReadonlySet<Address>,
): Promise<LeaseRecord> {
  for (let round = 1; ; round++) {
    const offer = await discover(asking, client, wanted, reserved);
    const outcome = 'refusal' in offer ? offer : await take(asking, client, offer);
    if (!('refusal' in outcome)) return outcome;
    if (round === MAX_ROUNDS) throw outcome.refusal;
  }
}

type Offer = Answer & { readonly address: Address };

/** What may go well the next time: servers offer one address to many who ask at once. */
interface Refusal {
  readonly refusal: CnmError;
}

function take(asking: Asking, client: Client, offer: Offer): Promise<LeaseRecord | Refusal> {
  return undoable(async (undo) => {
    undo.add('give lease back', () => giveBack(asking, client.id));
    const taken = await request(asking, client, offer);
    if ('refusal' in taken) await asking.leases.remove(client.id);
    return taken;
  });
}

async function discover(
  asking: Asking,
  client: Client,
  wanted: Address | undefined,
  reserved: ReadonlySet<Address>,
): Promise<Offer | Refusal> {
  const { parent, subnet, name } = client;
  let refusal: CnmError | undefined;
  const refuse = (code: 'address_in_use' | 'dhcp_refused', text: string): undefined => void (refusal = new CnmError(code, text));
  const offer = await exchange(asking.wires, asking.clock, {
    parent,
    identity: identityOf(client),
    asks: [{ type: 'discover', ...(wanted && { requestedAddress: wanted }) }],
    pausesMs: PAUSES_MS,
    signal: asking.closing,
    accept({ ...answer }): Offer | Refusal | undefined {
      const { type, address, server } = answer;
      if (type !== 'offer' || address === undefined) return undefined;
      const told = `DHCP server ${server} on ${parent} offers ${address}`;
      if (wanted !== undefined && address !== wanted)
        return refuse(
          'address_in_use',
          `${told} instead of ${wanted}: reserve that one for ${name} in the server, or ask for none`,
        );
      if (!prefixContains(subnet, address))
        return refuse('dhcp_refused', `${told}, which is not inside ${subnet}: make the network with the server's own subnet`);
      const isTaken = asking.leases.all().some((one) => one.parent === parent && one.address === address);
      if (isTaken || reserved.has(address))
        return {
          refusal: new CnmError('dhcp_refused', `${told}, which is in use on this host: see the server's reservations`),
        };
      return { ...answer, address };
    },
    isEnough: () => refusal !== undefined,
  });
  if (offer !== undefined) return offer;
  throw (
    refusal ??
    new CnmError(
      'dhcp_unanswered',
      `no DHCP server on ${parent} offers an address to ${name}: see that one runs, and that it has addresses left`,
    )
  );
}

async function request(asking: Asking, client: Client, offer: Offer): Promise<LeaseRecord | Refusal> {
  const { address, server, serverMac } = offer;
  const askedAt = asking.clock.wall();
  const grantOf = (terms: Terms): Grant => ({ address, server, serverMac, askedAt, terms, home: asking.home });
  const draft = recordOf(client, address);
  const none = { renewMs: 0, rebindMs: 0, leaseMs: 0 };
  await asking.leases.put({ ...draft, isAsked: true, grant: grantOf(termsOf(offer) ?? none) });
  const answer = await exchange(asking.wires, asking.clock, {
    parent: client.parent,
    identity: identityOf(client),
    asks: [{ type: 'request', requestedAddress: address, server }],
    xid: offer.xid,
    pausesMs: PAUSES_MS,
    signal: asking.closing,
    accept(reply): Terms | 'refused' | undefined {
      if (reply.server !== server) return undefined;
      if (reply.type === 'nak') return 'refused';
      return reply.type === 'ack' && reply.address === address ? termsOf(reply) : undefined;
    },
  });
  if (answer === undefined)
    throw new CnmError(
      'dhcp_unanswered',
      `DHCP server ${server} on ${client.parent} has offered ${address} to ${client.name} and does not answer any more: try again`,
    );
  if (answer === 'refused') {
    const text = `DHCP server ${server} on ${client.parent} offers ${address} to ${client.name} and then refuses it: see its log`;
    return { refusal: new CnmError('dhcp_refused', text) };
  }
  const record = { ...draft, grant: grantOf(answer) };
  await asking.leases.put(record);
  return record;
}

/** Ends a lease and tells the server, which does not answer: what does not reach it runs out. No lease is no error. */
export async function giveBack(asking: Asking, id: string): Promise<void> {
  const lease = asking.leases.get(id);
  if (lease === undefined) return;
  const { grant } = lease;
  if (grant !== undefined && lease.refused === undefined) await release(asking, lease, { ...grant, address: lease.address });
  await asking.leases.remove(id);
}

/** Tells a server that its address is not used. Never throws: nobody answers, and what does not reach the server runs out. */
export async function release(
  asking: Asking,
  client: Client,
  { address, server, serverMac }: Pick<Grant, 'address' | 'server' | 'serverMac'>,
): Promise<void> {
  const way = { targetMac: serverMac, source: address, target: server };
  const words = { type: 'release', clientAddress: address, server, way } as const;
  await tell(asking.wires, client.parent, identityOf(client), words).catch((error: unknown) =>
    asking.env.log.warn(
      { endpoint: client.id, address, problem: messageOf(error) },
      'a DHCP server is not told that a lease has ended',
    ),
  );
}
