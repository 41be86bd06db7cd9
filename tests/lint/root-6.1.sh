#!/bin/sh
# Make build/root-6.1: a small Debian 12 root with its kernel headers and a compiler,
# for build-6.1.sh.
#
#   LAB_MIRROR  mirror to use (mmdebstrap's default)
set -eu
cd "$(dirname "$0")/../.."

root=build/root-6.1
packages="linux-headers-amd64 gcc make"

# shellcheck disable=SC2086
set -- $packages
key="bookworm ${LAB_MIRROR:-} $*"
[ "$(cat $root.key 2>/dev/null || :)" != "$key" ] || exit 0

sudo=
[ "$(id -u)" = 0 ] || sudo=sudo

mkdir -p build
$sudo rm -rf $root $root.new
nice $sudo mmdebstrap --quiet --variant=apt --include="$(echo "$@" | tr ' ' ,)" \
	bookworm $root.new ${LAB_MIRROR:+"$LAB_MIRROR"}
$sudo mv $root.new $root
echo "$key" >$root.key
