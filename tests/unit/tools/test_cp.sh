# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# vpipe-cp: what cp(1) does, and holes; see cases.sh

blocks() { stat -c %b "$1"; }

test_content() {
	for size in 0 1 4095 4096 4097 1000003; do
		head -c $size /dev/urandom > source
		expect 0 vpipe-cp source new
		cmp source new
		head -c 500000 /dev/urandom > old
		expect 0 vpipe-cp source old
		cmp source old
	done
	[ ! -s err ]
	[ ! -s out ]
}

test_mode() {
	umask 027
	echo a > source
	chmod 6755 source
	expect 0 vpipe-cp source new
	[ "$(stat -c %a new)" = 750 ]
	chmod 600 new
	expect 0 vpipe-cp source new
	[ "$(stat -c %a new)" = 600 ]
	touch -d 2001-02-03T04:05:06.789 source
	expect 0 vpipe-cp -p source new
	[ "$(stat -c %a new)" = 755 ]
	[ "$(stat -c %y new)" = "$(stat -c %y source)" ]
}

test_sparse() {
	truncate -s 3M hole
	truncate -s 3M source
	printf data | dd of=source bs=1 seek=1500000 conv=notrunc status=none
	for file in hole source; do
		for when in auto never always; do
			expect 0 vpipe-cp --sparse $when $file copy.$when
			cmp $file copy.$when
		done
		[ "$(blocks copy.auto)" -le "$(blocks $file)" ]
		[ "$(blocks copy.always)" -le "$(blocks $file)" ]
		# Some file systems make a copy of the same blocks, and of the holes.
		cp --reflink=always $file cloned 2> /dev/null ||
			[ "$(blocks copy.never)" -ge 6144 ]
	done
	# Zeros that are written are no holes, unless that is wanted.
	head -c 3M /dev/zero > zeros
	expect 0 vpipe-cp zeros copy
	cmp zeros copy
	[ "$(blocks copy)" -ge 6144 ]
	expect 0 vpipe-cp --sparse always zeros copy
	cmp zeros copy
	[ "$(blocks copy)" -le "$(blocks hole)" ]
	expect 1 vpipe-cp --sparse perhaps source copy
}

# Where many runs of zeros and of data alternate, of odd lengths
test_sparse_always() {
	for length in 1 4095 4096 9000 1048576; do
		head -c $length /dev/urandom
		head -c $((length + 5000)) /dev/zero
	done > source
	expect 0 vpipe-cp --sparse always source copy
	cmp source copy
}

# Files that say they are empty, or more than they are
test_proc() {
	expect 0 vpipe-cp /proc/self/mountinfo /sys/kernel/mm/transparent_hugepage/enabled .
	[ -s mountinfo ]
	cmp enabled /sys/kernel/mm/transparent_hugepage/enabled
}

test_directory() {
	mkdir d
	echo 1 > a
	echo 2 > b
	expect 0 vpipe-cp -v a b d
	cmp a d/a
	cmp b d/b
	[ "$(cat out)" = "'a' -> 'd/a'
'b' -> 'd/b'" ]
	expect 0 vpipe-cp a d/
	expect 1 vpipe-cp a b nowhere
	expect 1 vpipe-cp a b d/a
}

# What cannot be copied does not keep the others from it.
test_continue() {
	mkdir d e
	echo 1 > a
	echo 2 > b
	echo 3 > e/a
	mkfifo f
	expect 1 vpipe-cp a missing e f e/a b d
	cmp a d/a
	cmp b d/b
	grep "'missing': No such file" err
	grep "'e': -r not specified; omitting directory" err
	grep "'f': not a regular file" err
	grep "'d/a': will not overwrite" err
	[ "$(find d -type f | wc -l)" = 2 ]
}

test_same_file() {
	echo content > a
	ln a hard
	ln -s a soft
	mkdir d
	ln a d/a
	for same in a ./a hard soft d; do
		expect 1 vpipe-cp -f a $same
		grep "are the same file" err
	done
	expect 1 vpipe-cp soft a
	[ "$(cat a)" = content ]
}

test_no_clobber() {
	echo 1 > a
	echo 2 > b
	expect 0 vpipe-cp -nv a b
	expect 0 vpipe-cp -nf a b
	[ "$(cat b)" = 2 ]
	[ ! -s out ]
	expect 0 vpipe-cp -nv a c
	cmp a c
	[ -s out ]
}

# A program that runs cannot be opened for writing, even by root.
test_force() {
	echo 1 > a
	cp "$(command -v sleep)" busy
	./busy 60 &
	until [ "$(readlink "/proc/$!/exe")" = "$(pwd -P)/busy" ]; do
		kill -0 $!
	done
	expect 1 vpipe-cp a busy
	expect 0 vpipe-cp -f a busy
	kill $!
	cmp a busy
}

test_json() {
	name="a \"b\"\\"
	head -c 5000 /dev/urandom > "$name"
	mkdir d
	expect 1 vpipe-cp --json --sync --progress "$name" missing d
	[ "$(wc -l < out)" = 2 ]
	grep '^{"source":"a \\"b\\"\\\\","destination":"d/a \\"b\\"\\\\","bytes":5000,' out
	grep '^{"source":"missing",.*"bytes":0,.*"error":"No such file or directory"}$' out
	grep '0 MB' err
	head -1 out | sed 's/.*"offloaded":\([0-9]*\),"ordinary":\([0-9]*\),.*/\1 \2/' > counts
	read -r offloaded ordinary < counts
	[ $((offloaded + ordinary)) = 5000 ]
}

test_full() {
	head -c 300000 /dev/urandom > a
	expect 1 vpipe-cp a /dev/full
	grep "'/dev/full': No space left on device" err
	mkdir small
	unshare -m true || skip "no mount namespaces"
	# shellcheck disable=SC2016
	expect 1 unshare -m sh -c 'mount -t tmpfs -o size=100k tmpfs small &&
		vpipe-cp --json a small; status=$?; cmp -n 90000 a small/a; exit $status'
	grep "No space left on device" err
	grep '"bytes":1[0-9]*,.*"error":"No space left on device"' out
}

# Each system call that can be asked for
test_calls() {
	head -c 100001 /dev/urandom > data
	truncate -s 200000 data
	for call in read sendfile splice copy_file_range; do
		rm -f copy
		expect 0 vpipe-cp --json --call $call --buffer 8192 data copy
		cmp data copy
		grep '"offloaded":0,.*"reason":"not asked for"' out
	done
	expect 1 vpipe-cp --call nothing data copy
}

test_usage() {
	echo 1 > a
	expect 1 vpipe-cp
	expect 1 vpipe-cp a
	expect 1 vpipe-cp --nonsense a b
	expect 0 vpipe-cp --help
	grep Usage out
	expect 0 vpipe-cp --version
	grep '^vpipe-cp [0-9]' out
}
