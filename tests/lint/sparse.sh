#!/bin/sh
# sparse.sh: sparse over the modules, in build/root (Debian 13's headers).  What it
# says of the kernel's own headers is left out.
#
#   TREE        check the modules of this tree instead
set -eu
cd "$(dirname "$0")/../.."

root=build/root
log=build/sparse.log
[ -d $root ] || lab/build-root.sh

sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
tests/lint/copy.sh $root/src/sparse

kernel=$(cd $root && find usr/src -maxdepth 1 -name 'linux-headers-*-amd64' | sort -V | tail -n 1)
echo "sparse: ${kernel##*/}"
if ! nice $sudo chroot $root make -s -C "/$kernel" M=/src/sparse -j2 -k C=1 W=1 \
		CONFIG_DEBUG_INFO_BTF_MODULES= modules >$log 2>&1; then
	cat $log
	echo "sparse: the modules do not compile" >&2
	exit 1
fi

# One finding is several lines: the place, then what it consists of, all with places.
findings=$(grep -E '^(/src/sparse/|(frontend|backend)/)[^:]*:[0-9]+:([0-9]+:)? ' $log |
	sed 's,^/src/sparse/,,' | sort -u)
if [ -n "$findings" ]; then
	echo "$findings"
	echo "sparse: FAILED" >&2
	exit 1
fi
$sudo touch $root/src/sparse/clean
echo "sparse: ok"
