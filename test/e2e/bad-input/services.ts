/** Bad services and bad members of the service `svc`. */

import { type Line, type Row, gets, many, posts } from './row.ts';

const create = (more: object): object => ({ Name: 'web', Network: 'net', ...more });
const health = (HealthCheck: unknown): object => create({ HealthCheck });
const ports = (...Ports: unknown[]): object => create({ Ports });
const port = (PublishedPort: unknown, TargetPort: unknown = 80): object => ({ PublishedPort, TargetPort });

const creates: Line[] = [
  ['nothing', {}, 400, 'bad_request', /Name/, /string/],
  ['no network', { Name: 'web' }, 400, 'bad_request', /Network/, /string/],
  ['a network that is not there', create({ Network: 'ghost' }), 404, 'no_network', /ghost/],
  ['a network without names', create({ Network: 'bridge' }), 400, 'not_supported_here', /bridge/, /names/],
  ['a configuration', create({ Network: 'conf' }), 400, 'not_supported_here', /conf/],
  ['an empty name', create({ Name: '' }), 400, 'bad_name', /""/, /\[a-zA-Z0-9_\.-\]/],
  ['a name with a line feed', create({ Name: 'a\nb' }), 400, 'bad_name', /"a\\nb"/],
  ['a name of 254 characters', create({ Name: many('a', 254) }), 400, 'bad_name', /aaa/, /253/],
  ['a name of tasks', create({ Name: 'tasks.web' }), 400, 'bad_name', /tasks\.web/],
  ['the name of another service', create({ Name: 'SVC' }), 409, 'name_taken', /svc already exists in network net/],
  ['the name of a sandbox', create({ Name: 'box' }), 409, 'name_taken', /box/],
  ['the name of an endpoint as alias', create({ Aliases: ['idle'] }), 409, 'name_taken', /idle/],
  ['an alias that is a number', create({ Aliases: [1] }), 400, 'bad_request', /Aliases\.0/],
  ['a mode that is none', create({ Mode: 'random' }), 400, 'bad_option', /random/, /vip or dnsrr/],
  ['an unknown field', create({ Replicas: 3 }), 400, 'bad_request', /Replicas/, /HealthCheck/],
  ['a port without mode vip', { ...ports(port(8080)), Mode: 'dnsrr' }, 400, 'bad_option', /mode vip/],
  ['the port 0', ports(port(0)), 400, 'bad_port', /invalid port 0/, /1 to 65535/],
  ['a port beyond', ports(port(70_000)), 400, 'bad_port', /70000/],
  ['a port that is a word', ports(port('http')), 400, 'bad_request', /PublishedPort/, /number/],
  ['a port twice', ports(port(8080), port(8080, 81)), 400, 'bad_port', /twice/],
  ['a strange protocol', ports({ ...port(8080), Protocol: 'icmp' }), 400, 'bad_port', /icmp/, /tcp or udp/],
  ['a check of nothing', health({}), 400, 'bad_option', /command/, /HTTP path/],
  ['two checks', health({ Tcp: 80, Http: '/' }), 400, 'bad_option', /one of/],
  ['a path that is none', health({ Http: 'healthy' }), 400, 'bad_option', /healthy/, /\[:PORT\]\/PATH/],
  ['a path with a line feed', health({ Http: '/\n' }), 400, 'bad_option', /\[:PORT\]\/PATH/],
  ['a command of nothing', health({ Command: '  ' }), 400, 'bad_option', /health command/],
  ['a negative interval', health({ Tcp: 80, Interval: -1 }), 400, 'bad_request', /Interval/],
  ['an interval of a nanosecond', health({ Tcp: 80, Interval: 1 }), 400, 'bad_option', /interval 0 ms/, /100/],
  ['half a try', health({ Tcp: 80, Retries: 0.5 }), 400, 'bad_option', /retries 0\.5/],
  ['labels in a list', create({ Labels: ['a'] }), 400, 'bad_request', /Labels/],
];

const members: Line[] = [
  ['no sandbox', {}, 400, 'bad_request', /Sandbox/, /string/],
  ['a sandbox that is not there', { Sandbox: 'ghost' }, 404, 'no_sandbox', /ghost/],
  ['a sandbox that is elsewhere', { Sandbox: 'spare' }, 500, 'not_connected', /network connect net spare/],
];

const leaving: Line[] = [
  ...members,
  ['one that is no member', { Sandbox: 'box' }, 404, 'no_member', /box/, /svc/],
  ['a time that is a text', { Sandbox: 'box', Timeout: '30s' }, 400, 'bad_request', /Timeout/],
  ['a wait that is a word', { Sandbox: 'box', Wait: 'yes' }, 400, 'bad_request', /Wait/],
];

export const serviceRows: readonly Row[] = [
  ...posts('/network-services/create', creates),
  ...posts('/network-services/svc/add', members),
  ...posts('/network-services/svc/drain', leaving),
  ...posts('/network-services/svc/remove', leaving),
  ...posts('/network-services/ghost/add', [['a service that is not there', { Sandbox: 'box' }, 404, 'no_service', /ghost/]]),
  ...gets([['a service that is not there', '/network-services/ghost', 404, 'no_service', /ghost/]]),
  ...gets([['a service that is not there', '/network-services/ghost', 404, 'no_service', /ghost/]], 'DELETE'),
  ...gets([['a network that has a service', '/networks/full', 403, 'network_in_use', /full/, /lone/, /service rm/]], 'DELETE'),
];
