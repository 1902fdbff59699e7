#!/bin/sh
# Puts the programs of a built checkout on the PATH, and its units for keeper and daemon under systemd: `programs.sh CHECKOUT`.
# Starts nothing.
set -eu

mkdir -p /usr/local/bin /etc/systemd/system
ln -sf "$1/dist/patchbayd.js" /usr/local/bin/patchbayd
ln -sf "$1/dist/keeper.js" /usr/local/bin/patchbay-keeper
ln -sf "$1/dist/network.js" /usr/local/bin/network
cp "$1/docs/systemd/patchbay-keeper.service" "$1/docs/systemd/patchbayd.service" /etc/systemd/system/
