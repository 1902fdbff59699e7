/** UDP flows that began while the rules of a published port were away: they are led to it once the rules are back. */

import { createSocket, type Socket } from 'node:dgram';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, onTestFinished, test } from 'vitest';
import { parseAddress, silentLogger, type Address, type Logger } from '../../src/base/index.ts';
import { openFirewall, type Firewall, type PortRule } from '../../src/firewall/index.ts';
import { openUdpSocket, type Netns } from '../../src/kernel/index.ts';
import { makeLab, markOf, network, publish, publishRules, serveUdp, withdraw, type Lab } from './firewall-lab.ts';
import type { TestHost } from './support.ts';

const HOST = { 4: '192.0.2.1', 6: '2001:db8::1' } as const;
const PORT = 5353;
const ROUNDS = 15;
const ROUND_MS = 100;
const FLUSH = 'for t in iptables ip6tables; do $t -t nat -F; done';
const DNS = { protocol: 'udp', port: 53 } as const;

const sockets: Socket[] = [];
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.close();
});

async function open(at: TestHost, log: Logger = silentLogger, host: Netns = at.host): Promise<Firewall> {
  const firewall = await openFirewall({ backend: 'iptables', host, mark: markOf('c0ffee00'), log });
  onTestFinished(() => firewall.close());
  return firewall;
}

function udp(at: TestHost, family: 4 | 6, port: number): Socket {
  const address = parseAddress(family === 4 ? '0.0.0.0' : '::');
  const socket = createSocket(family === 4 ? 'udp4' : 'udp6');
  socket.bind({ fd: at.host.run(() => openUdpSocket({ address, port })) });
  sockets.push(socket);
  return socket;
}

/** A caller that keeps its port: whoever answers its datagrams within a while, or `nothing`. */
function caller(at: TestHost, address: string, port: number, to = PORT): () => Promise<string> {
  const socket = udp(at, address.includes(':') ? 6 : 4, port);
  let answer: string | undefined;
  socket.on('message', (message) => (answer = message.toString().split(' ')[0]));
  return async () => {
    answer = undefined;
    for (let round = 0; round < ROUNDS && answer === undefined; round++) {
      socket.send('?', to, address);
      await sleep(ROUND_MS);
    }
    return answer ?? 'nothing';
  };
}

/** The lab with UDP servers of IPv6 too, and the host's port held as the keeper does: who gets there hears nothing. */
async function lab(): Promise<Lab> {
  const made = await makeLab();
  for (const family of [4, 6] as const) udp(made.host, family, PORT);
  for (const place of ['a', 'c'] as const) {
    const socket = udp(made[place], 6, 53);
    socket.on('message', (_, from) => socket.send(`${place} ${from.address}`, from.port, from.address));
  }
  return made;
}

const sh = async (at: TestHost, script: string): Promise<string> => (await at.exec('sh', ['-ec', script])).stdout;

/** Flows of the host to the port, each with the id that the kernel gave it. */
const flows = async (at: TestHost, family: 4 | 6 = 4, port = PORT): Promise<string[]> =>
  (await sh(at, `conntrack -L -o id -f ipv${family} -p udp --orig-port-dst ${port}`))
    .split('\n')
    .flatMap((line) => /sport=(\d+) .*id=(\d+)/.exec(line)?.slice(1).join(' ') ?? [])
    .sort();

/** A flow of UDP from the client as if it had come, with who answers it. */
const insert = (at: TestHost, from: number, to: string, answers: string, port = PORT): Promise<string> =>
  sh(
    at,
    `conntrack -I -p udp -s 192.0.2.2 -d ${to} --sport ${from} --dport ${port} -t 100 \\
       --reply-src ${answers} --reply-dst 192.0.2.2 --reply-port-src ${answers === to ? port : 53} --reply-port-dst ${from}`,
  );

describe('a caller that began while the rules were away is answered', () => {
  const cases: readonly (readonly [string, (at: Lab, firewall: Firewall) => Promise<unknown>])[] = [
    ['a look', (_, firewall) => firewall.check()],
    [
      'the next change, which fails without them',
      async (at, firewall) => {
        await sh(at.host, 'for t in iptables ip6tables; do for c in filter nat raw; do $t -t $c -F; $t -t $c -X; done; done');
        await firewall.apply([publish('c', 8081)]);
      },
    ],
    ['a start', async (at) => (await open(at.host)).sync([network('a'), publish('a', PORT, DNS)])],
    ['being told to write them', (_, firewall) => firewall.reload()],
  ];
  test.each(cases)('after %s, from outside and from the host', async (_, repair) => {
    const at = await lab();
    const firewall = await open(at.host);
    await firewall.sync([network('a'), publish('a', PORT, DNS)]);
    await firewall.check();
    await sh(at.host, FLUSH);
    const callers = [caller(at.client, HOST[4], 4001), caller(at.client, HOST[6], 4001), caller(at.host, '127.0.0.1', 4002)];
    const ask = () => Promise.all(callers.map((one) => one()));
    expect(await ask()).toEqual(['nothing', 'nothing', 'nothing']);
    await repair(at, firewall);
    expect(await ask()).toEqual(['a', 'a', 'a']);
  });

  test('of a network whose rules come later than a start', async () => {
    const at = await lab();
    const firewall = await open(at.host);
    await firewall.sync([]);
    const ask = caller(at.client, HOST[4], 4001);
    expect(await ask()).toBe('nothing');
    await firewall.mend([network('a'), publish('a', PORT, DNS)]);
    expect(await ask()).toBe('a');
    // Where nothing is new nothing is forgotten.
    await insert(at.host, 4007, HOST[4], HOST[4]);
    const before = await flows(at.host);
    await firewall.mend([network('a'), publish('a', PORT, DNS)]);
    expect(await flows(at.host)).toEqual(before);
  });
});

describe('when the rules are back', () => {
  test('flows that were led to the endpoint, and those that are none of ours, stay', async () => {
    const at = await lab();
    serveUdp(at.client, 'client', PORT);
    const firewall = await open(at.host);
    await firewall.sync([network('a'), publish('a', PORT, DNS)]);
    await firewall.check();
    const living = [caller(at.client, HOST[4], 4001), caller(at.client, HOST[6], 4001)];
    expect(await Promise.all(living.map((one) => one()))).toEqual(['a', 'a']);
    // The same port of another host, through this one, and another port of this one.
    await sh(at.client, 'ip addr add 192.0.2.9/24 dev eth0');
    const through = caller(at.a, '192.0.2.2', 4003);
    const beside = caller(at.client, HOST[4], 4004, 5354);
    expect([await through(), await beside()]).toEqual(['client', 'nothing']);
    const [before, before6, others] = [await flows(at.host), await flows(at.host, 6), await flows(at.host, 4, 5354)];
    expect([before.length, before6.length, others.length]).toEqual([2, 1, 1]);
    await sh(at.host, FLUSH);
    await insert(at.host, 4005, HOST[4], HOST[4]);
    await insert(at.host, 4006, HOST[4], '10.1.0.9');
    expect(await flows(at.host)).toHaveLength(4);
    expect(await firewall.check()).toBe(true);
    expect([await flows(at.host), await flows(at.host, 6), await flows(at.host, 4, 5354)]).toEqual([before, before6, others]);
  });

  test('of a port on one address only flows to that address go', async () => {
    const at = await lab();
    await sh(at.host, 'ip addr add 192.0.2.7/24 dev eth0');
    const firewall = await open(at.host);
    const on = (hostAddress: string, address: string): Partial<PortRule> => ({
      ...DNS,
      hostPort: PORT,
      hostAddress: hostAddress as Address,
      address: address as Address,
    });
    await firewall.sync([network('a'), publishRules('a', [on(HOST[4], '10.1.0.2')])]);
    await sh(at.host, FLUSH);
    await insert(at.host, 4001, HOST[4], HOST[4]);
    await insert(at.host, 4002, HOST[4], '10.1.0.2');
    await insert(at.host, 4003, '192.0.2.7', '192.0.2.7');
    await firewall.reload();
    expect((await flows(at.host)).map((flow) => flow.split(' ')[0])).toEqual(['4002', '4003']);
  });

  test('of a thousand ports every one is asked anew', async () => {
    const at = await lab();
    const firewall = await open(at.host);
    const many = publishRules(
      'a',
      Array.from({ length: 1000 }, (_, i) => ({ ...DNS, hostPort: 20_000 + i })),
    );
    await firewall.sync([network('a'), many]);
    await sh(at.host, FLUSH);
    const socket = udp(at.client, 4, 4001);
    for (let i = 0; i < 1000; i++) await new Promise<void>((sent) => socket.send('?', 20_000 + i, HOST[4], () => sent()));
    const count = async (): Promise<number> =>
      Number(await sh(at.host, 'conntrack -L -p udp -s 192.0.2.2 --orig-port-src 4001 2>/dev/null | wc -l'));
    expect(await count()).toBe(1000);
    await firewall.reload();
    expect(await count()).toBe(0);
  });

  test('a start that finds all rules in place looks at no flow', async () => {
    const at = await lab();
    const all = [network('a'), publish('a', PORT, DNS)];
    await (await open(at.host)).sync(all);
    await insert(at.host, 4001, HOST[4], HOST[4]);
    const before = await flows(at.host);
    expect(before).toHaveLength(1);
    await (await open(at.host)).sync(all);
    expect(await flows(at.host)).toEqual(before);
  });

  test('flows that cannot be looked at are told of, and the rules are back all the same', async () => {
    const at = await lab();
    const told: string[] = [];
    const log: Logger = { ...silentLogger, warn: (_, text) => void told.push(text ?? '') };
    const blind = new Proxy(at.host.host, {
      get(host, key) {
        if (key === 'rtnl') throw new Error('not permitted');
        const value: unknown = Reflect.get(host, key, host);
        return typeof value === 'function' ? (value.bind(host) as unknown) : value;
      },
    });
    const firewall = await open(at.host, log, blind);
    await firewall.sync([network('a'), publish('a', PORT, DNS)]);
    told.splice(0);
    await sh(at.host, FLUSH);
    expect(await firewall.check()).toBe(true);
    expect(told).toEqual(['flows that began without rules of ours were not forgotten']);
    expect(await caller(at.client, HOST[4], 4001)()).toBe('a');
    await firewall.apply([withdraw(publish('a', 0))]);
  });
});
