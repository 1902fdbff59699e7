import { describe, expect, test } from 'vitest';
import { parseAddress } from '../../src/base/index.ts';
import { Attributes } from '../../src/kernel/attributes.ts';
import type { LinkSpec } from '../../src/kernel/index.ts';
import { encodeLinkAdd, encodeLinkChange, parseLink } from '../../src/kernel/link.ts';

const bytes = (hex: string): Buffer => Buffer.from(hex.replaceAll(/\s/g, ''), 'hex');

/** Attributes as sorted `path=hex`, opened where they hold others; a string's closing zero does not count. */
function tree(raw: Buffer, nests: readonly string[], path = ''): string[] {
  const attributes = new Attributes(raw);
  const found: string[] = [];
  for (let type = 0; type < 64; type++) {
    const value = attributes.bytes(type);
    if (value === undefined) continue;
    const at = `${path}/${type}`;
    if (nests.includes(at)) found.push(...tree(value, nests, at));
    else found.push(`${at}=${value.toString('hex').replace(/(00)$/, at === '/3' || at === '/18/1' ? '' : '$1')}`);
  }
  return found;
}

const LINK_INFO = ['/18', '/18/2'];

/** What `ip link add …` (iproute2 6.1) sent for the same wish: attributes behind the two headers. */
const peers: readonly [string, LinkSpec, string][] = [
  [
    'ipvlan',
    { kind: 'ipvlan', name: 'iv0', parent: 7, ipvlan: { mode: 'l3s', flag: 'private' } },
    '0800050007000000 0800030069763000 24001200 0a0001006970766c616e0000 14000200 0600010002000000 0600020001000000',
  ],
  [
    'vlan',
    { kind: 'vlan', name: 'v7', parent: 7, vlan: { id: 7 } },
    '0800050007000000 0700030076370000 18001200 08000100766c616e 0c000200 0600010007000000',
  ],
  [
    'macvlan',
    { kind: 'macvlan', name: 'mv0', parent: 7, macvlan: { mode: 'vepa' } },
    '0800050007000000 080003006d763000 1c001200 0b0001006d6163766c616e00 0c000200 0800010002000000',
  ],
  [
    'vxlan',
    { kind: 'vxlan', name: 'vx0', vxlan: { vni: 4097, local: parseAddress('192.0.2.1'), learning: false } },
    '0800030076783000 34001200 0900010076786c616e000000 24000200 0800010001100000 08000400c0000201 0500070000000000 06000f0012b50000',
  ],
  [
    'bridge',
    { kind: 'bridge', name: 'br0', bridge: { multicastSnooping: false, vlanFiltering: true } },
    '0800030062723000 24001200 0a0001006272696467650000 14000200 0500170000000000 0500070001000000',
  ],
  ['dummy', { kind: 'dummy', name: 'd0' }, '0700030064300000 10001200 0900010064756d6d79000000'],
];

describe('making a link', () => {
  test.each(peers)('%s says what iproute2 says', (_, spec, expected) => {
    const message = encodeLinkAdd(spec);
    expect(message.type).toBe(16);
    expect(message.flags).toBe(0x600);
    expect(tree(Buffer.from(message.body).subarray(16), LINK_INFO)).toEqual(tree(bytes(expected), LINK_INFO));
  });

  test('of kind veth gives each half its own name, index, group and size', () => {
    const message = encodeLinkAdd({
      kind: 'veth',
      name: 'x0',
      index: 5,
      up: true,
      group: 9,
      peer: { name: 'x1', index: 6, group: 9, mtu: 1400 },
    });
    const raw = Buffer.from(message.body);
    expect([raw.readInt32LE(4), raw.readUInt32LE(8), raw.readUInt32LE(12)]).toEqual([5, 1, 1]);
    const outer = new Attributes(raw, 16);
    expect(outer.u32(27)).toBe(9);
    const peer = outer.nested(18).nested(2).bytes(1);
    if (peer === undefined) throw new Error('no peer');
    expect(peer.readInt32LE(4)).toBe(6);
    const inner = new Attributes(peer, 16);
    expect([inner.text(3), inner.u32(27), inner.u32(4)]).toEqual(['x1', 9, 1400]);
  });

  test("an IPv6 VXLAN end and its lower link lie in the kind's own data", () => {
    const { body } = encodeLinkAdd({
      kind: 'vxlan',
      name: 'vx',
      parent: 3,
      vxlan: { vni: 1, local: parseAddress('fd00::1'), port: 8472 },
    });
    const outer = new Attributes(Buffer.from(body), 16);
    const data = outer.nested(18).nested(2);
    expect([outer.u32(5), data.u32(3), data.bytes(17)?.toString('hex'), data.u16be(15)]).toEqual([
      undefined,
      3,
      'fd000000000000000000000000000001',
      8472,
    ]);
  });
});

describe('changing a link', () => {
  test('goes down before it is renamed, and sets up a bridge port after it has become one', () => {
    const messages = encodeLinkChange({ index: 4 }, { name: 'n', up: false, master: 9, hairpin: true });
    const shown = messages.map((message) => {
      const raw = Buffer.from(message.body);
      const attributes = new Attributes(raw, 16);
      return {
        type: message.type,
        change: raw.readUInt32LE(12),
        name: attributes.text(3),
        master: attributes.u32(10),
        port: attributes.bytes(18) !== undefined,
      };
    });
    expect(shown).toEqual([
      { type: 19, change: 1, name: undefined, master: undefined, port: false },
      { type: 19, change: 0, name: 'n', master: 9, port: false },
      { type: 16, change: 0, name: undefined, master: undefined, port: true },
    ]);
  });

  test('to nothing sends nothing', () => {
    expect(encodeLinkChange({ index: 4 }, {})).toEqual([]);
  });
});

test('a link with attributes nobody has seen, cut short, is read as far as it goes', () => {
  const body = Buffer.concat([
    bytes('00000100 03000000 43000100 00000000'),
    bytes('0700030065306f00 08007f00ffffffff 0800040078050000 0c0001'),
  ]);
  expect(parseLink(body)).toEqual({ index: 3, name: 'e0o', kind: '', mtu: 1400, up: true, carrier: true, group: 0 });
});
