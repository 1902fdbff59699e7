import { describe, expect, test } from 'vitest';
import type { Address, Prefix } from '../../src/base/index.ts';
import type { BridgeFamily, BridgeIntent, Intent, PortRule, PortsIntent } from '../../src/firewall/index.ts';
import { RuleBook } from '../../src/firewall/diff.ts';
import { compileBase, compileBridge } from '../../src/firewall/iptables/bridge.ts';
import { chainNames, type TableName } from '../../src/firewall/iptables/names.ts';
import { compilePorts } from '../../src/firewall/iptables/ports.ts';
import { wholeText } from '../../src/firewall/iptables/text.ts';
import { expectGolden } from './golden.ts';

const names = chainNames('0123abcd');
const OWNER = 'ee00ff11aa22bb33';

function render(intent: Intent): string {
  return ([4, 6] as const)
    .map((family) => {
      const wish = intent.kind === 'bridge' ? compileBridge(intent, family, names) : compilePorts(OWNER, intent, family, names);
      if (wish === undefined) return `IPv${family}: nothing\n`;
      const book = new RuleBook<TableName>();
      book.set([['one', wish]]);
      return `IPv${family}:\n${wholeText(book.whole()).replaceAll(/\*(filter|raw|nat)\nCOMMIT\n/g, '')}`;
    })
    .join('');
}

const document = (cases: Readonly<Record<string, Intent>>): string =>
  Object.entries(cases)
    .map(([title, intent]) => `== ${title}\n${render(intent)}`)
    .join('\n');

const v4: BridgeFamily = { subnet: '10.1.0.0/16' as Prefix, gateway: '10.1.0.1' as Address, mode: 'nat', masquerade: true };
const v6: BridgeFamily = { subnet: 'fd01::/64' as Prefix, gateway: 'fd01::1' as Address, mode: 'nat', masquerade: true };
const bridge = (rest: Partial<BridgeIntent> = {}): BridgeIntent => ({
  kind: 'bridge',
  bridge: 'br-0123456789ab',
  internal: false,
  icc: true,
  v4,
  v6,
  trustedInterfaces: [],
  ...rest,
});
function ipv4Alone(intent: BridgeIntent): BridgeIntent {
  const { v6: _v6, ...rest } = intent;
  return rest;
}
function withoutGateway(side: BridgeFamily): BridgeFamily {
  const { gateway: _gateway, ...rest } = side;
  return rest;
}

describe('iptables rules over the option matrix', () => {
  test('of the instance itself', () => {
    const text = ([4, 6] as const).map((family) => {
      const book = new RuleBook<TableName>();
      book.set([['base', compileBase(family, names)]]);
      return `IPv${family}:\n${wholeText(book.whole())}`;
    });
    expectGolden('firewall-base', text.join(''));
  });

  test('of a bridge network', () => {
    expectGolden(
      'firewall-bridge',
      document({
        'nat, both families': bridge(),
        'IPv4 alone, an address with host bits': ipv4Alone(bridge({ v4: { ...v4, subnet: '10.1.0.1/16' as Prefix } })),
        'endpoints kept apart': bridge({ icc: false }),
        'not masqueraded': bridge({ v4: { ...v4, masquerade: false }, v6: { ...v6, masquerade: false } }),
        'a fixed source address': bridge({
          v4: { ...v4, snatTo: '192.0.2.7' as Address },
          v6: { ...v6, snatTo: '2001:db8::7' as Address },
        }),
        'trusted interfaces': bridge({ trustedInterfaces: ['wg0', 'eth1'] }),
        'unprotected': bridge({ v4: { ...v4, mode: 'nat-unprotected' }, v6: { ...v6, mode: 'nat-unprotected' } }),
        'routed': bridge({ v4: { ...v4, mode: 'routed' }, v6: { ...v6, mode: 'routed' } }),
        'IPv4 by nat, IPv6 routed, endpoints kept apart': bridge({ icc: false, v6: { ...v6, mode: 'routed' } }),
        'internal': bridge({ internal: true }),
        'internal, endpoints kept apart': bridge({ internal: true, icc: false }),
        'internal and isolated': bridge({
          internal: true,
          v4: { ...withoutGateway(v4), mode: 'isolated' },
          v6: { ...withoutGateway(v6), mode: 'isolated' },
        }),
        'a link-local subnet': bridge({ v6: { ...v6, subnet: 'fe80::/64' as Prefix, gateway: 'fe80::1' as Address } }),
      }),
    );
  });

  const rule = (rest: Partial<PortRule> = {}): PortRule => ({
    protocol: 'tcp',
    hostAddress: '0.0.0.0' as Address,
    hostPort: 8080,
    address: '10.1.0.2' as Address,
    port: 80,
    mode: 'nat',
    ...rest,
  });
  const six = { hostAddress: '::' as Address, address: 'fd01::2' as Address };
  const range = (first: number, count: number, rest: Partial<PortRule> = {}): PortRule[] =>
    Array.from({ length: count }, (_, i) => rule({ hostPort: first + i, port: first + i, ...rest }));
  const ports = (...rules: PortRule[]): PortsIntent => ({ kind: 'ports', bridge: 'br-0123456789ab', rules });

  test('of published ports', () => {
    expectGolden(
      'firewall-ports',
      document({
        'one port, both families': ports(rule(), rule(six)),
        'one host address': ports(rule({ hostAddress: '192.0.2.1' as Address }), rule({ ...six, hostAddress: '2001:db8::1' as Address })),
        'the loopback addresses': ports(rule({ hostAddress: '127.0.0.1' as Address }), rule({ ...six, hostAddress: '::1' as Address })),
        'tcp and udp of one number': ports(rule({ hostPort: 53, port: 53 }), rule({ hostPort: 53, port: 53, protocol: 'udp' })),
        'a range of equal numbers over two blocks': ports(...range(8000, 400)),
        'a range of shifted numbers': ports(rule({ hostPort: 8000, port: 80 }), rule({ hostPort: 8001, port: 81 })),
        'two host ports for one port': ports(rule(), rule({ hostPort: 9090 })),
        'unprotected': ports(rule({ mode: 'nat-unprotected' })),
        'routed': ports(rule({ mode: 'routed', hostPort: 0 }), rule({ ...six, mode: 'routed', hostPort: 0 })),
        'isolated': ports(rule({ mode: 'isolated' })),
        'first and last port': ports(rule({ hostPort: 1, port: 65535 }), rule({ hostPort: 65535, port: 1 })),
        'none': ports(),
      }),
    );
  });

  test('a thousand neighbouring ports are a handful of rules', () => {
    const wish = compilePorts(OWNER, ports(...range(20000, 1000)), 4, names);
    expect((wish?.shared.length ?? 99) + (wish?.own.reduce((sum, own) => sum + own.rules.length, 0) ?? 99)).toBeLessThan(15);
  });

  test('no chain name is longer than iptables takes, and each belongs to its instance', () => {
    const link = 'a'.repeat(15);
    const all = [...Object.values(names).filter((name) => typeof name === 'string'), names.bridge(link), names.closed(link), names.published(link), names.block(65535), names.endpoint(OWNER)];
    for (const name of all) {
      expect(name.length).toBeLessThanOrEqual(28);
      expect(names.isOurs(name)).toBe(true);
      expect(chainNames('0123abce').isOurs(name)).toBe(false);
    }
    expect(names.isOurs('PATCHBAY-USER')).toBe(false);
    expect(names.endpoint('ep-1')).toMatch(/^PBE-0123abcd-[0-9a-f]{12}$/);
  });

  test('text that could become another rule is refused', () => {
    for (const name of ['eth+', '-j', 'a b', 'a"b', '!eth0', 'a\nb', '', 'a'.repeat(16)]) {
      expect(() => compileBridge(bridge({ bridge: name }), 4, names)).toThrow('cannot be used in firewall rules');
      expect(() => compileBridge(bridge({ trustedInterfaces: [name] }), 4, names)).toThrow('cannot be used in firewall rules');
    }
    expect(() => compilePorts(OWNER, ports(rule({ address: '10.0.0.1 -j ACCEPT' as Address })), 4, names)).toThrow('invalid address');
    expect(() => compilePorts(OWNER, ports(rule({ hostPort: 70000 })), 4, names)).toThrow('invalid port');
    expect(() => compileBridge(bridge({ v4: { ...v4, subnet: '10.0.0.0/8 -j DROP' as Prefix } }), 4, names)).toThrow('invalid prefix in a firewall rule');
  });
});
