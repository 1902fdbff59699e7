import { describe, expect, test } from 'vitest';
import { networkCreateSchema, sandboxCreateSchema } from '../../src/base/api.ts';
import { CnmError, KernelError, codeOf, errorCatalogue, isCnmError, silentLogger } from '../../src/base/index.ts';
import { errorAnswer, statusOf } from '../../src/daemon/errors.ts';
import { foldCase } from '../../src/daemon/fold.ts';

const message = (work: () => unknown): string => {
  try {
    work();
    return 'no error';
  } catch (error) {
    return `${codeOf(error)}: ${error instanceof Error ? error.message : String(error)}`;
  }
};

describe('errors', () => {
  test('a foreign error whose code is a word of every object is not taken for ours', () => {
    for (const code of ['toString', 'constructor', 'nothing'])
      expect(isCnmError(Object.assign(new Error('x'), { code, kind: 'invalid' }))).toBe(false);
    expect(isCnmError(new CnmError('bad_name', 'x'))).toBe(true);
  });

  test.each(Object.entries(errorCatalogue))('%s has the status of its kind', (code, { kind }) => {
    const answer = errorAnswer(new CnmError(code as keyof typeof errorCatalogue, 'words'), silentLogger);
    expect(answer).toEqual({ status: statusOf[kind], body: { message: 'words', code } });
    expect(answer.status).toBeGreaterThanOrEqual(400);
  });

  test('what is not ours is told, and logged only when it is our fault', () => {
    const logged: string[] = [];
    const log = { ...silentLogger, error: (_: unknown, text: string) => void logged.push(text) };
    expect(errorAnswer(new Error('boom'), log)).toEqual({ status: 500, body: { message: 'boom', code: 'internal' } });
    expect(logged).toHaveLength(1);
    expect(errorAnswer(Object.assign(new Error('large'), { statusCode: 413 }), log)).toEqual({
      status: 413,
      body: { message: 'large', code: 'bad_request' },
    });
    expect(errorAnswer('text', log).status).toBe(500);
    expect(errorAnswer(new KernelError('link.add', 'eth0', 'EPERM'), log).status).toBe(500);
    expect(logged).toHaveLength(2);
  });
});

test('a disk without room is said, with what helps', () => {
  const full = Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
  const { status, body } = errorAnswer(full, silentLogger);
  expect([status, body.code]).toEqual([500, 'syscall_failed']);
  expect(body.message).toMatch(/no space left on device, write: make room in the state directory and the run directory/);
});

test('field names match whatever their case, values stay, unknown ones too', () => {
  const folded = foldCase(networkCreateSchema, { name: 'a', IPAM: 1, enableipv6: true, Other: 2 });
  expect(folded).toEqual({ Name: 'a', IPAM: 1, EnableIPv6: true, Other: 2 });
  for (const value of [null, [], 'x', 7]) expect(message(() => foldCase(networkCreateSchema, value))).toMatch(/^bad_json/);
});

test('field names match at every depth; keys of maps are values, and stay', () => {
  const ipam = { driver: 'default', CONFIG: [{ subnet: '10.0.0.0/24', auxiliaryaddresses: { Subnet: '10.0.0.2' } }] };
  expect(foldCase(networkCreateSchema, { name: 'a', ipam, Labels: { name: 'b' } })).toEqual({
    Name: 'a',
    IPAM: { Driver: 'default', Config: [{ Subnet: '10.0.0.0/24', AuxiliaryAddresses: { Subnet: '10.0.0.2' } }] },
    Labels: { name: 'b' },
  });
  const Networks = { Name: { ipamconfig: { ipv4address: '10.0.0.2' } }, b: null };
  expect(foldCase(sandboxCreateSchema, { Networks })).toEqual({
    Networks: { Name: { IPAMConfig: { IPv4Address: '10.0.0.2' } }, b: null },
  });
});

test('a field that is null is absent, as for the reference, at every depth; an unknown one stays to be refused', () => {
  const Config = [{ Subnet: '10.0.0.0/24', IPRange: null, Gateway: null, AuxiliaryAddresses: null }];
  const asked = { Name: 'a', name: null, Driver: null, Scope: null, Options: null, ConfigFrom: { Network: null }, Colour: null };
  expect(foldCase(networkCreateSchema, { ...asked, IPAM: { Driver: null, Config } })).toEqual({
    Name: 'a',
    ConfigFrom: {},
    Colour: null,
    IPAM: { Config: [{ Subnet: '10.0.0.0/24' }] },
  });
});
