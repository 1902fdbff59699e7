#!/bin/sh
# A member of an etcd cluster: `etcd-member.sh NUMBER HOST[,HOST...] FLAGS...` becomes it. HOST 1 is where member 1 is reached, and so
# on, IPv6 addresses in brackets. FLAGS are etcd's own, and say at least where its data are. ETCD names the program.
set -eu

number=$1
hosts=$2
shift 2

cluster=
own=
at=0
IFS=,
for host in $hosts; do
  at=$((at + 1))
  cluster="$cluster${cluster:+,}m$at=http://$host:2380"
  if [ "$at" -eq "$number" ]; then own=$host; fi
done
unset IFS
[ -n "$own" ] || { echo "etcd-member.sh: $hosts has no member $number" >&2 && exit 2; }

# LISTEN_ALSO: a URL of one more listener for clients.
clients=http://$own:2379${LISTEN_ALSO:+,$LISTEN_ALSO}

exec "${PROGRAM:-etcd}" --name "m$number" --initial-cluster "$cluster" \
  --listen-client-urls "$clients" --advertise-client-urls "http://$own:2379" \
  --listen-peer-urls "http://$own:2380" --initial-advertise-peer-urls "http://$own:2380" --log-level error "$@"
