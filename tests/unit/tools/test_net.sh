# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# vpipe-send, vpipe-relay and vpipe-recv, one behind the other; see cases.sh

# FILE: the port that it says; a new file for each server
port() {
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		sed -n '1s/^{"listening":\([0-9]*\)}$/\1/p' "$1" 2> /dev/null | grep . && return
		sleep 0.2
	done
	return 1
}

bytes() { sed -n 's/^{"bytes":\([0-9]*\),.*/\1/p' "$1"; }

# Through all three, by libvpipe and by ordinary calls
test_chain() {
	head -c 3000001 /dev/urandom > source
	for path in auto ordinary; do
		vpipe-recv --path $path --sync 0 sink > recv.$path &
		recv=$!
		vpipe-relay --path $path 0 127.0.0.1 "$(port recv.$path)" > relay.$path &
		relay=$!
		expect 0 vpipe-send source 127.0.0.1 "$(port relay.$path)"
		wait $recv
		wait $relay
		[ "$(bytes recv.$path) $(bytes relay.$path)" = "3000001 3000001" ]
		grep '"error":null}$' recv.$path
		cmp source sink
	done
}

# Each system call that can be asked for, and a file that is sent again and again
test_calls() {
	head -c 3000001 /dev/urandom > source
	for call in read splice; do
		vpipe-recv --call $call --buffer 65536 0 sink > recv.$call &
		recv=$!
		vpipe-relay --call $call --buffer 65536 0 127.0.0.1 "$(port recv.$call)" > relay.$call &
		relay=$!
		expect 0 vpipe-send --call $call --repeat 2 --offset 1 source 127.0.0.1 \
			"$(port relay.$call)"
		wait $recv
		wait $relay
		grep "\"bytes\":6000000,.*\"path\":\"$call\"" out
		{ tail -c 3000000 source; tail -c 3000000 source; } | cmp - sink
	done
}

# Several connections of one sender
test_send_count() {
	head -c 10000 /dev/urandom > source
	vpipe-recv --count 3 0 sink > recv & recv=$!
	expect 0 vpipe-send --count 3 --repeat 2 source 127.0.0.1 "$(port recv)"
	wait $recv
	[ "$(bytes out)" = 60000 ]
	[ "$(bytes recv | xargs)" = "20000 20000 20000" ]
}

# Again and again, but each time further on; the last has to be within the file
test_send_stride() {
	head -c 10000 /dev/urandom > source
	for path in sendfile auto; do
		vpipe-recv 0 sink > recv.$path & recv=$!
		expect 0 vpipe-send --path $path --length 1000 --repeat 3 --stride 4000 --offset 1000 \
			source 127.0.0.1 "$(port recv.$path)"
		wait $recv
		for at in 1000 5000 9000; do tail -c +$((at + 1)) source | head -c 1000; done | cmp - sink
	done
	expect 1 vpipe-send --length 1001 --repeat 3 --stride 4000 --offset 1000 source 127.0.0.1 1
	expect 1 vpipe-send --repeat 9000000000 --stride 9000000000 source 127.0.0.1 1
}

# Several connections, each behind the one before, into what is there already
test_recv_count() {
	head -c 10000 /dev/urandom > source
	head -c 50000 /dev/zero > sink
	vpipe-recv --offset 777 --count 2 --length 9000 0 sink > recv &
	for _ in 1 2; do
		expect 0 vpipe-send --length 9000 source 127.0.0.1 "$(port recv)"
	done
	wait $!
	[ "$(bytes recv | xargs)" = "9000 9000" ]
	{ head -c 777 /dev/zero; head -c 9000 source; head -c 9000 source; head -c 31223 /dev/zero
	} | cmp - sink
}

# The file is open with O_SYNC (04010000) when that is asked for, and only then.
test_osync() {
	head -c 300000 /dev/urandom > source
	for option in "" --osync; do
		# shellcheck disable=SC2086
		vpipe-recv $option 0 sink > "recv$option" & recv=$!
		port=$(port "recv$option")
		for fd in "/proc/$recv/fd/"*; do
			[ "$(readlink "$fd")" != "$PWD/sink" ] || fd_of_sink=${fd##*/}
		done
		flags=$(sed -n 's/^flags:\t//p' "/proc/$recv/fdinfo/$fd_of_sink")
		expect 0 vpipe-send source 127.0.0.1 "$port"
		wait $recv
		cmp source sink
		[ $((flags & 04010000)) = $((${option:+04010000} + 0)) ]
	done
}

# A stream that ends too early, a disk that is full, a server that is not there
test_errors() {
	head -c 10000 /dev/urandom > source
	status=0
	vpipe-recv --length 10001 0 sink > recv & recv=$!
	expect 0 vpipe-send source 127.0.0.1 "$(port recv)"
	wait $recv || status=$?
	[ $status = 1 ]
	[ "$(bytes recv)" = 10000 ]
	cmp source sink

	status=0
	vpipe-recv 0 /dev/full > full & recv=$!
	vpipe-send source 127.0.0.1 "$(port full)" || :
	wait $recv || status=$?
	[ $status = 1 ]
	grep '"bytes":0,.*"error":"No space left on device"}$' full

	status=0
	vpipe-relay 0 127.0.0.1 1 > relay & relay=$!
	vpipe-send source 127.0.0.1 "$(port relay)" || :
	wait $relay || status=$?
	[ $status = 1 ]
}

# All is there, but not by the driver domain.
test_offload_only() {
	[ ! -e /dev/vpipe ] || skip "there is a driver"
	head -c 100000 /dev/urandom > source
	status=0
	vpipe-recv --path offload 0 sink > recv & recv=$!
	expect 3 vpipe-send --path offload source 127.0.0.1 "$(port recv)"
	wait $recv || status=$?
	[ $status = 3 ]
	cmp source sink
	# Less than a block is not for the driver domain.
	vpipe-recv --path offload --offset 1 0 sink > less & recv=$!
	expect 0 vpipe-send --length 100 source 127.0.0.1 "$(port less)"
	wait $recv
}

test_usage() {
	for tool in send recv relay; do
		expect 2 vpipe-$tool
		expect 2 vpipe-$tool --path nowhere 1 2 3
		expect 2 vpipe-$tool --length -1 1 2 3
		expect 0 vpipe-$tool --help
		expect 0 vpipe-$tool --version
		grep "^vpipe-$tool [0-9]" out
	done
	expect 2 vpipe-recv 65536 sink
	expect 2 vpipe-relay x 127.0.0.1 1
}
