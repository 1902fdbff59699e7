/** Bad transport: bodies, headers, paths, versions, filters, queries. */

import { type PathLine, type Row, gets, many } from './row.ts';

const JSON_TYPE = { 'content-type': 'application/json' };
const filters = (value: unknown, path = '/networks'): string =>
  `${path}?filters=${encodeURIComponent(typeof value === 'string' ? value : JSON.stringify(value))}`;

type BodyLine = readonly [title: string, body: string | Buffer, status: number, code: string, ...says: RegExp[]];

const bodies = (path: string, lines: readonly BodyLine[]): Row[] =>
  lines.map(([title, body, status, code, ...says]) => ({
    title,
    ask: { method: 'POST', path, headers: JSON_TYPE, body },
    status,
    code,
    says,
  }));

const json: Row[] = bodies('/networks/create', [
  ['a cut object', '{"Name":"a"', 400, 'bad_json', /invalid JSON/],
  ['a cut string', '{"Name":"a', 400, 'bad_json', /invalid JSON/],
  ['two values', '{"Name":"a"}{"Name":"b"}', 400, 'bad_json', /invalid JSON/],
  ['a comma too much', '{"Name":"a",}', 400, 'bad_json', /invalid JSON/],
  ['single quotes', "{'Name':'a'}", 400, 'bad_json', /invalid JSON/],
  ['a comment', '{"Name":"a"/*x*/}', 400, 'bad_json', /invalid JSON/],
  ['a list', '[]', 400, 'bad_json', /must be one object/],
  ['a text', '"a"', 400, 'bad_json', /must be one object/],
  ['a number', '1', 400, 'bad_json', /must be one object/],
  ['null', 'null', 400, 'bad_json', /must be one object/],
  ['a form', 'Name=a', 400, 'bad_json', /invalid JSON/],
  ['NaN', '{"Name":NaN}', 400, 'bad_json', /invalid JSON/],
  ['a bare control character', '{"Name":"a\u0001b"}', 400, 'bad_json', /invalid JSON/],
  ['UTF-16', Buffer.from('{"Name":"a"}', 'utf16le'), 400, 'bad_json', /UTF-8|invalid JSON/],
  ['Latin-1', Buffer.from('{"Name":"gr\u00fcn"}', 'latin1'), 400, 'bad_json', /UTF-8/],
  ['a broken UTF-8 sequence', Buffer.from([0x7b, 0x22, 0xc3, 0x28, 0x22, 0x7d]), 400, 'bad_json', /UTF-8/],
  ['brackets 100,000 deep', many('[', 100_000), 400, 'bad_json', /nest/, /100/],
  ['objects 50,000 deep', `{"Labels":${many('{"a":', 50_000)}1${many('}', 50_000)}}`, 400, 'bad_json', /nest/, /100/],
  ['one key twice', '{"Name":"bad","Name":"worse","Name":7}', 400, 'bad_request', /Name/, /string/],
  [
    'a field with the name of a prototype',
    '{"Name":"bad","__proto__":{"Name":"a"}}',
    400,
    'bad_request',
    /__proto__/,
    /another name/,
  ],
  [
    'a label with the name of a prototype',
    '{"Name":"bad","Labels":{"__proto__":"a"}}',
    400,
    'bad_request',
    /__proto__/,
    /another name/,
  ],
  ['one key in two spellings', '{"Name":"a","name":7}', 400, 'bad_request', /Name/, /string/],
]);

const typed = (title: string, type: string, status: number, code: string, ...says: RegExp[]): Row => ({
  title,
  ask: { method: 'POST', path: '/networks/create', headers: { 'content-type': type }, body: '{"Name":"bad"}' },
  status,
  code,
  says,
});

const headers: Row[] = [
  {
    title: 'a body that is announced as five megabytes',
    ask: { method: 'POST', path: '/networks/create', headers: JSON_TYPE, body: '{"Name":"', announces: 5 * 1024 * 1024 },
    status: 413,
    code: 'bad_request',
    says: [/body is larger than 4 MiB/],
  },
  typed('a body whose type is empty', '', 400, 'bad_content_type', /malformed/, /application\/json/),
  typed('a body of plain text', 'text/plain', 400, 'bad_content_type', /text\/plain/, /application\/json/),
  typed('a body of a form', 'application/x-www-form-urlencoded', 400, 'bad_content_type', /urlencoded/, /application\/json/),
  typed('a body of several parts', 'multipart/form-data; boundary=x', 400, 'bad_content_type', /multipart/, /application\/json/),
  typed('a type that only begins like JSON', 'application/jsonx', 400, 'bad_content_type', /jsonx/, /application\/json/),
  typed('a body in another charset', 'application/json; charset=iso-8859-1', 400, 'bad_content_type', /iso-8859-1/, /utf-8/),
  {
    title: 'a packed body',
    ask: {
      method: 'POST',
      path: '/networks/create',
      headers: { ...JSON_TYPE, 'content-encoding': 'gzip' },
      body: '{"Name":"bad"}',
    },
    status: 400,
    code: 'bad_content_type',
    says: [/gzip/, /without/],
  },
];

const paths: PathLine[] = [
  ['a path that is not there', '/nothing', 404, 'no_page', /page not found/],
  ['no path', '/', 404, 'no_page', /page not found/],
  ['a version of words', '/vx/networks', 404, 'no_page', /page not found/],
  ['a version too new', '/v1.99/networks', 400, 'bad_api_version', /1\.99/, /1\.56/],
  ['a version too old', '/v1.1/networks', 400, 'bad_api_version', /1\.1/, /1\.24/],
  ['a version with three parts', '/v1.40.1/networks', 400, 'bad_api_version', /1\.40\.1/, /1\.24.*1\.56/],
  ['a version of dots', '/v.../networks', 400, 'bad_api_version', /\.\.\./, /1\.24.*1\.56/],
  ['a version of many digits', '/v1.9999999999/networks', 400, 'bad_api_version', /9999999999/, /1\.24.*1\.56/],
  ['a version twice', '/v1.40/v1.40/networks', 404, 'no_page', /page not found/],
  ['a broken escape', '/networks/%zz', 400, 'bad_request', /%zz|escape/],
  ['half an escape', '/networks/%', 400, 'bad_request', /%|escape/],
  ['an escape that is no UTF-8', '/networks/%ff', 400, 'bad_request', /%ff|escape/],
  ['a NUL in the path', '/networks/a%00b', 404, 'no_network', /a\\u\{0\}b/],
  ['an empty name in the path', '/networks//', 404, 'no_network', /\//],
  ['a container that is not there', '/containers/ghost/json', 404, 'no_sandbox', /ghost/],
  ['a sandbox that is not there', '/sandboxes/ghost', 404, 'no_sandbox', /ghost/],
  ['an id that fits two', '/sandboxes/%20', 404, 'no_sandbox', / /],
  ['verbose that is a word', '/networks/net?verbose=maybe', 400, 'bad_request', /verbose/, /"maybe"/, /true or false/],
  ['a scope that does not fit', '/networks/net?scope=swarm', 404, 'no_network', /net/],
  ['a scope that is none', '/networks/net?scope=planet', 400, 'bad_request', /"planet"/, /local, global or swarm/],
  ['a parameter twice', '/networks/net?verbose=false&verbose=true', 400, 'bad_request', /verbose/, /once/],
  ['filters twice', '/networks?filters={}&filters={}', 400, 'bad_request', /filters/, /once/],
  ['a parameter that sandboxes do not have', '/sandboxes?filter=x', 400, 'bad_request', /"filter"/, /use all, filters/],
  ['a parameter that one sandbox does not have', '/sandboxes/box?size=1', 400, 'bad_request', /"size"/, /takes none/],
  ['a parameter that endpoints do not have', '/endpoints?name=idle', 400, 'bad_request', /"name"/, /use filters/],
  ['a parameter that services do not have', '/network-services?name=svc', 400, 'bad_request', /"name"/, /takes none|use /],
  ['a number of containers that is a word', '/containers/json?limit=few', 400, 'bad_request', /limit/, /"few"/, /whole number/],
];

const filterLines: PathLine[] = [
  ['a filter that is no JSON', filters('{'), 400, 'bad_filter', /\{/, /JSON/],
  ['a filter that is a list', filters([]), 400, 'bad_filter', /JSON object/],
  ['a filter that is a number', filters(7), 400, 'bad_filter', /JSON object/],
  ['a filter by what is not there', filters({ colour: ['red'] }), 400, 'bad_filter', /'colour'/, /dangling, driver/],
  ['a filter by a prototype', filters('{"__proto__":["x"]}'), 400, 'bad_filter', /__proto__/, /dangling, driver/],
  ['a filter value that is a number', filters({ name: [1] }), 400, 'bad_filter', /'name'/, /text/],
  ['a filter value that is a text', filters({ name: 'a' }), 400, 'bad_filter', /'name'/, /list of text/],
  ['a filter value beyond all', filters({ name: [many('a', 1025)] }), 400, 'bad_filter', /'name'/, /1024/],
  [
    'a hundred and one filter values',
    filters({ name: Array.from({ length: 101 }, () => 'a') }),
    400,
    'bad_filter',
    /'name'/,
    /100 values/,
  ],
  ['a type that is none', filters({ type: ['odd'] }), 400, 'bad_filter', /'odd'/, /custom or builtin/],
  ['a scope that nothing has', filters({ scope: ['planet'] }), 400, 'bad_filter', /'scope'='planet'/, /local, global or swarm/],
  ['one scope that nothing has', filters({ scope: ['local', ''] }), 400, 'bad_filter', /'scope'=''/, /local, global or swarm/],
  ['a state that no endpoint has', filters({ state: ['happy'] }, '/endpoints'), 400, 'bad_filter', /'happy'/, /ready, .*joined/],
  [
    'a type that no event has',
    filters({ type: ['planet'] }, '/events'),
    400,
    'bad_filter',
    /'type'='planet'/,
    /network/,
    /sandbox/,
  ],
  ['an event that never comes', filters({ event: ['explode'] }, '/events'), 400, 'bad_filter', /'explode'/, /connect/, /destroy/],
  ['a scope that no event has', filters({ scope: ['planet'] }, '/events'), 400, 'bad_filter', /'planet'/, /local or swarm/],
  ['dangling that is a word', filters({ dangling: ['maybe'] }), 400, 'bad_filter', /maybe/, /true or false/],
  ['dangling twice', filters({ dangling: ['true', 'false'] }), 400, 'bad_filter', /true,false/, /true or false/],
  ['a sandbox filter that is none', filters({ dangling: ['true'] }, '/sandboxes'), 400, 'bad_filter', /dangling/, /network/],
  ['a container filter that is none', filters({ colour: ['x'] }, '/containers/json'), 400, 'bad_filter', /'colour'/, /name/],
];

const pruneLines: PathLine[] = [
  ['a prune until a word', filters({ until: ['later'] }, '/networks/prune'), 400, 'bad_filter', /"later"/, /10m/],
  ['a prune until two times', filters({ until: ['1', '2'] }, '/networks/prune'), 400, 'bad_filter', /more than one/],
  ['a prune by name', filters({ name: ['net'] }, '/networks/prune'), 400, 'bad_filter', /'name'/, /until/],
  [
    'a prune until a day that is none',
    filters({ until: ['2026-13-45'] }, '/networks/prune'),
    400,
    'bad_filter',
    /2026-13-45/,
    /RFC 3339/,
  ],
];

const methods: Row[] = [
  ...gets([['a method that is not served', '/networks', 404, 'no_page', /page not found/]], 'PUT'),
  ...gets([['a removal of everything', '/networks', 404, 'no_page', /page not found/]], 'DELETE'),
  ...gets([['a post to a list', '/networks', 404, 'no_page', /page not found/]], 'POST'),
  ...gets(
    [['a removal with a misspelled force', '/sandboxes/box?forse=1', 400, 'bad_request', /"forse"/, /use force/]],
    'DELETE',
  ),
  ...gets([['a parameter for a leave', '/endpoints/wed/leave?force=1', 400, 'bad_request', /"force"/, /takes none/]], 'POST'),
];

export const transportRows: Row[] = [
  ...json,
  ...headers,
  ...gets(paths),
  ...gets(filterLines),
  ...gets(pruneLines, 'POST'),
  ...methods,
];
