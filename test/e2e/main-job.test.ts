/** The main job through the CLI: names, published ports, isolation, and a restart under traffic. */

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { SandboxAnswer } from '../../src/base/index.ts';
import { Lab, WIRE, waitUntil } from './lab.ts';

const SERVER = `const h=require('http');h.createServer((q,r)=>r.end('hello from '+require('os').hostname()+' to '+q.socket.remoteAddress+'\\n')).listen(80,'::')`;

let lab: Lab;
beforeAll(async () => {
  lab = await Lab.open();
});
afterAll(async () => {
  await lab.close();
});

const exec = (name: string, ...command: string[]) => lab.cli('exec', name, '--', ...command);
const dig = async (name: string, ...args: string[]): Promise<string> =>
  (await exec(name, 'dig', '+short', '+tries=1', '+time=2', ...args)).stdout.trim();
const addressOf = async (name: string, network: string): Promise<string> => {
  const [sandbox] = JSON.parse(await lab.ok('sandbox', 'inspect', name)) as [SandboxAnswer];
  return sandbox.Networks[network]?.IPAddress ?? '';
};

describe('two networks and three sandboxes with processes', () => {
  beforeAll(async () => {
    await lab.ok('create', 'front');
    await lab.ok('create', '--ipv6', 'back');
    await lab.ok(
      'run',
      '-d',
      '--name',
      'web',
      '--network',
      'front',
      '--alias',
      'www',
      '-p',
      '8080:80',
      '-p',
      '7002:7002',
      '--',
      process.execPath,
      '-e',
      SERVER,
    );
    await lab.ok('run', '-d', '--name', 'client', '--network', 'front', '--', 'sleep', '1000');
    await lab.ok('run', '-d', '--name', 'db', '--network', 'back', '--', process.execPath, '-e', SERVER);
    await waitUntil(
      async () => (await lab.in('outside', 'curl', '-sf', '-m', '1', `http://${WIRE.host}:8080/`)).exitCode === 0,
      10_000,
    );
  });

  test('a name, an alias, a short id and name.network resolve to the address, over UDP and TCP', async () => {
    const address = await addressOf('web', 'front');
    const id = (await lab.ok('sandbox', 'inspect', '--format', '{{.Id}}', 'web')).slice(0, 12);
    expect(await Promise.all(['web', 'WEB', 'www', 'web.front', id].map((name) => dig('client', name)))).toEqual(
      Array(5).fill(address),
    );
    expect(await dig('client', '+tcp', 'web')).toBe(address);
    expect(await dig('client', '-x', address)).toBe('web.front.');
    expect(await dig('db', 'AAAA', 'db')).toMatch(/^fd/);
  });

  test('a name of another network does not resolve', async () => {
    expect(await dig('client', 'db')).toBe('');
    expect(await dig('db', 'web')).toBe('');
  });

  test('a name of the outside world is asked of the upstream, over UDP and TCP', async () => {
    expect(await dig('client', 'host.example')).toBe('203.0.113.7');
    expect(await dig('client', '+tcp', 'host.example')).toBe('203.0.113.7');
    expect((await exec('client', 'dig', 'missing.example')).stdout).toContain('status: NXDOMAIN');
  });

  test('the published port answers from outside, from the host, by loopback, and from sandboxes of both networks', async () => {
    const get = (where: 'host' | 'outside', url: string) => lab.in(where, 'curl', '-s', '-m', '3', url);
    expect((await get('outside', `http://${WIRE.host}:8080/`)).stdout).toContain(
      `to ${WIRE.outside}`.replace('to ', 'to ::ffff:'),
    );
    expect((await get('host', 'http://127.0.0.1:8080/')).stdout).toContain('hello from');
    for (const name of ['client', 'db', 'web']) {
      expect((await exec(name, 'curl', '-s', '-m', '3', `http://${WIRE.host}:8080/`)).stdout, name).toContain('hello from');
    }
    expect((await exec('client', 'curl', '-s', '-m', '3', 'http://web/')).stdout).toContain('hello from');
  });

  test('an unpublished port is closed from outside and from the other network', async () => {
    const [web, db] = [await addressOf('web', 'front'), await addressOf('db', 'back')];
    await lab.in('outside', 'ip', 'route', 'add', '172.16.0.0/12', 'via', WIRE.host);
    const attempts = [
      lab.in('outside', 'curl', '-s', '-m', '1', `http://${web}/`),
      lab.in('outside', 'curl', '-s', '-m', '1', `http://${db}/`),
      exec('client', 'curl', '-s', '-m', '1', `http://${db}/`),
      exec('db', 'curl', '-s', '-m', '1', `http://${web}/`),
      exec('client', 'ping', '-c1', '-W1', db),
    ];
    for (const attempt of await Promise.all(attempts)) expect(attempt.exitCode).not.toBe(0);
  });

  test('a sandbox reaches the outside with the address of the host', async () => {
    const server = spawn('nsenter', [
      `--net=/run/netns/${lab.outside}`,
      process.execPath,
      '-e',
      `${SERVER.replace('80', '8000')}.on('listening',()=>console.log('up'))`,
    ]);
    await new Promise((resolve) => createInterface({ input: server.stdout }).once('line', resolve));
    expect((await exec('client', 'curl', '-s', '-m', '3', `http://${WIRE.outside}:8000/`)).stdout).toContain(WIRE.host);
    server.kill('SIGKILL');
  });

  test('connect makes a name live, disconnect takes it away, at once', async () => {
    await lab.ok('connect', '--alias', 'base', 'back', 'client');
    expect(await dig('db', 'client')).toBe(await addressOf('client', 'back'));
    expect(await dig('db', 'base')).toBe(await addressOf('client', 'back'));
    expect(await dig('client', 'db')).toBe(await addressOf('db', 'back'));
    expect((await exec('client', 'curl', '-s', '-m', '3', 'http://db/')).stdout).toContain('hello from');
    await lab.ok('disconnect', 'back', 'client');
    expect(await dig('db', 'client')).toBe('');
    expect(await dig('client', 'db')).toBe('');
    expect((await exec('client', 'ip', '-o', 'link')).stdout).not.toContain('eth1');
  });

  test('the files of a sandbox are its own, the machine sees its own', async () => {
    const { stdout } = await exec('web', 'sh', '-c', 'hostname; cat /etc/hostname /etc/hosts /etc/resolv.conf');
    const [name, file] = stdout.split('\n');
    expect(name).toMatch(/^[0-9a-f]{12}$/);
    expect(file).toBe(name);
    expect(stdout).toContain(`${await addressOf('web', 'front')}\t${name}`);
    expect(stdout).toContain('nameserver 127.0.0.11');
  });

  test('a stop of the daemon leaves names, streams and ports alive; a start finds all as it was', async () => {
    const before = JSON.parse(await lab.ok('sandbox', 'inspect', 'web', 'client', 'db')) as SandboxAnswer[];
    const rules = (await lab.in('host', 'iptables-save')).stdout.replaceAll(/\[\d+:\d+\]|# .*/g, '');
    const address = await addressOf('web', 'front');
    await using inside = await stream(lab, 'inside', address);
    await using through = await stream(lab, 'outside', address);
    await lab.stop('SIGTERM');
    expect((await lab.in('outside', 'curl', '-s', '-m', '3', `http://${WIRE.host}:8080/`)).stdout).toContain('hello from');
    const key = before[1]?.Netns ?? '';
    const asked = await execaIn(key, 'dig', '+short', '+tries=1', '+time=2', '@127.0.0.11', 'web');
    expect(asked).toBe(address);
    await lab.start();
    expect(JSON.parse(await lab.ok('sandbox', 'inspect', 'web', 'client', 'db'))).toEqual(before);
    expect((await lab.in('host', 'iptables-save')).stdout.replaceAll(/\[\d+:\d+\]|# .*/g, '')).toBe(rules);
    expect(await dig('client', 'web')).toBe(address);
    expect((await lab.in('outside', 'curl', '-s', '-m', '3', `http://${WIRE.host}:8080/`)).stdout).toContain('hello from');
    await expect(inside.alive()).resolves.toBe(true);
    await expect(through.alive()).resolves.toBe(true);
  });

  test('a killed daemon loses nothing either', async () => {
    const before = await lab.ok('sandbox', 'inspect', 'web', 'client', 'db');
    await lab.stop('SIGKILL');
    await lab.start();
    expect(await lab.ok('sandbox', 'inspect', 'web', 'client', 'db')).toBe(before);
  });

  test('all removed: nothing is left', async () => {
    const busy = await lab.cli('sandbox', 'rm', 'web');
    expect(busy).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('is alive') });
    expect((await lab.cli('rm', 'front')).stderr).toMatch(/has active endpoints \(name:"(web|client)"/);
    await lab.ok('sandbox', 'rm', '-f', 'web', 'client', 'db');
    await lab.ok('rm', 'front', 'back');
    expect(await lab.leftovers()).toEqual([]);
    expect(lab.log).not.toMatch(/"level":50/);
  });
});

async function execaIn(netns: string, command: string, ...args: string[]): Promise<string> {
  const { execa } = await import('execa');
  return (await execa('nsenter', [`--net=${netns}`, command, ...args], { reject: false })).stdout.trim();
}

/** A long-lived TCP connection to a byte echo in `web`; alive() sends a byte and waits for it. */
async function stream(
  at: Lab,
  from: 'inside' | 'outside',
  address: string,
): Promise<AsyncDisposable & { alive(): Promise<boolean> }> {
  const port = from === 'inside' ? 7001 : 7002;
  const echo = `require('net').createServer(s=>s.pipe(s)).listen(${port},'0.0.0.0',()=>console.log('up'))`;
  const [web] = JSON.parse(await at.ok('sandbox', 'inspect', 'web')) as [SandboxAnswer];
  const server = spawn('nsenter', [`--net=${web.Netns}`, process.execPath, '-e', echo]);
  await new Promise((resolve) => createInterface({ input: server.stdout }).once('line', resolve));
  const [client] = JSON.parse(await at.ok('sandbox', 'inspect', 'client')) as [SandboxAnswer];
  const where = from === 'inside' ? client.Netns : `/run/netns/${at.outside}`;
  // From outside the stream goes through the published port.
  const target = from === 'inside' ? address : WIRE.host;
  const socket = spawn('nsenter', [`--net=${where}`, 'ncat', target, String(port)]);
  const lines = createInterface({ input: socket.stdout });
  const alive = async (): Promise<boolean> => {
    const answer = new Promise<boolean>((resolve) => {
      lines.once('line', () => resolve(true));
      socket.once('exit', () => resolve(false));
      setTimeout(() => resolve(false), 5000).unref();
    });
    socket.stdin.write('x\n');
    return answer;
  };
  if (!(await alive())) throw new Error(`no stream to ${address}:${port}`);
  return {
    alive,
    async [Symbol.asyncDispose]() {
      socket.kill('SIGKILL');
      server.kill('SIGKILL');
    },
  };
}
