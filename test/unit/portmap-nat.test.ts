import { expect, test } from 'vitest';
import type { Address, SandboxId } from '../../src/base/index.ts';
import { describeNat, type AllocatedPort, type NatInput, type NatMode } from '../../src/portmap/index.ts';

const held = (port: number, hostPort: number, ...addresses: string[]): AllocatedPort => ({
  hold: { owner: 's' as SandboxId, protocol: 'tcp', addresses: addresses as Address[], port: hostPort },
  port,
});
const side = (address: string, mode: NatMode = 'nat'): NatInput['v4'] & object => ({ address: address as Address, mode });
const show = (input: Omit<NatInput, 'isInternal'> & { isInternal?: boolean }): string[] => {
  const { rules, bindings } = describeNat({ isInternal: false, ...input });
  expect(bindings).toEqual(rules.map(({ protocol, port, hostAddress, hostPort }) => ({ protocol, port, hostAddress, hostPort })));
  return rules.map((rule) => `${rule.hostAddress} ${rule.hostPort} > ${rule.address} ${rule.port} ${rule.mode}`);
};

const all = { v4: true, v6: true };
const dual = { v4: side('10.0.0.2'), v6: side('fd00::2', 'nat-unprotected') };

test('each family leads to the address of its own', () => {
  expect(show({ ports: [held(80, 8080, '0.0.0.0', '::')], ...dual, roles: all })).toEqual([
    '0.0.0.0 8080 > 10.0.0.2 80 nat',
    ':: 8080 > fd00::2 80 nat-unprotected',
  ]);
});

test('a family without an address of the endpoint, or without the gateway role, has no binding', () => {
  const ports = [held(80, 8080, '0.0.0.0', '::'), held(81, 8081, '::1')];
  expect(show({ ports, v4: side('10.0.0.2'), roles: all })).toEqual(['0.0.0.0 8080 > 10.0.0.2 80 nat']);
  expect(show({ ports, ...dual, roles: { v4: true, v6: false } })).toEqual(['0.0.0.0 8080 > 10.0.0.2 80 nat']);
  expect(show({ ports, ...dual, roles: { v4: false, v6: true } })).toEqual([
    ':: 8080 > fd00::2 80 nat-unprotected',
    '::1 8081 > fd00::2 81 nat-unprotected',
  ]);
});

test('no role at all, an internal network or isolated families withdraw everything', () => {
  const ports = [held(80, 8080, '0.0.0.0', '::')];
  expect(show({ ports, ...dual, roles: { v4: false, v6: false } })).toEqual([]);
  expect(show({ ports, ...dual, roles: all, isInternal: true })).toEqual([]);
  expect(show({ ports, v4: side('10.0.0.2', 'isolated'), roles: all })).toEqual([]);
});

test('a routed family opens the container port once, whatever host address was named', () => {
  const ports = [held(80, 8080, '0.0.0.0', '::'), held(80, 8081, '127.0.0.1', '192.0.2.1')];
  expect(show({ ports, v4: side('10.0.0.2', 'routed'), v6: side('fd00::2'), roles: { v4: false, v6: true } })).toEqual([
    '0.0.0.0 0 > 10.0.0.2 80 routed',
    ':: 8080 > fd00::2 80 nat',
  ]);
});
