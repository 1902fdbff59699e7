/** The connection to an etcd cluster: one member at a time, the next one when it fails; calls with a deadline, and streams. */

import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type ChannelCredentials,
  Client,
  type ClientDuplexStream,
  type ServiceDefinition,
  type ServiceError,
  credentials,
  loadPackageDefinition,
  status,
} from '@grpc/grpc-js';
import { fromJSON } from '@grpc/proto-loader';
import { CnmError, type EtcdAddress, messageOf } from '../../base/index.ts';

import { descriptor } from './protocol.ts';

/** Of one try, and of a call with all its tries, milliseconds. A dead leader takes its followers some 1.5 s. */
const TRY_MS = 2000;
const CALL_MS = 8000;
const RETRY_MS = 100;
/** The same while the last call had no answer at all: who changes something then is told soon. */
const DOUBTFUL_TRY_MS = 500;
const DOUBTFUL_CALL_MS = 1500;
/** Rounds through all members without a connection to any of them: then the cluster is away, and nobody waits for it. */
const LONELY_ROUNDS = 3;
/** Answers of a whole cluster's records, octets. */
const MAX_ANSWER = 256 * 1024 * 1024;
/** etcd refuses pings that come more often than each 5 s. */
const OPTIONS = {
  'grpc.keepalive_time_ms': 6000,
  'grpc.keepalive_timeout_ms': 2000,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 1000,
  'grpc.max_receive_message_length': MAX_ANSWER,
};

type Services = Readonly<Record<'KV' | 'Watch' | 'Lease', { readonly service: ServiceDefinition }>>;

/** A member that is away, or hangs, or just loses its leader. */
const PASSING = new Set([status.UNAVAILABLE, status.DEADLINE_EXCEEDED, status.UNKNOWN, status.INTERNAL]);

/** One try of a call whose end is not known may have been done all the same. */
export interface Outcome<T> {
  readonly answer: T;
  readonly isRepeated: boolean;
}

export class EtcdChannel {
  /** One of each member; the one at `#at` is asked. */
  readonly #clients: readonly Client[];
  #at = 0;
  readonly #services: Services;
  readonly #address: EtcdAddress;
  #isClosed = false;
  /** The last call had no answer in time. */
  #isDoubtful = false;

  constructor(address: EtcdAddress) {
    this.#address = address;
    const loaded = loadPackageDefinition(fromJSON(descriptor() as never, { keepCase: true, longs: String, defaults: true }));
    this.#services = loaded['etcdserverpb'] as unknown as Services;
    const secrets = credentialsOf(address);
    this.#clients = address.members.map(
      (member) => new Client(member.startsWith('/') ? `unix:${member}` : member, secrets, OPTIONS),
    );
  }

  /**
   * Asks until there is an answer. Throws store_refused where nothing was done, and store_unreachable where that is not known: there is no
   * answer in time, or a refusal behind a try without one.
   */
  async call<T>(service: keyof Services, method: string, request: object): Promise<Outcome<T>> {
    const [callMs, tryMs] = this.#isDoubtful ? [DOUBTFUL_CALL_MS, DOUBTFUL_TRY_MS] : [CALL_MS, TRY_MS];
    const deadline = performance.now() + callMs;
    let lonely = 0;
    for (let isRepeated = false; ; isRepeated = true) {
      const client = this.#current();
      try {
        const answer = await this.#try<T>(client, service, method, request, tryMs);
        this.#isDoubtful = false;
        return { answer, isRepeated };
      } catch (error) {
        lonely = isUnconnected(error) ? lonely + 1 : 0;
        const isAway = lonely >= LONELY_ROUNDS * this.#clients.length;
        if (!PASSING.has((error as ServiceError).code) || this.#isClosed) throw this.#failure(error, isRepeated);
        this.#leave(client);
        if (isAway || performance.now() + RETRY_MS > deadline) {
          this.#isDoubtful = true;
          throw this.#failure(error, isRepeated);
        }
        await sleep(RETRY_MS);
      }
    }
  }

  #try<T>(client: Client, service: keyof Services, method: string, request: object, ms: number): Promise<T> {
    const { path, requestSerialize, responseDeserialize } = this.#method(service, method);
    const options = { deadline: Date.now() + ms };
    return new Promise((resolve, reject) => {
      client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, options, (error, answer) => {
        if (error !== null) reject(error);
        else resolve(answer as T);
      });
    });
  }

  /** Opens a stream to one member; `end` it or `cancel` it. When it fails, the next one goes to another member. */
  stream<Q, A>(service: keyof Services, method: string): ClientDuplexStream<Q, A> {
    const { path, requestSerialize, responseDeserialize } = this.#method(service, method);
    const client = this.#current();
    const stream = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize) as ClientDuplexStream<Q, A>;
    stream.on('error', (error: ServiceError) => {
      if (error.code !== status.CANCELLED) this.#leave(client);
    });
    return stream;
  }

  close(): void {
    this.#isClosed = true;
    for (const client of this.#clients) client.close();
  }

  #current(): Client {
    const client = this.#clients[this.#at];
    if (this.#isClosed || client === undefined) throw new CnmError('store_unreachable', 'the link to the cluster is closed');
    return client;
  }

  /** Unless another call has done so already. */
  #leave(client: Client): void {
    if (this.#clients[this.#at] === client) this.#at = (this.#at + 1) % this.#clients.length;
  }

  #method(service: keyof Services, name: string) {
    const method = this.#services[service].service[name];
    if (method === undefined) throw new CnmError('internal', `etcd's ${service} has no ${name}`);
    return method;
  }

  #failure(error: unknown, isRepeated: boolean): CnmError {
    if (error instanceof CnmError) return error;
    const refused = isRepeated ? 'store_unreachable' : 'store_refused';
    const { code, details } = error as ServiceError;
    const members = this.#address.members.join(', ');
    if (code === status.UNAUTHENTICATED || code === status.PERMISSION_DENIED)
      return new CnmError(refused, `etcd at ${members} does not let us in: ${details}`, { cause: error });
    if (code === status.INVALID_ARGUMENT || code === status.RESOURCE_EXHAUSTED)
      return new CnmError(refused, `etcd at ${members} refuses a change: ${details}`, { cause: error });
    return new CnmError('store_unreachable', `etcd at ${members} does not answer: ${details ?? messageOf(error)}`, {
      cause: error,
    });
  }
}

/** No member has seen the call. What a member says itself, such as that it has no leader, begins with its name. */
const isUnconnected = (error: unknown): boolean => {
  const { code, details } = error as ServiceError;
  return code === status.UNAVAILABLE && !details.startsWith('etcdserver');
};

function credentialsOf({ tls }: EtcdAddress): ChannelCredentials {
  if (tls === undefined) return credentials.createInsecure();
  const read = (path: string | undefined): Buffer | null => {
    if (path === undefined) return null;
    try {
      return readFileSync(path);
    } catch (error) {
      throw new CnmError('bad_request', `the TLS file ${path} of the cluster cannot be read: ${messageOf(error)}`, {
        cause: error,
      });
    }
  };
  return credentials.createSsl(read(tls.ca), read(tls.key), read(tls.cert));
}
