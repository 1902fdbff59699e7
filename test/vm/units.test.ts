/** A machine that systemd boots with our units, as they are handed out: the service manager's part of what must survive. */

import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { inMachine } from './machine.ts';

const ROOT = new URL('../..', import.meta.url).pathname;
/** Emulated processors are some twenty times slower. */
const LIMIT_MS = 15 * 60_000;

/** A system of our units and what they need to start; nothing else of the machine's own is started. */
const boot = `
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
rm -rf /etc/systemd/system
: >/etc/fstab
sh '${ROOT}vagrant/scripts/programs.sh' '${ROOT}'
[ -e /usr/bin/node ] || ln -sf '${process.execPath}' /usr/local/bin/node
cd /lib/systemd/system
for unit in *.timer *.socket *.mount *.automount *.path *.service; do
  case $unit in
    systemd-journald*|dbus*|systemd-poweroff.service|*@*) ;;
    *) ln -sf /dev/null /etc/systemd/system/$unit ;;
  esac
done
cat >/etc/systemd/system/check.service <<'END'
[Unit]
Description=Checks
After=patchbayd.service
Wants=patchbayd.service patchbay-keeper.service
[Service]
Type=oneshot
Environment=HOME=/root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
StandardOutput=file:/job/output
StandardError=inherit
TimeoutStartSec=infinity
ExecStart=/bin/sh -c '/bin/sh /job/script; echo $? >/job/status; systemctl --no-block poweroff -ff'
END
printf '[Unit]\\nRequires=check.service\\n' >/etc/systemd/system/check.target
exec /lib/systemd/systemd --unit=check.target --log-target=console
`;

interface Check {
  readonly name: string;
  readonly error?: string;
}

const script = `cd '${ROOT}' && exec '${process.execPath}' test/vm/units.mjs /job/checks.json`;
const { output, files } = await inMachine({ script, boot, wanted: ['checks.json'], limitMs: LIMIT_MS });
const checks = JSON.parse(files['checks.json'] ?? '[]') as Check[];

/** Every check that the program names. */
const wanted = [...readFileSync(new URL('units.mjs', import.meta.url), 'utf8').matchAll(/^check\('([^']+)'/gm)].map(
  ([, name]) => name,
);

test('systemd boots the machine, and every check is made', () => {
  expect(wanted.length).toBeGreaterThan(0);
  expect(
    checks.map((check) => check.name),
    output,
  ).toEqual(wanted);
});

test.each(checks)('$name', ({ error }) => {
  expect(error).toBeUndefined();
});
