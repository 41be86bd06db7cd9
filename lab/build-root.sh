#!/bin/sh
# Make build/root: a Debian root with the kernel, its headers, Xen, QEMU and a
# toolchain. Everything that runs in the lab is built there or copied from it.
#
#   LAB_SUITE   suite to use (trixie)
#   LAB_MIRROR  mirror to use (mmdebstrap's default)
set -eu
cd "$(dirname "$0")/.."

suite=${LAB_SUITE:-trixie}
root=build/root
packages="
	linux-image-amd64 linux-headers-amd64 kmod xz-utils pahole sparse
	gcc make libc6-dev pkg-config
	xen-system-amd64 libxen-dev
	qemu-system-x86 busybox-static
	iproute2 ethtool nftables tcpdump openvswitch-switch
	e2fsprogs xfsprogs btrfs-progs dmsetup strace
	libssl-dev libncurses-dev"

# shellcheck disable=SC2086
set -- $packages
key="$suite ${LAB_MIRROR:-} $*"
[ "$(cat $root.key 2>/dev/null || :)" != "$key" ] || exit 0

sudo=
[ "$(id -u)" = 0 ] || sudo=sudo

mkdir -p build
case "$(cat $root.key 2>/dev/null || :)" in
"$suite ${LAB_MIRROR:-} "*)	# only the list has changed: add to what is there
	$sudo chroot $root apt-get -qq update
	$sudo chroot $root env DEBIAN_FRONTEND=noninteractive \
		apt-get -qq -y --no-install-recommends install "$@" >/dev/null
	;;
*)
	$sudo rm -rf $root $root.new
	$sudo mmdebstrap --quiet --variant=apt --include="$(echo "$@" | tr ' ' ,)" \
		"$suite" $root.new ${LAB_MIRROR:+"$LAB_MIRROR"}
	$sudo mv $root.new $root
	;;
esac
echo "$key" >$root.key
