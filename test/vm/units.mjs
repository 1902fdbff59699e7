/** Runs in a machine that systemd has booted with our units; writes what it saw, as JSON, to the file that it is given. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const checks = [];
const planned = [];
/** The machine is emulated: milliseconds. */
const PATIENCE_MS = 120_000;

/** Makes a check when its turn comes. */
function check(name, work) {
  planned.push({ name, work });
}

function run(command, ...args) {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8', timeout: PATIENCE_MS });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${status}\n${stdout}${stderr}`);
  return stdout.trim();
}

const mainPid = (unit) => Number(run('systemctl', 'show', '--property=MainPID', '--value', unit));
const restarts = (unit) => Number(run('systemctl', 'show', '--property=NRestarts', '--value', unit));

async function until(what, condition) {
  const deadline = performance.now() + PATIENCE_MS;
  let last = 'no';
  while (performance.now() < deadline) {
    try {
      if (await condition()) return;
    } catch (error) {
      last = String(error);
    }
    await sleep(200);
  }
  throw new Error(`${what}: not within ${PATIENCE_MS / 1000} s: ${last}`);
}

/** By curl: a program of Node's takes seconds to start here. */
function api(method, path, body) {
  const data = body === undefined ? [] : ['-H', 'Content-Type: application/json', '-d', JSON.stringify(body)];
  const socket = ['--unix-socket', '/run/patchbay/patchbay.sock'];
  return run('curl', '-s', '--fail-with-body', '-X', method, ...socket, ...data, `http://x${path}`);
}

const key = () => JSON.parse(api('GET', '/sandboxes/web')).Netns;
const resolves = (netns) =>
  /^10\.9\.0\./m.test(run('nsenter', `--net=${netns}`, 'dig', '+short', '+tries=1', '+time=5', '@127.0.0.11', 'web'));

/** Another program that wants the port, again and again, until its input ends; then it says how often it tried and won. */
const THIEF = `let tries = 0, wins = 0, isOver = false;
process.stdin.on('end', () => (isOver = true)).resume();
(function again() {
  if (isOver) return console.log(JSON.stringify({ tries, wins }));
  tries++;
  const server = require('net').createServer();
  server.once('error', () => setTimeout(again, 50));
  server.listen({ port: Number(process.argv[1]), host: '0.0.0.0', exclusive: true }, () => { wins++; server.close(() => setTimeout(again, 50)); });
})();`;

/** Starts it; call what it answers to stop it. */
function thief(port) {
  const child = spawn(process.execPath, ['-e', THIEF, String(port)], { stdio: ['pipe', 'pipe', 'inherit'] });
  let said = '';
  child.stdout.on('data', (data) => (said += data));
  return async () => {
    child.stdin.end();
    await once(child, 'close');
    return JSON.parse(said);
  };
}

check('both units are up, and the daemon found the keeper that has a unit', async () => {
  for (const unit of ['patchbay-keeper.service', 'patchbayd.service'])
    await until(unit, () => run('systemctl', 'is-active', unit) === 'active');
  api('POST', '/networks/create', { Name: 'front', IPAM: { Config: [{ Subnet: '10.9.0.0/24' }] } });
  api('POST', '/sandboxes/create', { Name: 'web', Networks: { front: {} }, PortBindings: { '80/tcp': [{ HostPort: '8080' }] } });
  if (!resolves(key())) throw new Error('the name does not resolve');
  if (restarts('patchbay-keeper.service') !== 0) throw new Error('the keeper was started twice');
});

check('a keeper that is killed comes back, and nobody gets a held port meanwhile', async () => {
  const netns = key();
  const stop = thief(8080);
  for (let round = 0; round < 2; round++) {
    const pid = mainPid('patchbay-keeper.service');
    process.kill(pid, 'SIGKILL');
    await until('another keeper', () => mainPid('patchbay-keeper.service') !== pid && mainPid('patchbay-keeper.service') > 0);
    await until('the name', () => resolves(netns));
  }
  const { wins, tries } = await stop();
  if (tries < 20 || wins > 0) throw new Error(`the thief tried ${tries} times and won ${wins} times`);
});

check('keeper and daemon killed at once: both come back, the port was never free', async () => {
  const netns = key();
  const stop = thief(8080);
  const before = { keeper: mainPid('patchbay-keeper.service'), daemon: mainPid('patchbayd.service') };
  process.kill(before.keeper, 'SIGKILL');
  process.kill(before.daemon, 'SIGKILL');
  await until('the daemon', () => api('GET', '/networks').includes('front'));
  await until('the name', () => resolves(netns));
  const { wins } = await stop();
  if (wins > 0) throw new Error(`the thief won ${wins} times`);
  if (mainPid('patchbayd.service') === before.daemon) throw new Error('the daemon was not killed');
});

check('while the daemon is stopped, names resolve; it starts again', async () => {
  const netns = key();
  run('systemctl', 'stop', 'patchbayd.service');
  if (!resolves(netns)) throw new Error('the name does not resolve');
  run('systemctl', 'start', 'patchbayd.service');
  await until('the daemon', () => api('GET', '/sandboxes').includes('web'));
});

check('no unit logged a refused system call or a lack of rights', () => {
  const log = run('journalctl', '--no-pager', '--output=cat', '--unit=patchbayd.service', '--unit=patchbay-keeper.service');
  const bad = log.split('\n').filter((line) => /EPERM|EACCES|not permitted|"level":(50|60)/.test(line));
  if (bad.length > 0) throw new Error(bad.join('\n'));
});

check('removed, nothing is left', async () => {
  api('DELETE', '/sandboxes/web');
  api('DELETE', '/networks/front');
  await until('links gone', () => !/\bveth|\bdead|br-/.test(run('ip', '-o', 'link')));
  const stop = thief(8080);
  await sleep(5000);
  const { wins, tries } = await stop();
  if (wins === 0) throw new Error(`the port is still held: ${tries} tries`);
});

for (const { name, work } of planned) {
  const begun = performance.now();
  try {
    await work();
    checks.push({ name });
  } catch (error) {
    const log = spawnSync('journalctl', ['--no-pager', '--output=short-monotonic', '--lines=40', '--unit=patchbay*'], {
      encoding: 'utf8',
    });
    checks.push({ name, error: `${error.stack ?? error}\n${log.stdout}` });
  }
  console.log(name, ((performance.now() - begun) / 1000).toFixed(1), 's', checks.at(-1).error ?? 'ok');
  writeFileSync(process.argv[2], JSON.stringify(checks));
}
console.log(readFileSync('/proc/uptime', 'utf8'));
