/** TCP is served only with certificates on both sides. */

import { appendFileSync, chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
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
    return inHost('timeout', '20', lab.node, join(DIST, 'patchbayd.js'), ...folders, ...args);
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
  for (const [flag, file, why] of await wrongFiles()) {
    const args = flags(server).map((word, i, all) => (all[i - 1] === flag ? file : word));
    expect(await start(...tcp, ...args)).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining(`${flag} ${file}: ${why}`),
    });
    expect(await cli(...args, 'ls')).toMatchObject({ exitCode: 125, stderr: expect.stringContaining(`${flag} ${file}: ${why}`) });
  }
}, 120_000);

/** Flag, file, and the beginning of what is wrong with it. */
async function wrongFiles(): Promise<(readonly [string, string, string])[]> {
  const at = (name: string): string => join(folder, name);
  writeFileSync(at('none.pem'), 'nothing');
  writeFileSync(at('empty.pem'), '');
  copyFileSync(join(authority, 'cert.pem'), at('half.pem'));
  appendFileSync(at('half.pem'), '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n');
  await execa('mkfifo', [at('pipe.pem')]);
  return [
    ['--tlscacert', at('none.pem'), 'there is no certificate in it'],
    ['--tlscacert', at('empty.pem'), 'there is no certificate in it'],
    ['--tlscacert', at('half.pem'), 'certificate 2 of 2 in it cannot be read'],
    ['--tlscacert', folder, 'it is not a file'],
    ['--tlscert', join(server, 'key.pem'), 'there is no certificate in it'],
    ['--tlskey', at('pipe.pem'), 'it is not a file'],
    ['--tlskey', at('none.pem'), 'there is no private key in it'],
    ['--tlskey', at('missing.pem'), 'ENOENT'],
    ['--tlskey', join(client, 'key.pem'), 'it is not the key'],
  ];
}

test('an address that another one covers, or that is given twice, keeps the daemon from starting before it has made anything', async () => {
  const stateDir = join(folder, 'twice');
  const folders = ['--state-dir', stateDir, '--run-dir', join(folder, 'twice-run'), '--host', `unix://${join(folder, 't')}`];
  for (const second of ['127.0.0.1', '0.0.0.0']) {
    const hosts = ['--host', 'tcp://127.0.0.1:2377', '--host', `tcp://${second}:2377`];
    const outcome = await inHost('timeout', '20', lab.node, join(DIST, 'patchbayd.js'), ...folders, ...hosts, ...flags(server));
    expect(outcome).toMatchObject({ exitCode: 1, stderr: expect.stringContaining(`--host tcp://${second}:2377`) });
    expect((await inHost('ip', '-o', 'link', 'show', 'type', 'bridge')).stdout.trim().split('\n')).toHaveLength(1);
  }
});

test('whoever begins no handshake is let go of, and as many of them as may be connected keep nobody out for good', async () => {
  const silent = `
    const { connect } = require('node:net');
    let closed = 0;
    for (let i = 0; i < 1100; i++) connect(${PORT}, '127.0.0.1').on('error', () => {}).on('close', () => {
      if (++closed === 1100) console.log('all closed');
    });`;
  // They end only when the daemon ends them; a second request shows that it counts them no more.
  const { stdout } = await inHost('timeout', '60', lab.node, '-e', silent);
  expect(stdout).toBe('all closed');
  expect((await curl(...asWhom(client), `${URL_TEXT}/_ping`)).stdout).toBe('OK');
}, 90_000);

test('as many without a handshake as anybody likes keep nobody out: neither at their own address, nor who is slow elsewhere, nor who is in', async () => {
  const asked = `
    const { once } = require('node:events');
    const { readFileSync } = require('node:fs');
    const { connect } = require('node:net');
    const tls = require('node:tls');
    const pem = (name) => readFileSync('${client}/' + name + '.pem');
    const files = { ca: pem('ca'), cert: pem('cert'), key: pem('key') };
    const reach = (localAddress) => connect({ host: '127.0.0.1', port: ${PORT}, localAddress }).on('error', () => {});
    const secure = (socket) => tls.connect({ socket, host: '127.0.0.1', ...files });
    const ask = (secured) => new Promise((resolve) => {
      let text = '';
      secured.on('data', (chunk) => (text += chunk)).on('error', (error) => (text += error.code));
      secured.on('close', () => resolve(text.split('\\n').at(-1)));
      secured.write('GET /_ping HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n');
    });
    void (async () => {
      const isIn = secure(reach('127.0.0.1'));
      await once(isIn, 'session');
      const slow = reach('127.0.0.9');
      await once(slow, 'connect');
      let closed = 0;
      // 1,280 was the bound before: when so many are closed that come later, nobody was let in.
      await new Promise((resolve) => {
        for (let i = 0; i < 1500; i++) reach('127.0.0.1').on('close', () => ++closed === 200 && resolve());
      });
      console.log(await ask(secure(reach('127.0.0.1'))), await ask(secure(slow)), await ask(isIn));
      process.exit();
    })();`;
  const { stdout, stderr } = await inHost('timeout', '60', lab.node, '-e', asked);
  expect([stdout, stderr]).toEqual(['OK OK OK', '']);
}, 90_000);

test('who is refused for his certificate is told so by the tool, with either version of TLS', async () => {
  const files = [...flags(server).slice(0, 2), ...flags(stranger).slice(2)];
  expect(await cli(...files, 'ls')).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('--tlscacert has signed') });
});

test('a port that cannot be is refused in words', async () => {
  const far = await inHost(lab.node, join(DIST, 'network.js'), '--host', 'tcp://127.0.0.1:99999', ...flags(client), 'ls');
  expect(far).toMatchObject({ exitCode: 125, stderr: expect.stringContaining('invalid host') });
});
