/**
 * What real engines ask of a plugin, call after call as they ask it, against a daemon: every answer is one that an engine can
 * decode, links and addresses are where it expects them, and nothing is left in the end.
 */

import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Lab } from '../e2e/lab.ts';
import { storedRecords } from '../e2e/records.ts';
import { callPlugin } from './replay/call.ts';
import { Replayer, scenario } from './replay/replayer.ts';
import { type Call, refusalOf, shapes } from './replay/shapes.ts';

/** In the order of one engine's life: later ones use networks of earlier ones. */
const LIFE = [
  'networks',
  'two-families',
  'run-stop-start',
  'connect',
  'published-ports',
  'engine-restart',
  'given-addresses',
  'names',
  'refusals',
  'address-refusals',
  'joins',
  'discovery',
  'plugin-away',
  'plugin-down-at-start',
  'managed',
] as const;

/** A host port that another process has, as the scenarios name it. */
const TAKEN = '18999';

let lab: Lab;
let replayer: Replayer;
let before: unknown;

const rules = async (): Promise<string[]> => {
  const saved = await Promise.all(['iptables-save', 'ip6tables-save'].map((tool) => lab.in('host', tool)));
  return saved.map(({ stdout }) => stdout.replaceAll(/\[\d+:\d+\]|^#.*$/gm, ''));
};

/** Without those that are out of service and about to be deleted. */
const links = async (): Promise<string[]> =>
  [...(await lab.in('host', 'ip', '-o', 'link')).stdout.matchAll(/^\d+: ([^:@]+)/gm)]
    .map(([, name = '']) => name)
    .filter((name) => !name.startsWith('dead'));

async function expectNothingLeft(): Promise<void> {
  expect(await lab.leftovers()).toEqual([]);
  expect(await rules()).toEqual(before);
  await lab.stop();
  expect((await storedRecords(lab.stateDir)).filter(([key]) => key.includes('guest'))).toEqual([]);
  await lab.start();
}

/** A listener on the machine that is not ours. */
function listener() {
  const source = `require('node:net').createServer().listen(${TAKEN}, '0.0.0.0', () => console.log('listening'))`;
  return execa('nsenter', [`--net=/run/netns/${lab.host}`, process.execPath, '-e', source], { reject: false });
}

beforeAll(async () => {
  lab = await Lab.open({ flags: ['--bridge', 'none'] });
  // The chains that stay are made with the first network.
  await lab.ok('create', '--ipv6', 'first');
  await lab.ok('rm', 'first');
  before = await rules();
});
afterAll(async () => {
  await lab.close();
});

describe('the calls of an engine', () => {
  let other: ReturnType<typeof listener>;
  beforeAll(async () => {
    replayer = new Replayer(lab);
    other = listener();
    await new Promise((resolve) => other.stdout?.once('data', resolve));
  });
  afterAll(async () => {
    other.kill('SIGKILL');
    await other;
    await replayer.close();
  });

  test.each(LIFE.map((name) => [scenario(name).title, name] as const))('%s', async (_title, name) => {
    await replayer.play(scenario(name), { isRepeated: name === 'two-families' });
  });

  test('they were many and of every kind, refusals were in words, and nothing is left', async () => {
    expect(replayer.calls).toBeGreaterThan(600);
    const asked = new Set(LIFE.flatMap((name) => scenario(name).steps.map(([call]) => call)));
    const unasked = Object.keys(shapes).filter((call) => !asked.has(call as never));
    // Of newer engines, and of clusters of more than one.
    expect(unasked).toEqual(['NetworkDriver.GwAllocCheck', 'NetworkDriver.DiscoverDelete']);
    expect(replayer.refusals.length).toBeGreaterThan(10);
    for (const words of [/mtu/, /192\.0\.2\.1/, /18999/, /namespace of the host/, /nowhere/])
      expect(
        replayer.refusals.some((text) => words.test(text)),
        String(words),
      ).toBe(true);
    await expectNothingLeft();
  });
});

test('the daemon is killed and comes back before each kind of call for a container', async () => {
  const again = new Replayer(lab);
  try {
    const killed = new Set<Call>();
    const kill = async (call: Call): Promise<void> => {
      if (killed.has(call)) return;
      killed.add(call);
      await lab.stop('SIGKILL');
      await lab.start();
    };
    await again.play(scenario('run-stop-start'), { before: kill });
    // What is still there is used by the scenarios after it, and removed by the last.
    for (const name of LIFE.slice(3, 8)) await again.play(scenario(name));
    await expectNothingLeft();
  } finally {
    await again.close();
  }
}, 120_000);

test('a call whose body was lost is refused under the right key, and changes nothing', async () => {
  const again = new Replayer(lab);
  const withBody = Object.keys(shapes).filter((call) => !/Activate|GetCapabilities|GetDefaultAddressSpaces|Discover/.test(call));
  try {
    await again.play(scenario('run-stop-start'));
    const linksBefore = await links();
    const rulesBefore = await rules();
    for (const call of withBody) {
      const { status, text } = await callPlugin(again.socket, call);
      expect([status, refusalOf(call).safeParse(JSON.parse(text)).success], `${call}: ${text}`).toEqual([200, true]);
      expect(text).toMatch(/body/);
    }
    expect(await links()).toEqual(linksBefore);
    expect(await rules()).toEqual(rulesBefore);
    for (const name of LIFE.slice(3, 8)) await again.play(scenario(name));
  } finally {
    await again.close();
  }
});

test('fields are known in any case, those that nobody knows are passed over', async () => {
  const again = new Replayer(lab);
  const sent = (request: Record<string, unknown>): Record<string, unknown> => ({
    ...Object.fromEntries(Object.entries(request).map(([key, value]) => [key.toLowerCase(), value])),
    NewInThisEngine: { Of: ['any', 'kind'] },
  });
  try {
    for (const name of ['two-families', 'address-refusals'] as const) await again.play(scenario(name), { sent });
    await expectNothingLeft();
  } finally {
    await again.close();
  }
});

test('the same network again is a success, one of other settings under its id is refused, and the first stays', async () => {
  const again = new Replayer(lab);
  const NetworkID = 'c3'.repeat(32);
  const network = { NetworkID, Options: {}, IPv4Data: [{ Pool: '10.61.0.0/24', Gateway: '10.61.0.1/24' }], IPv6Data: [] };
  await again.ask('NetworkDriver.CreateNetwork', network);
  const rulesThen = await rules();
  await again.ask('NetworkDriver.CreateNetwork', network);
  const others = [
    { IPv4Data: [{ Pool: '10.62.0.0/24', Gateway: '10.62.0.1/24' }] },
    { IPv4Data: [{ Pool: '10.61.0.0/24', Gateway: '10.61.0.2/24' }] },
    { Options: { 'com.docker.network.internal': true } },
    { Options: { 'com.docker.network.generic': { 'com.docker.network.driver.mtu': '1400' } } },
  ];
  for (const other of others)
    expect(await again.refused('NetworkDriver.CreateNetwork', { ...network, ...other })).toMatch(/other settings/);
  expect(await rules()).toEqual(rulesThen);
  await again.ask('NetworkDriver.DeleteNetwork', { NetworkID });
  await again.ask('NetworkDriver.DeleteNetwork', { NetworkID });
  await expectNothingLeft();
});
