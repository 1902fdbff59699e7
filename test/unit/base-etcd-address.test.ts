/** Where a cluster is, as people write it. */

import { describe, expect, test } from 'vitest';
import { codeOf } from '../../src/base/index.ts';
import { parseEtcdAddress } from '../../src/base/index.ts';

const MEMBERS = ['h1:2379', 'h2:2380'];

describe('an address of a cluster', () => {
  test.each([
    ['etcd://h1:2379,h2:2380', { members: MEMBERS, prefix: '/patchbay/' }],
    ['etcd://h1', { members: ['h1:2379'], prefix: '/patchbay/' }],
    [
      'etcd://192.0.2.1:2379,[2001:db8::1]:2379,[2001:db8::2]',
      { members: ['192.0.2.1:2379', '[2001:db8::1]:2379', '[2001:db8::2]:2379'], prefix: '/patchbay/' },
    ],
    ['etcd:///run/etcd.sock', { members: ['/run/etcd.sock'], prefix: '/patchbay/' }],
    ['etcd://h1:2379,h2:2380,prefix=/lab/one', { members: MEMBERS, prefix: '/lab/one/' }],
    [
      'etcd://h1:2379,h2:2380,ca=/etc/ca.pem,cert=/etc/c.pem,key=/etc/k.pem',
      { members: MEMBERS, prefix: '/patchbay/', tls: { ca: '/etc/ca.pem', cert: '/etc/c.pem', key: '/etc/k.pem' } },
    ],
    ['etcd://h1:2379,h2:2380,ca=/etc/ca.pem', { members: MEMBERS, prefix: '/patchbay/', tls: { ca: '/etc/ca.pem' } }],
  ])('%s', (text, address) => {
    expect(parseEtcdAddress(text)).toEqual(address);
  });

  test.each([
    ['h1:2379', /begin with etcd:/],
    ['http://h1:2379', /begin with etcd:/],
    ['etcd://', /is no member/],
    ['etcd://prefix=/a', /names no member/],
    ['etcd://h1:0', /is no member/],
    ['etcd://h1:70000', /is no member/],
    ['etcd://h1:2379,,h2', /is no member/],
    ['etcd://h 1', /is no member/],
    ['etcd://[nonsense]:1', /is no member/],
    ['etcd://h1,h1:2379', /a member twice/],
    ['etcd://h1,prefix=a', /is no path/],
    ['etcd://h1,prefix=/a/../b c', /is no path/],
    ['etcd://h1,prefix=/a,prefix=/b', /given twice/],
    ['etcd://h1,cert=/c', /go together/],
    ['etcd://h1,ca=ca.pem', /no absolute path/],
    ['etcd://h1,user=root', /is no setting/],
  ])('%s is refused, with the form that works', (text, why) => {
    const refused = (): unknown => parseEtcdAddress(text);
    expect(refused).toThrow(why);
    expect(refused).toThrow(/etcd:\/\/HOST:PORT/);
    try {
      refused();
    } catch (error) {
      expect(codeOf(error)).toBe('bad_request');
    }
  });
});
