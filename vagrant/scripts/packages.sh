#!/bin/sh
# Debian packages of a machine: `packages.sh host|etcd` installs those that it misses, with --list prints all of them.
set -eu

case $1 in
  host) packages='iptables iproute2 util-linux procps curl bind9-dnsutils iputils-ping tcpdump' ;;
  etcd) packages='etcd-server' ;;
  *) echo "packages.sh: there is no $1" >&2 && exit 2 ;;
esac
if [ "${2-}" = --list ]; then
  echo "$packages"
  exit
fi

missing=
for package in $packages; do
  case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) in
    *' installed') ;;
    *) missing="$missing $package" ;;
  esac
done
[ -n "$missing" ] || exit 0
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
# shellcheck disable=SC2086 # names without spaces
apt-get -qq install --no-install-recommends -y $missing >/dev/null
