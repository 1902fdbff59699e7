#!/bin/sh
# Makes this machine a host: `host.sh CHECKOUT NAME ADDRESS ETCD-HOST[,ETCD-HOST...]`. Repeatable.
set -eu

checkout=$1
name=$2
address=$3
cluster=etcd://$(echo "$4" | sed 's/,/:2379,/g'):2379
scripts=$(dirname "$0")

sh "$scripts/packages.sh" host
sh "$scripts/node.sh"
cd "$checkout"
# What was built elsewhere runs here too, but not its packages with native parts.
if [ ! -e dist/package.json ]; then
  [ -d node_modules ] || npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
  node test/tools/build.mjs --no-types
elif [ ! -d node_modules ]; then
  npm ci --ignore-scripts --omit=dev --no-audit --no-fund --loglevel=error
fi
sh "$scripts/programs.sh" "$checkout"
mkdir -p /etc/patchbay
cat >/etc/patchbay/config.json <<END
{ "cluster": "$cluster", "node-name": "$name", "advertise": "$address" }
END
systemctl daemon-reload
systemctl enable -q patchbay-keeper patchbayd
systemctl restart patchbay-keeper patchbayd
