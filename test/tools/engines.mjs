/**
 * Real engines to be tested against, unpacked into the test cache and never installed: this Debian's own, and the newest one
 * that its mirror has. Both take the OCI runtime of the machine. Loads nothing but Node's own modules.
 */
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const CACHE = '/var/cache/patchbay-test';

/** Unpacks what is not there yet, some 250 MB. `run(command, args)` ends the process when the command fails. */
export function unpackEngines(run) {
  for (const { generation, packages } of [
    { generation: 'stable', packages: ['docker.io', 'containerd'] },
    { generation: 'newest', packages: ['docker.io', 'docker-cli', 'containerd'] },
  ]) {
    const folder = join(CACHE, `engine-${generation}`);
    if (existsSync(join(folder, 'usr/sbin/dockerd'))) continue;
    process.stderr.write(`unpacking the ${generation} engine\n`);
    // Under its own name only when it is whole.
    const work = `${folder}.part`;
    rmSync(work, { recursive: true, force: true });
    mkdirSync(join(work, 'debs/partial'), { recursive: true });
    const options = generation === 'stable' ? [] : newestOptions(work, run);
    run('apt-get', [...options, '-qq', 'update']);
    run('sh', ['-c', 'cd "$1"; shift; exec apt-get "$@"', 'sh', join(work, 'debs'), ...options, '-qq', 'download', ...packages]);
    for (const name of readdirSync(join(work, 'debs')).filter((one) => one.endsWith('.deb')))
      run('dpkg', ['-x', join(work, 'debs', name), work]);
    for (const name of ['debs', 'apt']) rmSync(join(work, name), { recursive: true, force: true });
    rmSync(folder, { recursive: true, force: true });
    renameSync(work, folder);
  }
}

/** A private apt that knows the testing suite only. */
function newestOptions(work, run) {
  const apt = join(work, 'apt');
  for (const folder of ['lists/partial', 'archives/partial']) mkdirSync(join(apt, folder), { recursive: true });
  writeFileSync(join(apt, 'status'), '');
  const script =
    "mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' \"Created-By: Packages\" | awk '$2 !~ /-/ {print $1; exit}'); " +
    'echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror testing main" >"$1"';
  run('sh', ['-c', script, 'sh', join(apt, 'sources.list')]);
  return [
    `Dir::Etc::SourceList=${apt}/sources.list`,
    'Dir::Etc::SourceParts=/dev/null',
    'Dir::Etc::PreferencesParts=/dev/null',
    `Dir::State=${apt}`,
    `Dir::State::Status=${apt}/status`,
    `Dir::Cache=${apt}`,
    'APT::Sandbox::User=root',
  ].flatMap((option) => ['-o', option]);
}
