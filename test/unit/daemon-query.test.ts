import { describe, expect, test } from 'vitest';
import { endpointCreateSchema, networkCreateSchema } from '../../src/base/api.ts';
import { codeOf, messageOf } from '../../src/base/index.ts';
import { parseBody } from '../../src/daemon/body.ts';
import { foldCase } from '../../src/daemon/fold.ts';
import { isEngineTrue, parseQuery } from '../../src/daemon/query.ts';

function refusal(action: () => unknown): [code: string | undefined, message: string] {
  try {
    action();
  } catch (error) {
    return [codeOf(error), messageOf(error)];
  }
  return [undefined, 'accepted'];
}

describe('the query of a request', () => {
  test('is read as a form: plus signs, escapes, names without a value', () => {
    expect(parseQuery('a=1+2&b=%2F&c', undefined)).toEqual({ a: '1 2', b: '/', c: '' });
    expect(parseQuery('', [])).toEqual({});
    expect(parseQuery('force=1', ['force'])).toEqual({ force: '1' });
  });

  test('has each parameter once', () => {
    expect(refusal(() => parseQuery('force=0&force=1', undefined))).toEqual([
      'bad_request',
      'parameter "force" is given twice: give it once',
    ]);
    expect(refusal(() => parseQuery('__proto__=0&__proto__=1', undefined))[0]).toBe('bad_request');
  });

  test('of our own routes has no others than they take', () => {
    expect(refusal(() => parseQuery('forse=1', ['all', 'force']))).toEqual([
      'bad_request',
      'unknown parameter "forse": use all, force',
    ]);
    expect(refusal(() => parseQuery('a\n=1', []))).toEqual(['bad_request', 'unknown parameter "a\\n": this path takes none']);
  });

  test.each([
    [undefined, false],
    ['', false],
    ['0', false],
    ['No', false],
    ['false', false],
    ['none', false],
    ['1', true],
    ['true', true],
    ['x', true],
  ])('%j is %j to the engine', (text, truth) => {
    expect(isEngineTrue(text)).toBe(truth);
  });
});

describe('a body', () => {
  const json = Buffer.from('{"a":1}');

  test('needs its type, unless there is none', () => {
    expect(refusal(() => parseBody({}, json))).toEqual(['bad_content_type', expect.stringContaining("'application/json'")]);
    expect(parseBody({}, Buffer.alloc(0))).toBeUndefined();
    expect(parseBody({}, undefined)).toBeUndefined();
    expect(parseBody({ 'content-type': 'Application/JSON; charset=UTF-8' }, json)).toEqual({ a: 1 });
    expect(parseBody({ 'content-type': 'application/json' }, Buffer.from(' \n'))).toBeUndefined();
  });

  test.each([
    ['at the top', networkCreateSchema, '{"__proto__":{"Name":"a"}}'],
    ['among labels', networkCreateSchema, '{"Name":"a","Labels":{"__proto__":"x"}}'],
    ['deep in settings', endpointCreateSchema, '{"Network":"n","EndpointConfig":{"DriverOpts":{"__proto__":"x"}}}'],
  ])('with the name of the prototype %s is refused, since it would be lost', (_where, schema, text) => {
    expect(refusal(() => foldCase(schema, JSON.parse(text)))).toEqual(['bad_request', expect.stringContaining('__proto__')]);
  });
});
