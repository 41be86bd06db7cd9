#!/bin/sh
# setup.sh [PACKAGE...]: install what the build and the lab need on the host (Debian 12 or
# later), and the packages given.
set -eu

packages="mmdebstrap xz-utils zstd cpio gcc make libc6-dev binutils util-linux \
	kmod python3 python3-pytest shellcheck rsync libcmocka-dev clang libclang-rt-dev mandoc"

missing=
for p in $packages "$@"; do
	dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q '^install ok installed' ||
		missing="$missing $p"
done
[ -n "$missing" ] || exit 0

sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
echo "lab: installing$missing"
$sudo apt-get -qq update
# shellcheck disable=SC2086
$sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install $missing
