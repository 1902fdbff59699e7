/** Requests whose framing, headers or query cannot be read as they stand, as octets; each gets words about what is wrong with it. */

/** What is sent, and what is answered: status, code, words. */
export type FramedRow = readonly [title: string, octets: string, status: number, code: string, ...says: RegExp[]];

const CREATE = 'POST /networks/create HTTP/1.1\r\nHost: x\r\nConnection: close\r\n';
const JSON_TYPE = 'Content-Type: application/json\r\n';
const create = (headers: string, body: string): string => `${CREATE}${headers}\r\n${body}`;
const get = (target: string, headers = ''): string => `GET ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${headers}\r\n`;
const BAD = '{"Name":"bad"}';

/** Requests after whose octets the client says that there are no more. */
export const cutRows: readonly FramedRow[] = [
  ['a line that stops', 'GET /netw', 400, 'bad_request', /ended before/, /announce/],
  ['headers that stop', 'GET /networks HTTP/1.1\r\nHost: x\r\n', 400, 'bad_request', /ended before/, /announce/],
  [
    'a body that stops',
    create(`${JSON_TYPE}Content-Length: 14\r\n`, BAD.slice(0, 5)),
    400,
    'bad_request',
    /ended before/,
    /announce/,
  ],
  [
    'chunks that stop',
    create(`${JSON_TYPE}Transfer-Encoding: chunked\r\n`, `e\r\n${BAD}\r\n`),
    400,
    'bad_request',
    /ended before/,
    /announce/,
  ],
];

export const framedRows: readonly FramedRow[] = [
  [
    'two lengths',
    create(`${JSON_TYPE}Content-Length: 14\r\nContent-Length: 15\r\n`, BAD),
    400,
    'bad_request',
    /Content-Length/,
    /send one/,
  ],
  [
    'a length beside chunks',
    create(`${JSON_TYPE}Content-Length: 14\r\nTransfer-Encoding: chunked\r\n`, '0\r\n\r\n'),
    400,
    'bad_request',
    /Transfer-Encoding/,
    /Content-Length/,
  ],
  [
    'chunks beside a length',
    create(`${JSON_TYPE}Transfer-Encoding: chunked\r\nContent-Length: 14\r\n`, '0\r\n\r\n'),
    400,
    'bad_request',
    /Transfer-Encoding/,
    /Content-Length/,
  ],
  [
    'a length below zero',
    create(`${JSON_TYPE}Content-Length: -1\r\n`, BAD),
    400,
    'bad_request',
    /Content-Length/,
    /whole number/,
  ],
  [
    'a length beyond all numbers',
    create(`${JSON_TYPE}Content-Length: ${'9'.repeat(30)}\r\n`, BAD),
    400,
    'bad_request',
    /Content-Length/,
    /whole number/,
  ],
  [
    'a packed transfer',
    create(`${JSON_TYPE}Transfer-Encoding: gzip\r\n`, ''),
    400,
    'bad_request',
    /Transfer-Encoding/,
    /chunked/,
  ],
  [
    'a chunk without a size',
    create(`${JSON_TYPE}Transfer-Encoding: chunked\r\n`, 'zz\r\n'),
    400,
    'bad_request',
    /chunk/,
    /hexadecimal/,
  ],
  [
    'a chunk longer than its size',
    create(`${JSON_TYPE}Transfer-Encoding: chunked\r\n`, `2\r\n${BAD}\r\n0\r\n\r\n`),
    400,
    'bad_request',
    /chunk|CR and LF/,
  ],
  [
    "a chunk whose size's line ends with LF alone",
    create(`${JSON_TYPE}Transfer-Encoding: chunked\r\n`, `e\n${BAD}\r\n0\r\n\r\n`),
    400,
    'bad_request',
    /CR and LF/,
  ],
  [
    'extensions of a chunk beyond all',
    create(`${JSON_TYPE}Transfer-Encoding: chunked\r\n`, `e;${'x'.repeat(20_000)}\r\n${BAD}\r\n0\r\n\r\n`),
    400,
    'bad_request',
    /extensions/,
    /leave them out/,
  ],
  ['lines that end with LF alone', 'GET /networks HTTP/1.1\nHost: x\n\n', 400, 'bad_request', /CR and LF/],
  ['a header with CR in it', get('/networks', 'Colour: r\red\r\n'), 400, 'bad_request', /CR and LF/],
  ['a request after the last one', `${get('/networks')}${get('/networks')}`, 400, 'bad_request', /Connection: close/, /another/],
  ['TLS', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 400, 'bad_request', /method/, /no TLS/],
  ['a method that HTTP does not have', 'FROB /networks HTTP/1.1\r\nHost: x\r\n\r\n', 400, 'bad_request', /method/, /capitals/],
  ['a method in small letters', 'get /networks HTTP/1.1\r\nHost: x\r\n\r\n', 400, 'bad_request', /method/, /capitals/],
  ['an HTTP of the future', 'GET /networks HTTP/3.7\r\nHost: x\r\n\r\n', 400, 'bad_request', /version/, /HTTP\/1\.1/],
  ['HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400, 'bad_request', /version/, /HTTP\/1\.1/],
  ['a path with a space', get('/networks/a b'), 400, 'bad_request', /path/, /%20/],
  ['a path with a letter as it is', get('/networks/\xe4'), 400, 'bad_request', /path/, /%20/],
  ['a header without a colon', get('/networks', 'Colour\r\n'), 400, 'bad_request', /header/, /Name: value/],
  ['a header over two lines', get('/networks', 'Colour: red\r\n blue\r\n'), 400, 'bad_request', /header/, /Name: value/],
  ['a header with a NUL', get('/networks', 'Colour: r\0d\r\n'), 400, 'bad_request', /header/, /Name: value/],
  ['headers beyond all', get('/networks', `Colour: ${'r'.repeat(20_000)}\r\n`), 431, 'bad_request', /16 KiB/],
  ['two hosts', get('/networks', 'Host: y\r\n'), 400, 'bad_request', /Host/, /once/],
  [
    'a question with a body',
    'QUERY /networks HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
    404,
    'no_page',
    /page not found/,
  ],
  [
    'a body without a type',
    create(`Content-Length: ${BAD.length}\r\n`, BAD),
    400,
    'bad_content_type',
    /Content-Type is missing/,
    /application\/json/,
  ],
  [
    'chunks without a type',
    create('Transfer-Encoding: chunked\r\n', `e\r\n${BAD}\r\n0\r\n\r\n`),
    400,
    'bad_content_type',
    /Content-Type is missing/,
    /application\/json/,
  ],
  [
    'two types',
    create(`Content-Length: ${BAD.length}\r\nContent-Type: text/plain\r\n${JSON_TYPE}`, BAD),
    400,
    'bad_content_type',
    /text\/plain/,
    /application\/json/,
  ],
];
