#!/bin/sh
# checkpatch.sh [FILE...]: the kernel's own style checker over the modules and the
# headers, or over the files given.  It is taken from Debian's linux-source.
#
#   LAB_SUITE   suite to take it from (trixie)
#   LAB_MIRROR  mirror to use (mmdebstrap's default)
set -eu
cd "$(dirname "$0")/../.."

suite=${LAB_SUITE:-trixie}
tool=build/checkpatch
key="$suite ${LAB_MIRROR:-}"

# Only lines that do not hold for a tree outside of the kernel's:
# LINUX_VERSION_CODE   what compat/ is there for
# FILE_PATH_CHANGES    there is no MAINTAINERS to be updated
# PREFER_KERNEL_TYPES  the headers of the protocol and of the pure logic are also
#                      compiled in userspace, where u32 does not exist
ignore=LINUX_VERSION_CODE,FILE_PATH_CHANGES,PREFER_KERNEL_TYPES

if [ "$(cat $tool/key 2>/dev/null || :)" != "$key" ]; then
	sudo=
	[ "$(id -u)" = 0 ] || sudo=sudo
	$sudo rm -rf $tool $tool.root
	mkdir -p $tool
	nice $sudo mmdebstrap --quiet --variant=extract --include=linux-source \
		"$suite" $tool.root ${LAB_MIRROR:+"$LAB_MIRROR"}
	nice tar -xf $tool.root/usr/src/linux-source-*.tar.xz -C $tool --strip-components=2 \
		--wildcards '*/scripts/checkpatch.pl' '*/scripts/spelling.txt' \
		'*/scripts/const_structs.checkpatch'
	$sudo rm -rf $tool.root
	echo "$key" >$tool/key
fi

if [ $# = 0 ]; then
	# shellcheck disable=SC2046
	set -- $(find frontend backend include compat -name '*.[ch]' | sort)
fi
perl $tool/checkpatch.pl --no-tree --strict --quiet --summary-file --show-types \
	--ignore $ignore --file "$@"
echo "checkpatch: ok ($# files)"
