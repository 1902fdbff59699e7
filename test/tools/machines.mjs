/**
 * The kernel of virtual machines for tests that need what this machine's kernel may lack: Debian's own, unpacked into the test
 * cache and never installed, and the first file system that such a machine boots from. Loads nothing but Node's own modules.
 */
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';

const MACHINE = '/var/cache/patchbay-test/machine';
/** What the first file system needs before it can reach the machine's own. */
const FIRST_MODULES = ['virtio_pci', 'virtiofs', 'overlay'];
/** Bumped when the first file system changes. */
const FORM = '2';

/**
 * The machine's own root, never written: all that the guest writes lies in its memory. One job, then it is switched off; or what
 * /job/boot becomes as the first process.
 */
const INIT = `#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /lower /upper /root
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
while read -r module; do insmod "$module"; done </modules/order
mount -t virtiofs -o ro machine /lower
mount -t tmpfs -o size=80% upper /upper
mkdir /upper/data /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work overlay /root
mount -t proc proc /root/proc
mount -t sysfs sysfs /root/sys
mount -t cgroup2 cgroup2 /root/sys/fs/cgroup
mount -t devtmpfs dev /root/dev
mkdir -p /root/dev/pts /root/dev/shm /root/lib/modules /root/job
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /root/dev/pts
mount -t tmpfs shm /root/dev/shm
mount -t tmpfs run /root/run
mount --bind "/root$(cat /modules/folder)" /root/lib/modules
mount -t virtiofs job /root/job
hostname guest
/bin/busybox ip link set lo up
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
[ -e /root/job/boot ] && exec /bin/busybox switch_root /root /bin/sh /job/boot
chroot /root /bin/sh /job/script >/root/job/output 2>&1
echo $? >/root/job/status
/bin/busybox sync
/bin/busybox poweroff -f
`;

/** The kernel starts it to load a module on demand, outside the job's root. */
const MODPROBE = `#!/bin/busybox sh
exec /bin/busybox chroot /root /sbin/modprobe "$@"
`;

/** Unpacks what is not there yet, some 110 MB. \`run(command, args)\` ends the process when the command fails. */
export function unpackMachine(run) {
  const form = join(MACHINE, 'form');
  if (existsSync(form) && readFileSync(form, 'utf8') === FORM) return;
  process.stderr.write('unpacking the kernel of virtual machines\n');
  const work = `${MACHINE}.part`;
  rmSync(work, { recursive: true, force: true });
  mkdirSync(work, { recursive: true });
  run('apt-get', ['update', '-qq']);
  const { stdout } = spawnSync('apt-cache', ['depends', '--important', 'linux-image-cloud-amd64'], { encoding: 'utf8' });
  const name = /Depends: (linux-image-\S+)/.exec(stdout)?.[1];
  if (name === undefined) throw new Error('the package linux-image-cloud-amd64 names no kernel');
  run('sh', ['-c', 'cd "$1" && apt-get -qq download "$2" && dpkg -x "$2"_*.deb . && rm "$2"_*.deb', 'sh', work, name]);
  const version = name.slice('linux-image-'.length);
  run('depmod', ['-b', work, version]);
  copyFileSync(join(work, 'boot', `vmlinuz-${version}`), join(work, 'kernel'));
  packFirst(run, work, version);
  for (const folder of ['boot', 'usr', 'first']) rmSync(join(work, folder), { recursive: true, force: true });
  writeFileSync(join(work, 'form'), FORM);
  rmSync(MACHINE, { recursive: true, force: true });
  renameSync(work, MACHINE);
}

/** Busybox, the modules in the order of their needs, and the script above. */
function packFirst(run, work, version) {
  const first = join(work, 'first');
  mkdirSync(join(first, 'bin'), { recursive: true });
  mkdirSync(join(first, 'modules'), { recursive: true });
  const busybox = ['/bin/busybox', '/usr/bin/busybox'].find((path) => existsSync(path));
  copyFileSync(busybox, join(first, 'bin/busybox'));
  const needs = new Map(
    readFileSync(join(work, 'lib/modules', version, 'modules.dep'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => line.split(':'))
      .map(([path, others]) => [path, others.trim().split(' ').filter(Boolean)]),
  );
  const order = [];
  for (const module of FIRST_MODULES) {
    const path = [...needs.keys()].find((one) => basename(one).replaceAll('-', '_') === `${module}.ko`);
    if (path === undefined) continue;
    // The list names the nearest need first.
    for (const one of [...needs.get(path).toReversed(), path]) if (!order.includes(one)) order.push(one);
  }
  for (const path of order) copyFileSync(join(work, 'lib/modules', version, path), join(first, 'modules', basename(path)));
  writeFileSync(join(first, 'modules/order'), order.map((path) => `/modules/${basename(path)}\n`).join(''));
  writeFileSync(join(first, 'modules/folder'), join(MACHINE, 'lib/modules'));
  writeFileSync(join(first, 'init'), INIT, { mode: 0o755 });
  mkdirSync(join(first, 'sbin'));
  writeFileSync(join(first, 'sbin/modprobe'), MODPROBE, { mode: 0o755 });
  run('sh', ['-c', 'cd "$1" && find . | busybox cpio -o -H newc 2>/dev/null | gzip >"$2"', 'sh', first, join(work, 'initramfs')]);
  if (readdirSync(work).includes('initramfs') === false) throw new Error('no first file system was packed');
}
