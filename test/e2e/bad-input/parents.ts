/** Networks on a parent: what is wrong with parents and modes. */

import type { Line } from './row.ts';

const parented =
  (name: string) =>
  (options: Record<string, unknown>, rest: object = {}) => ({
    Name: name,
    Driver: 'macvlan',
    Options: options,
    ...rest,
  });

/** `name`: of networks. */
export const parentLines = (name: string): Line[] => {
  const of = parented(name);
  return [
    ['a parent that is not there', of({ parent: 'nope' }), 400, 'bad_option', /nope/, /example formatting is eth0.10/, /wire0/],
    ['the loopback as parent', of({ parent: 'lo' }), 400, 'bad_option', /loopback interface is not a valid macvlan parent/],
    ['a parent that is a path', of({ parent: '../eth0' }), 400, 'bad_option', /\.\.\/eth0/, /name a link of this host/],
    ['a parent with a line feed', of({ parent: 'a\nb' }), 400, 'bad_option', /a\\nb/, /name a link of this host/],
    ['a parent of 16 characters', of({ parent: 'abcdefghijklmnop' }), 400, 'bad_option', /at most 15 characters/],
    ['a VLAN of 0', of({ parent: 'wire0.0' }), 400, 'bad_option', /between 1-4094/],
    ['a VLAN of 4095', of({ parent: 'wire0.4095' }), 400, 'bad_option', /between 1-4094/],
    ['a VLAN of a VLAN', of({ parent: 'wire0.1.2' }), 400, 'bad_option', /example formatting is eth0.10/],
    ['a VLAN of nothing', of({ parent: 'nope.5' }), 400, 'bad_option', /was not found on the host: nope/, /wire0/],
    [
      'a mode that is none',
      of({ parent: 'wire0', macvlan_mode: 'brigde' }),
      400,
      'bad_option',
      /'brigde' is not valid/,
      /use bridge, private, vepa, passthru/,
    ],
    [
      'a mode that is long and odd',
      of({ parent: 'wire0', macvlan_mode: `\u001b[31m${'x'.repeat(100_000)}` }),
      400,
      'bad_option',
      /\\u\{1b\}/,
      /use bridge, private, vepa, passthru/,
    ],
    [
      'a mode of ipvlan that is none',
      of({ parent: 'wire0', ipvlan_mode: 'l4' }, { Driver: 'ipvlan' }),
      400,
      'bad_option',
      /'l4' is not valid/,
      /use l2, l3, l3s/,
    ],
    [
      'a way of the host into a network that keeps apart',
      of({ parent: 'wire0', macvlan_mode: 'private', host_access: 'true' }),
      400,
      'bad_option',
      /keeps links on one parent apart/,
      /bridge or vepa/,
    ],
    ['a parent without subnets', of({ parent: 'wire0' }, { IPAM: { Driver: 'null' } }), 400, 'bad_subnet', /ipv4 pool is empty/],
  ];
};
