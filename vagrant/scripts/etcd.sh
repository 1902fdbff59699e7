#!/bin/sh
# Makes this machine a member of etcd, by the unit of Debian's package: `etcd.sh CHECKOUT NUMBER HOST[,HOST...]`. Repeatable.
set -eu

sh "$(dirname "$0")/packages.sh" etcd
mkdir -p /etc/systemd/system/etcd.service.d
cat >/etc/systemd/system/etcd.service.d/patchbay.conf <<END
[Service]
# It refuses a flag whose variable is set too.
UnsetEnvironment=ETCD_NAME ETCD_DATA_DIR
ExecStart=
ExecStart=/bin/sh $1/vagrant/scripts/etcd-member.sh $2 $3 --data-dir /var/lib/etcd/patchbay
Restart=always
END
systemctl daemon-reload
systemctl enable -q etcd
# A member is ready when most are there, which may not be made yet.
systemctl restart --no-block etcd
