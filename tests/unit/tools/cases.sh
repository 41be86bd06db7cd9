#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# cases.sh FILE: run each function test_* of FILE, in a new folder that is current
#
#   BIN     where the programs are
#   JUNIT   write this file
#
# A test fails with the first command that fails.  `skip WHY` ends it as skipped.
set -u

file=$1
name=$(basename "$file" .sh)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
export PATH="$BIN:$PATH" LC_ALL=C

skip() { echo "skipped: $*"; exit 77; }

# STATUS COMMAND...: it ends with this exit status; what it said is in ./out and ./err
expect() {
	expected=$1
	shift
	status=0
	"$@" > out 2> err || status=$?
	[ $status = "$expected" ] && return
	echo "exit status $status, not $expected: $*"
	cat out err
	exit 1
}

# shellcheck source=/dev/null
. "$file"

failed=0
# shellcheck disable=SC2013
for case in $(sed -n 's/^\(test_[a-z_]*\)().*/\1/p' "$file"); do
	mkdir "$work/$case"
	(cd "$work/$case" && set -eux && "$case") > "$work/log" 2>&1
	rc=$?
	echo "<testcase classname=\"$name\" name=\"$case\">" >> "$work/xml"
	case $rc in
	0)	echo "$name: $case: ok" ;;
	77)	echo "$name: $case: $(grep '^skipped: ' "$work/log")"
		echo "<skipped/>" >> "$work/xml" ;;
	*)	failed=$((failed + 1))
		echo "$name: $case: FAILED"
		cat "$work/log"
		echo "<failure><![CDATA[$(tr -d '\000-\010' < "$work/log")]]></failure>" >> "$work/xml" ;;
	esac
	echo "</testcase>" >> "$work/xml"
done
if [ -n "${JUNIT:-}" ]; then
	mkdir -p "$(dirname "$JUNIT")"
	{ echo "<testsuite name=\"$name\">"; cat "$work/xml"; echo "</testsuite>"; } > "$JUNIT"
fi
[ $failed = 0 ]
