/** TCP is served only with certificates on both sides. */

import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { DIST, Lab } from './lab.ts';

const PORT = '2376';
const URL_TEXT = `https://127.0.0.1:${PORT}`;

let folder: string;
let lab: Lab;

/** A folder with ca.pem, and cert.pem and key.pem of someone whom the authority `ca` signed. */
async function certificates(name: string, ca: string | undefined): Promise<string> {
  const at = join(folder, name);
  mkdirSync(at);
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', join(at, 'key.pem')];
  const subject = ['-subj', `/CN=${name}`, '-days', '2'];
  const purpose = ['-addext', 'subjectAltName=IP:127.0.0.1', '-addext', 'extendedKeyUsage=serverAuth,clientAuth'];
  const signer = ca === undefined ? [] : ['-CA', join(ca, 'cert.pem'), '-CAkey', join(ca, 'key.pem'), ...purpose];
  await execa('openssl', ['req', '-x509', ...key, ...subject, ...signer, '-out', join(at, 'cert.pem')]);
  if (ca !== undefined) await execa('cp', [join(ca, 'cert.pem'), join(at, 'ca.pem')]);
  return at;
}

let authority: string;
let server: string;
let client: string;
let stranger: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'pbt-tls-'));
  chmodSync(folder, 0o700);
  authority = await certificates('authority', undefined);
  server = await certificates('server', authority);
  client = await certificates('client', authority);
  const other = await certificates('other', undefined);
  stranger = await certificates('stranger', other);
  // He knows our authority, it does not know him.
  await execa('cp', [join(authority, 'cert.pem'), join(stranger, 'ca.pem')]);
  const files = [
    '--tlscacert',
    join(server, 'ca.pem'),
    '--tlscert',
    join(server, 'cert.pem'),
    '--tlskey',
    join(server, 'key.pem'),
  ];
  lab = await Lab.open({ flags: ['--host', `tcp://127.0.0.1:${PORT}`, ...files] });
});
afterAll(async () => {
  await lab.close();
  rmSync(folder, { recursive: true, force: true });
});

const inHost = (...args: string[]) => lab.in('host', args[0] ?? '', ...args.slice(1));
const curl = (...args: string[]) => inHost('curl', '-s', '-m', '20', ...args);
const asWhom = (at: string) => ['--cacert', join(at, 'ca.pem'), '--cert', join(at, 'cert.pem'), '--key', join(at, 'key.pem')];
const cli = (...args: string[]) => inHost(lab.node, join(DIST, 'network.js'), '--host', `tcp://127.0.0.1:${PORT}`, ...args);
const flags = (at: string) => [
  '--tlscacert',
  join(at, 'ca.pem'),
  '--tlscert',
  join(at, 'cert.pem'),
  '--tlskey',
  join(at, 'key.pem'),
];

test('who has a certificate of the authority is served, by curl and by the command line tool', async () => {
  expect((await curl(...asWhom(client), `${URL_TEXT}/_ping`)).stdout).toBe('OK');
  expect(await cli(...flags(client), 'ls', '--format', '{{.Name}}')).toMatchObject({ exitCode: 0, stdout: 'bridge\nhost\nnone' });
  const byFolder = await inHost(
    'env',
    `NETWORK_CERT_PATH=${client}`,
    lab.node,
    join(DIST, 'network.js'),
    '--host',
    `tcp://127.0.0.1:${PORT}`,
    'ls',
    '-q',
  );
  expect(byFolder.exitCode).toBe(0);
});

test('no certificate, one of another authority, and no TLS at all get nothing', async () => {
  for (const args of [['--cacert', join(client, 'ca.pem')], asWhom(stranger)]) {
    const { exitCode, stdout } = await curl(...args, `${URL_TEXT}/networks`);
    expect(exitCode).not.toBe(0);
    expect(stdout).toBe('');
  }
  const plain = await curl(`http://127.0.0.1:${PORT}/networks`);
  expect(plain.stdout).not.toContain('bridge');
  expect(plain.exitCode).not.toBe(0);
  expect((await curl(...asWhom(client), `${URL_TEXT}/_ping`)).stdout).toBe('OK');
});

test('old TLS is refused', async () => {
  expect((await curl('--tls-max', '1.1', ...asWhom(client), `${URL_TEXT}/_ping`)).exitCode).not.toBe(0);
});

test('the tool refuses a daemon that another authority signed, and says what is missing', async () => {
  expect(await cli('ls')).toMatchObject({ exitCode: 125, stderr: expect.stringContaining('NETWORK_CERT_PATH') });
  const files = ['--tlscacert', join(folder, 'other', 'cert.pem'), ...flags(client).slice(2)];
  expect(await cli(...files, 'ls')).toMatchObject({ exitCode: 1, stderr: expect.stringMatching(/certificate|signed/) });
  expect(await cli(...flags(stranger), 'ls')).toMatchObject({ exitCode: 1 });
});

test('callers from elsewhere name neither namespaces nor processes of this host, and start none', async () => {
  const post = async (path: string, body: object) => {
    const data = ['-H', 'Content-Type: application/json', '-d', JSON.stringify(body)];
    return JSON.parse((await curl(...asWhom(client), ...data, `${URL_TEXT}${path}`)).stdout) as { code: string };
  };
  expect(await post('/sandboxes/create', { Name: 'far', Netns: `/run/netns/${lab.outside}` })).toMatchObject({
    code: 'bad_netns',
  });
  await lab.ok('sandbox', 'create', 'box');
  expect(await post('/sandboxes/box/process', { Pid: process.pid })).toMatchObject({ code: 'bad_process' });
  await lab.ok('sandbox', 'rm', 'box');
  expect(await cli(...flags(client), 'run', '--name', 'far', '--', 'true')).toMatchObject({
    exitCode: 125,
    stderr: expect.stringContaining('unix socket'),
  });
});

test('plain TCP, half a set of files, and files that are none keep the daemon from starting', async () => {
  const start = async (...args: string[]) => {
    const folders = [
      '--state-dir',
      join(folder, 'state'),
      '--run-dir',
      join(folder, 'run'),
      '--host',
      `unix://${join(folder, 's')}`,
    ];
    return inHost(lab.node, join(DIST, 'patchbayd.js'), ...folders, ...args);
  };
  const tcp = ['--host', 'tcp://127.0.0.1:2377'];
  expect(await start(...tcp)).toMatchObject({
    exitCode: 125,
    stderr: expect.stringMatching(/plain TCP is refused.*--tlscacert/),
  });
  expect(await start(...tcp, ...flags(server).slice(0, 4))).toMatchObject({
    exitCode: 125,
    stderr: expect.stringContaining('--tlskey'),
  });
  expect(await start(...flags(server))).toMatchObject({ exitCode: 125, stderr: expect.stringContaining('--host tcp://') });
  expect(await start('--host', 'tcp://localhost:2377', ...flags(server))).toMatchObject({
    exitCode: 125,
    stderr: expect.stringContaining('IP address'),
  });
  writeFileSync(join(folder, 'none.pem'), 'nothing');
  for (const wrong of [join(folder, 'none.pem'), join(folder, 'missing.pem')]) {
    const args = [...flags(server).slice(0, 4), '--tlskey', wrong];
    expect(await start(...tcp, ...args)).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('--tlskey') });
  }
});
