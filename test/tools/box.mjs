/**
 * The box of `npm run lab:vagrant`: a Debian that is made here, since none can be had where only Debian's mirror is reached, with
 * its kernel beside it. Cached until what it is made of changes. Loads nothing but Node's own modules.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const root = new URL('../..', import.meta.url).pathname;
const scripts = join(root, 'vagrant/scripts');
const FOLDER = '/var/cache/patchbay-test/vagrant-box';
const DISK_GB = 4;
/** What Vagrant needs of a guest, beside the packages of hosts and members of etcd. */
const GUEST =
  'openssh-server sudo rsync systemd-sysv udev dbus kmod ifupdown isc-dhcp-client ca-certificates linux-image-cloud-amd64';
const GEMS = '/usr/share/rubygems-integration/all/gems';

/** In the new root, as its own root: a user for Vagrant, a network, and no service that a machine's role has not asked for. */
const SET_UP = `set -e
useradd --create-home --shell /bin/bash vagrant
echo 'vagrant ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/vagrant
install -d -m 700 -o vagrant -g vagrant /home/vagrant/.ssh
install -m 600 -o vagrant -g vagrant /vagrant.pub /home/vagrant/.ssh/authorized_keys
rm /vagrant.pub
printf 'auto lo\\niface lo inet loopback\\nauto eth0\\niface eth0 inet dhcp\\n' >/etc/network/interfaces
echo debian >/etc/hostname
printf '127.0.0.1 localhost\\n127.0.1.1 debian\\n' >/etc/hosts
echo '/dev/vda / ext4 defaults 0 1' >/etc/fstab
printf 'UseDNS no\\nGSSAPIAuthentication no\\n' >/etc/ssh/sshd_config.d/patchbay.conf
systemctl disable -q etcd apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer man-db.timer 2>/dev/null || true
rm -rf /var/cache/apt/* /var/lib/apt/lists/*
`;

/** Builds the box, unless it is there; answers the folder with `box`, `kernel` and `initrd`. Some 600 MB, and a minute or two. */
export function buildBox(run) {
  const packages = ['host', 'etcd'].map((role) => output('sh', [join(scripts, 'packages.sh'), role, '--list']));
  const include = [...GUEST.split(' '), ...packages.flatMap((line) => line.trim().split(' '))];
  const form = createHash('sha256')
    .update([include.join(), SET_UP, process.versions.node, readFileSync(new URL(import.meta.url), 'utf8')].join('\n'))
    .digest('hex');
  const formFile = join(FOLDER, 'form');
  if (existsSync(formFile) && readFileSync(formFile, 'utf8') === form) return FOLDER;
  process.stderr.write('making a box from Debian packages, which takes a minute or two\n');
  // Under its own name only when it is whole.
  const work = `${FOLDER}.part`;
  rmSync(work, { recursive: true, force: true });
  mkdirSync(work, { recursive: true });
  const mirror = output('apt-get', ['indextargets', '--format', '$(REPO_URI) $(CODENAME)', 'Created-By: Packages']);
  const [uri, suite] = (mirror.split('\n').find((line) => /^\S+ [a-z]+$/.test(line)) ?? '').split(' ');
  if (suite === undefined) throw new Error('apt names no mirror of a Debian release');
  const guest = join(work, 'root');
  run('debootstrap', ['--variant=minbase', `--include=${include.join()}`, suite, guest, uri]);
  // The key that all boxes begin with, and everybody knows: these are reached from the run's own namespace only.
  const vagrant = readdirSync(GEMS).find((name) => /^vagrant-\d/.test(name)) ?? '';
  copyFileSync(join(GEMS, vagrant, 'keys/vagrant.pub'), join(guest, 'vagrant.pub'));
  run('chroot', [guest, '/bin/sh', '-c', SET_UP]);
  copyFileSync(process.execPath, join(guest, 'usr/local/bin/node'));
  for (const [name, beginning] of [
    ['kernel', 'vmlinuz-'],
    ['initrd', 'initrd.img-'],
  ])
    copyFileSync(
      join(
        guest,
        'boot',
        readdirSync(join(guest, 'boot')).find((one) => one.startsWith(beginning)),
      ),
      join(work, name),
    );
  pack(run, work, guest);
  rmSync(guest, { recursive: true, force: true });
  writeFileSync(join(work, 'form'), form);
  rmSync(FOLDER, { recursive: true, force: true });
  renameSync(work, FOLDER);
  return FOLDER;
}

/** The form of a box for libvirt: a disk, what it is, and settings of which there are none. */
function pack(run, work, guest) {
  run('mke2fs', ['-q', '-t', 'ext4', '-d', guest, join(work, 'disk'), `${DISK_GB}G`]);
  run('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', join(work, 'disk'), join(work, 'box.img')]);
  writeFileSync(join(work, 'metadata.json'), JSON.stringify({ provider: 'libvirt', format: 'qcow2', virtual_size: DISK_GB }));
  writeFileSync(join(work, 'Vagrantfile'), 'Vagrant.configure("2") { |config| }\n');
  const files = ['metadata.json', 'Vagrantfile', 'box.img'];
  run('tar', ['-C', work, '-cf', join(work, 'box'), ...files]);
  for (const name of [...files, 'disk']) rmSync(join(work, name));
}

function output(command, args) {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} failed: ${stderr}`);
  return stdout;
}
