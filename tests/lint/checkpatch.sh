#!/bin/sh
# checkpatch.sh [FILE...]: the kernel's own style checker over the modules and the
# headers, or over the files (of the tree) given.  It is taken from Debian's linux-source.
#
#   TREE        check this tree instead
#   LAB_SUITE   suite to take it from (trixie)
#   LAB_MIRROR  mirror to use (mmdebstrap's default)
set -eu
cd "$(dirname "$0")/../.."

suite=${LAB_SUITE:-trixie}
tool=build/checkpatch
key="$suite ${LAB_MIRROR:-}"

# LINUX_VERSION_CODE   what compat/ is there for; and
# CONSTANT_COMPARISON  KERNEL_VERSION(), which looks like a constant
# NEW_TYPEDEFS         compat/ gives one name to a type that differs between kernels
# FILE_PATH_CHANGES    there is no MAINTAINERS to be updated
# PREFER_KERNEL_TYPES, BIT_MACRO
#                      the headers of the protocol and of the pure logic are also
#                      compiled in userspace, where u32 and BIT() do not exist
# MACRO_ARG_REUSE, MACRO_ARG_PRECEDENCE
#                      GUARDED() of guard.c is given a call of a member
# CAMELCASE            the names of Xen's bus: XenbusStateClosing
ignore=LINUX_VERSION_CODE,CONSTANT_COMPARISON,NEW_TYPEDEFS,FILE_PATH_CHANGES
ignore=$ignore,PREFER_KERNEL_TYPES,BIT_MACRO,CAMELCASE
ignore=$ignore,MACRO_ARG_REUSE,MACRO_ARG_PRECEDENCE

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
	# Of English there are two; and guard.c fills a struct proto_ops at load.
	sed -i '/^acknowledgement/d' $tool/spelling.txt
	sed -i '/^proto_ops$/d' $tool/const_structs.checkpatch
	echo "$key" >$tool/key
fi

if [ $# = 0 ]; then
	# shellcheck disable=SC2046
	set -- $(cd "${TREE:-.}" && find frontend backend include compat -name '*.[ch]' | sort)
fi
tool=$PWD/$tool
cd "${TREE:-.}"
failed=
for f; do
	# TRACE_EVENT() has a layout of its own.
	more=
	[ "${f##*/}" != trace.h ] || more=,OPEN_ENDED_LINE,PARENTHESIS_ALIGNMENT
	perl "$tool/checkpatch.pl" --no-tree --root=. --strict --quiet --summary-file --show-types \
		--ignore $ignore$more --file "$f" || failed=1
done
[ -z "$failed" ] || exit 1
echo "checkpatch: ok ($# files)"
