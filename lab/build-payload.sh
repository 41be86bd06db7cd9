#!/bin/sh
# Build the kernel modules for the lab's kernel, and all programs, in build/root
# (its headers, its compiler); put them where the lab delivers them from.
set -eu
cd "$(dirname "$0")/.."

sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
src=build/root/src/vpipe
in_root() { $sudo chroot build/root "$@"; }

# A copy, so that nothing of the root's build lands in the tree; times are kept,
# so that only what has changed is built again.
copy() {	# TO FOLDER...
	to=$1
	shift
	$sudo mkdir -p "$to"
	for f; do
		$sudo rsync -a --delete --exclude='*.o' --exclude='*.ko' --exclude='*.mod' \
			--exclude='*.mod.c' --exclude='.*.cmd' --exclude=modules.order \
			--exclude=Module.symvers "$f" "$to/"
	done
}
$sudo mkdir -p build/root/src/bin
copy $src Kbuild compat include frontend backend libvpipe tools lab tests bench
# The modules a second time: there calls fail when a test says so.
copy build/root/src/faulty Kbuild compat include frontend backend
kernel=$(cd build/root && find usr/src -maxdepth 1 -name 'linux-headers-*-amd64' | sort -V | tail -n 1)
jobs=$(nproc)
in_root make -s -C "/$kernel" M=/src/vpipe -j"$jobs" modules
for folder in forge pmem; do
	in_root make -s -C "/$kernel" M=/src/vpipe/tests/$folder -j"$jobs" modules
done
in_root make -s -C "/$kernel" M=/src/faulty -j"$jobs" modules \
	KCFLAGS='-include /src/vpipe/tests/inject/inject.h'
in_root make -s -C /src/vpipe/libvpipe -j"$jobs" O=/src/libvpipe
in_root make -s -C /src/vpipe/tools -j"$jobs" O=/src/bin LIBVPIPE=/src/libvpipe
in_root make -s -C /src/vpipe/tests/programs -j"$jobs" O=/src/bin LIBVPIPE=/src/libvpipe
in_root cc -O2 -Wall -o /src/bin/xencpu /src/vpipe/lab/xencpu.c -lxenctrl
in_root cc -O2 -Wall -static -o /src/bin/vpload /src/vpipe/bench/vpload.c
in_root cc -O2 -Wall -o /src/bin/vpcount /src/vpipe/tests/counts/vpcount.c -lxenctrl -lxenstore
in_root cc -O2 -Wall -o /src/bin/vpcrash /src/vpipe/tests/crash/vpcrash.c \
	/src/vpipe/tests/programs/pattern.c

mkdir -p build/modules build/bin
for ko in frontend/vpipe-front backend/vpipe-back tests/forge/vpipe-forge tests/pmem/vpipe-pmem; do
	cp "$src/$ko.ko" build/modules/
	strip --strip-debug "build/modules/${ko##*/}.ko"
done
for ko in frontend/vpipe-front backend/vpipe-back; do
	strip --strip-debug -o "build/modules/${ko##*/}-faulty.ko" "build/root/src/faulty/$ko.ko"
done
find build/root/src/bin -maxdepth 1 -type f -perm -100 -exec cp -p {} build/bin/ \;

deliver() {	# SIDE FILE...
	side=build/payload/$1
	shift
	rm -rf "$side"
	mkdir -p "$side"
	for f; do cp -p "build/$f" "$side/"; done
}
deliver all
deliver dom0 modules/vpipe-back.ko modules/vpipe-back-faulty.ko bin/vpipectl bin/vpipe-send \
	bin/vpipe-cp bin/vpipe-recv bin/vpipe-relay bin/vptest bin/xencpu bin/vpcount bin/vpcrash \
	bin/vpipe-sink
deliver guest modules/vpipe-front.ko modules/vpipe-front-faulty.ko modules/vpipe-forge.ko \
	modules/vpipe-pmem.ko bin/vpipe-send bin/vptest bin/vpipe-cp bin/vpipe-recv bin/vpipe-relay \
	bin/vpload
deliver peer bin/vpipe-sink bin/vpipe-send bin/vptest
touch build/payload/id
