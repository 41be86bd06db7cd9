#!/bin/sh
# copy.sh FOLDER: the modules' sources as they are now into a folder where they are
# compiled for their warnings.  What has not changed since they compiled without one
# (its mark: FOLDER/clean) need not be compiled again.  By content and not by time:
# the tree may be another one each time.
#
#   TREE        take those of this tree instead
set -eu
cd "$(dirname "$0")/../.."

sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
[ -e "$1/clean" ] || $sudo rm -rf "$1"
$sudo mkdir -p "$1"
to=$PWD/$1
cd "${TREE:-.}"
$sudo rsync -rlpc --delete --exclude='*.o' --exclude='*.ko' --exclude='*.mod' --exclude='*.mod.c' \
	--exclude='.*.cmd' --exclude=modules.order --exclude=Module.symvers \
	Kbuild compat include frontend backend "$to/"
$sudo rm -f "$to/clean"
