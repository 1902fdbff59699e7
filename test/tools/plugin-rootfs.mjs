/**
 * Builds what `docker plugin create NAME FOLDER` takes: config.json, and a rootfs with this machine's node, iptables and what they
 * need, and dist/. Nothing is downloaded. Usage: plugin-rootfs.mjs [FOLDER], default dist-plugin; build dist/ first.
 */
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join, resolve } from 'node:path';
import { execa } from 'execa';

const root = new URL('../..', import.meta.url).pathname;
const folder = resolve(process.argv[2] ?? join(root, 'dist-plugin'));
const rootfs = join(folder, 'rootfs');

/** Programs that the daemon, its keeper and the start below run. */
const PROGRAMS = ['sh', 'mount', 'stdbuf'];
const RULE_PROGRAMS = ['iptables', 'ip6tables'].flatMap((name) => [`${name}-restore`, `${name}-save`]);
/** Beside the bundles, since they have native parts. */
const PACKAGES = ['koffi', '@koromix/koffi-linux-x64', 'netlink', 'classic-level'];

/**
 * Engines give plugins a /proc/sys that is only read, and a /run that stays over restarts of the machine. The host's own /run is
 * below /host: there are the namespaces of containers, under the path that the engine names, and the engine's API.
 */
const START = `#!/bin/sh
set -e
mount -o remount,rw,bind /proc/sys
mount -t tmpfs -o mode=0755 tmpfs /run/patchbay
exec /usr/bin/node /opt/patchbay/dist/patchbayd.js --bridge none --plugin-dir /run/docker/plugins \\
  --state-dir /var/lib/patchbay --run-dir /run/patchbay --host unix:///run/patchbay/patchbay.sock "$@"
`;

const capabilities = [
  ...(/const KEPT[^=]*= \[([^\]]+)\]/.exec(readFileSync(join(root, 'src/start.ts'), 'utf8'))?.[1] ?? '').matchAll(/CAP_\w+/g),
];

const config = {
  description: 'Patchbay: bridge networks, published ports and addresses',
  documentation: 'docs/plugin.md',
  entrypoint: ['/opt/patchbay/start'],
  workdir: '/',
  interface: { types: ['docker.networkdriver/1.0', 'docker.ipamdriver/1.0'], socket: 'patchbay-bridge.sock' },
  network: { type: 'host' },
  linux: { capabilities: capabilities.map(([name]) => name) },
  mounts: [
    {
      name: 'run',
      description: "the host's /run: namespaces of containers, the engine's API",
      source: '/run',
      destination: '/host/run',
      type: 'bind',
      options: ['rbind', 'rslave'],
      settable: ['source'],
    },
  ],
  propagatedMount: '/var/lib/patchbay',
  args: {
    name: 'flags',
    description: 'further flags of patchbayd',
    settable: ['value'],
    value: ['--engine', 'unix:///host/run/docker.sock'],
  },
};

if (!existsSync(join(root, 'dist/patchbayd.js'))) throw new Error('there is no dist/: npm run build makes it');
rmSync(folder, { recursive: true, force: true });
for (const name of ['usr/bin', 'usr/sbin', 'usr/lib', 'usr/lib64', 'opt/patchbay', 'etc', 'tmp', 'proc', 'sys', 'dev'])
  mkdirSync(join(rootfs, name), { recursive: true });
for (const name of ['run/docker/plugins', 'run/patchbay', 'var/lib/patchbay', 'host/run', 'root'])
  mkdirSync(join(rootfs, name), { recursive: true });
for (const name of ['bin', 'sbin', 'lib', 'lib64']) symlinkSync(`usr/${name}`, join(rootfs, name));
symlinkSync('/host/run', join(rootfs, 'var/run'));
writeFileSync(join(rootfs, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
writeFileSync(join(rootfs, 'etc/group'), 'root:x:0:\n');

/** Puts a file where it is on this machine, with everything it is linked to. */
const done = new Set();
async function take(path) {
  const real = realpathSync(path);
  if (done.has(real)) return real;
  done.add(real);
  mkdirSync(dirname(join(rootfs, real)), { recursive: true });
  cpSync(real, join(rootfs, real));
  const { stdout } = await execa('ldd', [real], { reject: false });
  for (const [, library] of stdout.matchAll(/(\/\S+) \(0x/g)) {
    const target = await take(library);
    // Under the name that it is looked for, which is a link here too.
    const name = join(rootfs, dirname(target), basename(library));
    if (!existsSync(name)) symlinkSync(basename(target), name);
  }
  return real;
}

const where = async (name) => (await execa('sh', ['-c', `PATH=$PATH:/usr/sbin:/sbin; command -v ${name}`])).stdout;
/** A program under its own name, whatever it is here. */
async function program(name, target) {
  const real = await take(await where(name));
  const path = join(rootfs, target, name);
  if (!existsSync(path)) symlinkSync(real, path);
}
for (const name of PROGRAMS) await program(name, 'usr/bin');
for (const name of RULE_PROGRAMS) await program(name, 'usr/sbin');
const node = await take(process.execPath);
if (!existsSync(join(rootfs, 'usr/bin/node'))) symlinkSync(node, join(rootfs, 'usr/bin/node'));
// The loader lies where programs name it.
for (const loader of ['/lib64/ld-linux-x86-64.so.2', '/lib/ld-linux-aarch64.so.1'].filter(existsSync)) {
  const real = await take(loader);
  if (!existsSync(join(rootfs, loader))) symlinkSync(real, join(rootfs, loader));
}
const stdbuf = '/usr/libexec/coreutils/libstdbuf.so';
if (existsSync(stdbuf)) await take(stdbuf);
const multiarch = dirname(realpathSync([...done].find((path) => path.includes('/libc.so') || /libc-[\d.]+\.so/.test(path))));
cpSync(join(multiarch, 'xtables'), join(rootfs, multiarch, 'xtables'), { recursive: true });

cpSync(join(root, 'dist'), join(rootfs, 'opt/patchbay/dist'), {
  recursive: true,
  filter: (path) => !/\/dist\/(lib|types|man)$/.test(path),
});
/** A package with what it needs; of native parts only this machine's. */
const taken = new Set();
function takePackage(from) {
  if (taken.has(from) || !existsSync(from)) return;
  taken.add(from);
  cpSync(from, join(rootfs, 'opt/patchbay', from.slice(root.length)), {
    recursive: true,
    filter: (path) => !/\/(prebuilds\/(?!linux-x64|linux-arm64)[^/]+|deps|vendor|doc)$/.test(path),
  });
  const { dependencies = {} } = JSON.parse(readFileSync(join(from, 'package.json'), 'utf8'));
  const here = createRequire(join(from, 'package.json'));
  for (const name of Object.keys(dependencies).filter((one) => !/^@types\/|^node-addon-api$/.test(one))) {
    const path = (here.resolve.paths(name) ?? [])
      .map((one) => join(one, name))
      .find((one) => existsSync(join(one, 'package.json')));
    if (path !== undefined) takePackage(path);
  }
}
for (const name of PACKAGES) takePackage(join(root, 'node_modules', name));

writeFileSync(join(rootfs, 'opt/patchbay/start'), START);
chmodSync(join(rootfs, 'opt/patchbay/start'), 0o755);
writeFileSync(join(folder, 'config.json'), `${JSON.stringify(config, undefined, 2)}\n`);
console.log(folder);
