/**
 * The peers that we are measured against, from Debian's testing suite: unpacked into the test cache, never installed. Only
 * their OCI runtime is this machine's own, since the newer one wants a newer C library.
 */

import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';

const FOLDER = '/var/cache/patchbay-test/peers';
const PACKAGES = [
  'docker.io',
  'docker-cli',
  'containerd',
  'tini-static',
  'netavark',
  'aardvark-dns',
  'libc6',
  'libgcc-s1',
  'containernetworking-plugins',
];
const APT_LIMIT_MS = 300_000;

export interface Peers {
  readonly folder: string;
  readonly bin: string;
  readonly sbin: string;
}

/** Unpacks what is not there yet; some 200 MB. */
export async function fetchPeers(): Promise<Peers> {
  const peers = { folder: FOLDER, bin: join(FOLDER, 'usr/bin'), sbin: join(FOLDER, 'usr/sbin') };
  const here = [
    ['/usr/sbin/runc', 'runc'],
    ['/usr/bin/busybox', 'busybox-static'],
    ['/usr/bin/iperf3', 'iperf3'],
  ] as const;
  const missing = here.filter(([file]) => !existsSync(file) && !existsSync(file.replace('/usr', ''))).map(([, name]) => name);
  if (missing.length > 0) await apt(['install', '-y', '-qq', '--no-install-recommends', ...missing], process.cwd());
  const wanted = ['usr/sbin/dockerd', 'usr/lib/podman/netavark', 'usr/lib/cni/macvlan'];
  if (wanted.every((file) => existsSync(join(FOLDER, file)))) return peers;
  await unpack();
  return peers;
}

/** A private apt, whose lists and packages are thrown away afterwards. */
async function unpack(): Promise<void> {
  const apts = join(FOLDER, 'apt');
  for (const folder of ['lists/partial', 'archives/partial']) mkdirSync(join(apts, folder), { recursive: true });
  const { stdout } = await execa('sh', [
    '-c',
    "apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' | awk '$2 !~ /-/ {print $1; exit}'",
  ]);
  writeFileSync(
    join(apts, 'sources.list'),
    `deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${stdout} testing main\n`,
  );
  writeFileSync(join(apts, 'status'), '');
  const options = [
    `Dir::Etc::SourceList=${apts}/sources.list`,
    'Dir::Etc::SourceParts=/dev/null',
    'Dir::Etc::PreferencesParts=/dev/null',
    `Dir::State=${apts}`,
    `Dir::State::Status=${apts}/status`,
    `Dir::Cache=${apts}`,
    'APT::Sandbox::User=root',
  ].flatMap((option) => ['-o', option]);
  await apt([...options, '-qq', 'update'], apts);
  await apt([...options, '-qq', 'download', ...PACKAGES], apts);
  for (const name of readdirSync(apts).filter((one) => one.endsWith('.deb')))
    await execa('dpkg', ['-x', join(apts, name), FOLDER]);
  rmSync(apts, { recursive: true, force: true });
}

async function apt(args: readonly string[], cwd: string): Promise<void> {
  await execa('apt-get', args, { cwd, timeout: APT_LIMIT_MS, env: { DEBIAN_FRONTEND: 'noninteractive' } });
}
