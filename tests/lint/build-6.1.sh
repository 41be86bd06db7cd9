#!/bin/sh
# build-6.1.sh [MAKE_ARG...]: do the modules compile on Debian 12's kernel headers,
# without a warning?  (Debian 13's are the ones that the lab builds with.)
#
#   LAB_MIRROR  as in root-6.1.sh
#   TREE        build the modules of this tree instead
set -eu
cd "$(dirname "$0")/../.."

tests/lint/root-6.1.sh
root=build/root-6.1
log=build/build-6.1.log

sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
tests/lint/copy.sh $root/src/vpipe

kernel=$(cd $root && find usr/src -maxdepth 1 -name 'linux-headers-*-amd64' | sort -V | tail -n 1)
echo "build-6.1: ${kernel##*/}"
failed=
nice $sudo chroot $root make -s -C "/$kernel" M=/src/vpipe -j2 -k W=1 \
		CONFIG_DEBUG_INFO_BTF_MODULES= "$@" modules \
	>$log 2>&1 || failed=1
cat $log
if [ -n "$failed" ] || grep -qE '(warning|error|ERROR|WARNING):' $log; then
	echo "build-6.1: FAILED" >&2
	exit 1
fi
$sudo touch $root/src/vpipe/clean
echo "build-6.1: ok"
