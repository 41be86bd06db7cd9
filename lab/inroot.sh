#!/bin/sh
# inroot.sh PROGRAM ARG...: run a program of build/root on the host, without
# chroot or root, by that root's own loader and libraries. A program of many
# names is called as NAME=PATH.
root=$(cd "$(dirname "$0")/../build/root" && pwd)
name=${1%%=*} program=$root/${1##*=}
shift
exec "$root/lib64/ld-linux-x86-64.so.2" \
	--library-path "$root/usr/lib/x86_64-linux-gnu" \
	--argv0 "$name" "$program" "$@"
