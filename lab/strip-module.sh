#!/bin/sh
# strip-module.sh IN OUT: a module (.ko or .ko.xz) without what only debuggers need.
set -eu
out=${2%.xz}
mkdir -p "$(dirname "$out")"
case $1 in
*.xz) xz -dc "$1" >"$out" ;;
*) cp "$1" "$out" ;;
esac
objcopy --strip-debug -R .BTF "$out"
