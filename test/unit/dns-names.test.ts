import packet from 'dns-packet';
import { beforeEach, describe, expect, test } from 'vitest';
import type { Address, EndpointId, NetworkId } from '../../src/base/index.ts';
import { answerLocally, reversedAddress } from '../../src/dns/local.ts';
import { NameTable, type NameView } from '../../src/dns/names.ts';
import { decodeQuery, localReply } from '../../src/dns/wire.ts';

const net = (name: string): NetworkId => `net-${name}` as NetworkId;
const ep = (name: string): EndpointId => `ep-${name}` as EndpointId;
const view = (...names: string[]): NameView => ({
  networks: names.map((name) => ({ id: net(name), name })),
  forwardsFromHost: true,
});

let table: NameTable;
const add = (endpoint: string, network: string, names: string[], ...addresses: string[]): void =>
  table.set(ep(endpoint), { network: net(network), networkName: network, names, addresses: addresses as Address[] });

beforeEach(() => {
  table = new NameTable();
  add('1', 'mynet', ['c1', 'web', '0123456789ab'], '10.0.0.2', 'fd00::2');
  add('2', 'mynet', ['c2', 'web'], '10.0.0.3');
  add('3', 'other', ['c3', 'web'], '10.1.0.2');
  add('4', 'b.c', ['a'], '10.2.0.2');
  add('5', 'c', ['a.b'], '10.3.0.2');
  add('6', 'v6only', ['six'], 'fd00:6::2');
});

describe('lookup', () => {
  const cases: [string, NameView, string, string[] | undefined][] = [
    ['a plain name', view('mynet'), 'c1', ['10.0.0.2', 'fd00::2']],
    ['a trailing dot', view('mynet'), 'C1.', ['10.0.0.2', 'fd00::2']],
    ['any case', view('mynet'), 'C1', ['10.0.0.2', 'fd00::2']],
    ['the short id', view('mynet'), '0123456789AB', ['10.0.0.2', 'fd00::2']],
    ['name.network', view('mynet'), 'c1.mynet', ['10.0.0.2', 'fd00::2']],
    ['network names by exact case', view('mynet'), 'c1.MyNet', undefined],
    ['a shared alias', view('mynet'), 'web', ['10.0.0.2', 'fd00::2', '10.0.0.3']],
    ['an alias on two networks: only the first network', view('other', 'mynet'), 'web', ['10.1.0.2']],
    ['an alias on a named network', view('other', 'mynet'), 'web.mynet', ['10.0.0.2', 'fd00::2', '10.0.0.3']],
    ['a network outside the view', view('other'), 'c1', undefined],
    ['a named network outside the view', view('other'), 'c1.mynet', undefined],
    ['the shorter network first', view('b.c', 'c'), 'a.b.c', ['10.3.0.2']],
    ['a network name with a dot', view('b.c'), 'a.b.c', ['10.2.0.2']],
    ['a name with a dot anywhere', view('b.c', 'c'), 'a.b', ['10.3.0.2']],
    ['nothing', view('mynet'), '', undefined],
    ['the root', view('mynet'), '.', undefined],
    ['an unknown name', view('mynet'), 'c9', undefined],
    ['a network alone', view('mynet'), 'mynet', undefined],
  ];
  test.each(cases)('finds %s', (_, seen, name, addresses) => {
    expect(table.find(seen, name)).toEqual(addresses);
  });

  test('gives an address once although two endpoints have it', () => {
    add('7', 'mynet', ['web'], '10.0.0.3');
    expect(table.find(view('mynet'), 'web')?.filter((a) => a === '10.0.0.3')).toHaveLength(1);
  });
});

describe('changes', () => {
  test('a replaced record answers with its new names and addresses only', () => {
    add('1', 'mynet', ['new'], '10.0.0.9');
    expect(table.find(view('mynet'), 'c1')).toBeUndefined();
    expect(table.find(view('mynet'), 'new')).toEqual(['10.0.0.9']);
    expect(table.find(view('mynet'), 'web')).toEqual(['10.0.0.3']);
    expect(table.reverse(view('mynet'), '10.0.0.2' as Address)).toBeUndefined();
  });

  test('a withdrawn record leaves the alias to the others, and nothing behind', () => {
    table.set(ep('1'), null);
    table.set(ep('1'), null);
    expect(table.find(view('mynet'), 'web')).toEqual(['10.0.0.3']);
    for (const one of ['2', '3', '4', '5', '6']) table.set(ep(one), null);
    expect(table.size).toBe(0);
    expect(table.find(view('mynet', 'other'), 'web')).toBeUndefined();
  });
});

describe('reverse lookup', () => {
  test.each([
    ['gives the first name and the network', view('mynet'), '10.0.0.3', 'c2.mynet'],
    ['works for IPv6', view('mynet'), 'fd00::2', 'c1.mynet'],
    ['does not see other networks', view('other'), '10.0.0.3', undefined],
  ])('%s', (_, seen, address, name) => {
    expect(table.reverse(seen, address as Address)).toBe(name);
  });

  test('is the earliest holder of an address, then the next one', () => {
    add('8', 'mynet', ['late'], '10.0.0.2');
    expect(table.reverse(view('mynet'), '10.0.0.2' as Address)).toBe('c1.mynet');
    table.set(ep('1'), null);
    expect(table.reverse(view('mynet'), '10.0.0.2' as Address)).toBe('late.mynet');
  });

  test.each([
    ['2.0.0.10.in-addr.arpa', '10.0.0.2'],
    [`2.${'0.'.repeat(27)}0.0.d.f.ip6.arpa`, 'fd00::2'],
    ['0.0.10.in-addr.arpa', undefined],
    ['1.2.0.0.10.in-addr.arpa', undefined],
    ['x.0.0.10.in-addr.arpa', undefined],
    ['256.0.0.10.in-addr.arpa', undefined],
    ['02.0.0.10.in-addr.arpa', undefined],
    ['2.0.0.10.in-addr.example', undefined],
    [`zz.${'0.'.repeat(27)}0.0.d.f.ip6.arpa`, undefined],
  ])('%s stands for %s', (name, address) => {
    expect(reversedAddress(name)).toBe(address);
  });
});

describe('answers to questions', () => {
  function answer(name: string, type: string, klass = 'IN', seen = view('mynet', 'v6only')) {
    const bytes = packet.encode({ type: 'query', id: 1, questions: [{ type, name, class: klass }] });
    const decoded = decodeQuery(bytes);
    if (decoded.kind !== 'query') throw new Error(decoded.kind);
    const records = answerLocally(table, seen, bytes, 0, decoded.query.question);
    if (records === undefined) return 'forward';
    return packet
      .decode(Buffer.from(localReply(decoded.query, records, 512)))
      .answers!.map((one) => String(one.data))
      .sort();
  }

  const cases: [string, string, string, string[] | 'forward'][] = [
    ['A', 'c1', 'A', ['10.0.0.2']],
    ['AAAA', 'c1.mynet', 'AAAA', ['fd00::2']],
    ['AAAA of a v4-only name: empty', 'c2', 'AAAA', []],
    ['A of a v6-only name: empty', 'six', 'A', []],
    ['A of a shared alias: all', 'web', 'A', ['10.0.0.2', '10.0.0.3']],
    ['MX of a known name: empty', 'c1', 'MX', []],
    ['MX of an unknown name', 'c9', 'MX', 'forward'],
    ['PTR', '2.0.0.10.in-addr.arpa', 'PTR', ['c1.mynet']],
    ['PTR of an unknown address', '9.0.0.10.in-addr.arpa', 'PTR', 'forward'],
    ['PTR of no address', 'c1', 'PTR', 'forward'],
    ['TXT of a known name', 'c1', 'TXT', 'forward'],
    ['SRV of a known name', 'c1', 'SRV', 'forward'],
    ['an unknown name', 'example.com', 'A', 'forward'],
  ];
  test.each(cases)('%s', (_, name, type, answers) => {
    expect(answer(name, type)).toEqual(answers);
  });

  test('another class than IN is not ours', () => {
    expect(answer('c1', 'A', 'CH')).toBe('forward');
  });

  test('PTR to a name without a wire form is not ours', () => {
    add('9', 'mynet', ['x'.repeat(70)], '10.0.0.77');
    expect(answer('77.0.0.10.in-addr.arpa', 'PTR')).toBe('forward');
  });
});
