/**
 * The main job on the embedded store, shown step by step: in a private namespace that plays the machine, a daemon, two
 * networks, three sandboxes with real processes, names, a published port, isolation, a restart under traffic, and nothing
 * left at the end.
 */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { styleText } from 'node:util';
import { execa } from 'execa';

const dist = new URL('../../dist/', import.meta.url).pathname;
const prefix = `pbq-${randomBytes(3).toString('hex')}`;
const [machine, outside] = [`${prefix}-machine`, `${prefix}-outside`];
const folder = mkdtempSync(join(tmpdir(), 'patchbay-quickstart-'));
const socket = `unix://${join(folder, 'patchbay.sock')}`;
const runDir = join(folder, 'run');
// Documentation addresses (RFC 5737): they exist on no real network.
const [machineAddress, outsideAddress] = ['198.51.100.1', '198.51.100.2'];
let daemon;

const colour = (style, text) => (process.stdout.isTTY ? styleText(style, text) : text);
const say = (text) => process.stdout.write(`${text}\n`);
const step = (text) => say(`\n${colour('bold', `== ${text}`)}`);
const result = (text) => say(`   ${colour('green', '✓')} ${text}`);

function must(isTrue, what) {
  if (!isTrue) throw new Error(`${what}: this did not hold`);
  result(what);
}

const inside = (netns, command, ...args) =>
  execa('nsenter', [`--net=/run/netns/${netns}`, command, ...args], { reject: false, stdin: 'ignore' });

async function network(...args) {
  say(`   ${colour('dim', '$')} network ${args.map((arg) => (/[\s;()'"]/.test(arg) ? '…' : arg)).join(' ')}`);
  const { stdout } = await execa(process.execPath, [join(dist, 'network.js'), '--host', socket, ...args], { stdin: 'ignore' });
  return stdout;
}

const quiet = (...args) =>
  execa(process.execPath, [join(dist, 'network.js'), '--host', socket, ...args], { reject: false, stdin: 'ignore' });

async function wire() {
  for (const name of [machine, outside]) {
    await execa('ip', ['netns', 'add', name]);
    await execa('ip', ['-n', name, 'link', 'set', 'lo', 'up']);
  }
  await execa('ip', ['-n', machine, 'link', 'add', 'wire0', 'type', 'veth', 'peer', 'name', 'wire0', 'netns', outside]);
  for (const [name, address] of [
    [machine, machineAddress],
    [outside, outsideAddress],
  ]) {
    await execa('ip', ['-n', name, 'addr', 'add', `${address}/24`, 'dev', 'wire0']);
    await execa('ip', ['-n', name, 'link', 'set', 'wire0', 'up']);
  }
}

async function startDaemon() {
  const flags = [
    '--host',
    socket,
    '--state-dir',
    join(folder, 'state'),
    '--run-dir',
    runDir,
    '--plugin-dir',
    join(folder, 'plugins'),
    '--engine',
    'none',
    '--dns',
    outsideAddress,
  ];
  daemon = spawn('nsenter', [`--net=/run/netns/${machine}`, process.execPath, join(dist, 'patchbayd.js'), ...flags], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let log = '';
  daemon.stderr.on('data', (chunk) => (log += chunk));
  const ready = await new Promise((resolve, reject) => {
    createInterface({ input: daemon.stdout }).once('line', resolve);
    daemon.once('exit', (code) => reject(new Error(`the daemon ended with ${code}:\n${log}`)));
  });
  say(`   ${ready}`);
}

async function stopDaemon() {
  if (daemon === undefined || daemon.exitCode !== null) return;
  const ended = new Promise((resolve) => daemon.once('exit', resolve));
  daemon.kill('SIGTERM');
  await ended;
}

const SERVER = `require('http').createServer((q,r)=>r.end('hello from '+require('os').hostname()+'\\n')).listen(80)`;
const TICKER = `require('net').createServer(s=>{let n=0;const t=setInterval(()=>s.write(++n+'\\n'),20);s.on('close',()=>clearInterval(t));s.on('error',()=>0)}).listen(7000)`;

const nameFrom = async (sandbox, name) =>
  (await quiet('exec', sandbox, '--', 'dig', '+short', '+tries=1', '+time=2', name)).stdout.trim();
const page = async (netns, url) => (await inside(netns, 'curl', '-s', '-m', '2', url)).stdout.trim();

async function until(isTrue, what) {
  for (let i = 0; i < 250; i++) {
    if (await isTrue()) return result(what);
    await sleep(40);
  }
  throw new Error(`${what}: not within 10 s`);
}

/** Numbers that arrive on a connection through the published port; a gap or an end shows. */
function watchTicks() {
  const child = spawn('nsenter', [
    `--net=/run/netns/${outside}`,
    process.execPath,
    '-e',
    `require('net').connect(7000,'${machineAddress}').pipe(process.stdout)`,
  ]);
  const state = { last: 0, isWhole: true, isOpen: true };
  createInterface({ input: child.stdout }).on('line', (line) => {
    state.isWhole &&= Number(line) === state.last + 1;
    state.last = Number(line);
  });
  child.once('exit', () => (state.isOpen = false));
  return { state, close: () => child.kill('SIGKILL') };
}

async function main() {
  step('A private namespace plays the machine; a second one is the outside world');
  await wire();
  result(`${machine} (${machineAddress}) and ${outside} (${outsideAddress})`);

  step('The daemon, on an embedded store in a folder of its own');
  await startDaemon();

  step('Two networks');
  await network('create', 'front');
  await network('create', '--internal', 'back');
  say((await network('ls')).replace(/^/gm, '   '));

  step('Three sandboxes with real processes');
  await network(
    'run',
    '-d',
    '--name',
    'web',
    '--network',
    'front',
    '-p',
    '8080:80',
    '-p',
    '7000:7000',
    '--',
    process.execPath,
    '-e',
    `${SERVER};${TICKER}`,
  );
  await network('run', '-d', '--name', 'client', '--network', 'front', '--', 'sleep', '1d');
  await network('run', '-d', '--name', 'db', '--network', 'back', '--', process.execPath, '-e', SERVER);
  say((await network('sandbox', 'ls')).replace(/^/gm, '   '));

  step('Names, asked with dig inside a sandbox');
  const address = await nameFrom('client', 'web');
  must(/^\d+\.\d+\.\d+\.\d+$/.test(address), `client resolves web: ${address}`);
  must((await nameFrom('client', 'web.front')) === address, 'client resolves web.front');
  must((await nameFrom('client', 'db')) === '', 'client does not resolve db, which is on another network');

  step('The published port, from the outside world');
  await until(
    async () => (await page(outside, `http://${machineAddress}:8080/`)).startsWith('hello'),
    `http://${machineAddress}:8080/ answers`,
  );
  must((await page(machine, 'http://127.0.0.1:8080/')).startsWith('hello'), 'and 127.0.0.1:8080 on the machine itself');
  must(
    (await quiet('exec', 'client', '--', 'curl', '-s', '-m', '2', 'http://web/')).stdout.startsWith('hello'),
    'and http://web/ inside the network',
  );

  step('Isolation');
  const db = JSON.parse(await network('sandbox', 'inspect', 'db'))[0].Networks.back.IPAddress;
  must(
    (await quiet('exec', 'client', '--', 'curl', '-s', '-m', '1', `http://${db}/`)).exitCode !== 0,
    `client cannot reach db at ${db}`,
  );
  must(
    (await quiet('exec', 'db', '--', 'curl', '-s', '-m', '1', `http://${address}/`)).exitCode !== 0,
    'db cannot reach web either',
  );

  step('The daemon is stopped and started under running traffic');
  const { Netns } = JSON.parse((await quiet('sandbox', 'inspect', 'client')).stdout)[0];
  const ticks = watchTicks();
  await until(() => ticks.state.last > 5, 'a stream runs through the published port');
  await stopDaemon();
  const during = ticks.state.last;
  const asked = await execa('nsenter', [`--net=${Netns}`, 'dig', '+short', '+tries=1', '+time=2', '@127.0.0.11', 'web'], {
    reject: false,
  });
  must(asked.stdout.trim() === address, 'the daemon is down, and client still resolves web');
  must(
    (await page(outside, `http://${machineAddress}:8080/`)).startsWith('hello'),
    'the published port answers while it is down',
  );
  await startDaemon();
  await until(() => ticks.state.last > during + 5, 'the stream went on');
  must(ticks.state.isWhole && ticks.state.isOpen, 'without a gap');
  ticks.close();
  must((await nameFrom('client', 'web')) === address, 'web still has its name and address');

  step('Everything is taken down');
  await network('sandbox', 'rm', '-f', 'web', 'client', 'db');
  await network('rm', 'front', 'back');
  await until(async () => !/veth|br-|dead/.test((await inside(machine, 'ip', '-o', 'link')).stdout), 'no link is left');
  must(!/dport|br-/.test((await inside(machine, 'iptables-save')).stdout), 'no rule of a network is left');
  must(readdirSync(join(runDir, 'netns')).length === 0, 'no namespace is left');
  must(readdirSync(join(runDir, 'sandboxes')).length === 0, 'no file is left');
  await stopDaemon();
}

/** Keeper and supervisor of this run, by the run directory on their command line. */
function helpers() {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
          .split('\0')
          .some((word) => word.includes(runDir));
      } catch {
        return false;
      }
    })
    .map(Number);
}

async function cleanUp() {
  if (daemon !== undefined && daemon.exitCode === null) {
    const { stdout } = await quiet('sandbox', 'ls', '-q');
    for (const id of stdout.split('\n').filter(Boolean)) await quiet('sandbox', 'rm', '-f', id);
    await stopDaemon();
  }
  for (const pid of helpers()) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // Ended by itself.
    }
  }
  const mounts = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '');
  for (const mount of mounts.filter((target) => target.startsWith(folder)))
    await execa('umount', ['-l', mount], { reject: false });
  for (const name of [machine, outside]) await execa('ip', ['netns', 'del', name], { reject: false });
  rmSync(folder, { recursive: true, force: true });
}

try {
  await main();
  say(`\n${colour('green', 'All of it held.')} Next: README.md, docs/walkthrough.md`);
} catch (error) {
  process.stderr.write(`\nquickstart failed: ${error.message}\n`);
  process.exitCode = 1;
} finally {
  await cleanUp();
}
