import { expect, test } from 'vitest';
import type { Address } from '../../src/base/index.ts';
import type { PortRule } from '../../src/firewall/index.ts';
import { strayFlows } from '../../src/firewall/strays.ts';

const rule = (hostAddress: string, hostPort: number, address: string, rest: Partial<PortRule> = {}): PortRule => ({
  protocol: 'udp',
  hostAddress: hostAddress as Address,
  hostPort,
  address: address as Address,
  port: 53,
  mode: 'nat',
  ...rest,
});

test('flows by TCP are none', () => {
  expect(strayFlows([rule('0.0.0.0', 80, '10.1.0.2', { protocol: 'tcp' })])).toEqual([]);
});

test('a port of every address is that of the host alone, in its family', () => {
  expect(strayFlows([rule('0.0.0.0', 53, '10.1.0.2'), rule('::', 53, 'fd01::2')])).toEqual([
    { family: 4, protocol: 'udp', originalDestinationPort: 53, isToHost: true, notAnsweredBy: ['10.1.0.2'] },
    { family: 6, protocol: 'udp', originalDestinationPort: 53, isToHost: true, notAnsweredBy: ['fd01::2'] },
  ]);
});

test('whoever else has the port, on this address or on all, may answer', () => {
  const flows = strayFlows([
    rule('192.0.2.1', 53, '10.1.0.2'),
    rule('192.0.2.2', 53, '10.1.0.3'),
    rule('192.0.2.1', 54, '10.1.0.4'),
    rule('0.0.0.0', 54, '10.1.0.5'),
  ]);
  expect(flows.map(({ originalDestination, notAnsweredBy }) => [originalDestination, notAnsweredBy])).toEqual([
    ['192.0.2.1', ['10.1.0.2']],
    ['192.0.2.2', ['10.1.0.3']],
    ['192.0.2.1', ['10.1.0.4', '10.1.0.5']],
    [undefined, ['10.1.0.4', '10.1.0.5']],
  ]);
});
