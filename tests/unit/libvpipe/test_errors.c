// SPDX-License-Identifier: LGPL-2.1-or-later
/* Bad arguments; the list is that of vpipe.h. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support.h"

static struct {
	int file, read_only, write_only, append, dir, fifo[2];
	int tcp[2], fresh, listener, udp, datagram[2], packet[2], raw;
} fd;

static int setup(void **state)
{
	(void)state;
	fd.file = file_make(test_dirs[0], 5000);
	fd.read_only = file_reopen(fd.file, O_RDONLY);
	fd.write_only = file_reopen(fd.file, O_WRONLY);
	fd.append = file_reopen(fd.file, O_RDWR | O_APPEND);
	fd.dir = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(pipe2(fd.fifo, O_CLOEXEC), 0);
	pair_tcp(fd.tcp);
	fd.fresh = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	fd.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(listen(fd.listener, 1), 0);
	fd.udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fd.datagram), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd.packet), 0);
	fd.raw = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
	return 0;
}

static int teardown(void **state)
{
	int *each = (int *)&fd;

	(void)state;
	for (size_t i = 0; i < sizeof(fd) / sizeof(int); i++)
		if (each[i] >= 0)
			close(each[i]);
	return 0;
}

/* With and without a handle, with a length and without one. */
#define expect_transfer(kind, in, out, expected, ...) do {			\
	vpipe_t *vp_;								\
	assert_fails(vpipe_##kind##_fd(in, out, __VA_ARGS__), expected);	\
	result_expect(0, expected);						\
	vp_ = vpipe_create(in, out);						\
	assert_non_null(vp_);							\
	assert_fails(vpipe_##kind(vp_, __VA_ARGS__), expected);			\
	assert_int_equal(vpipe_destroy(vp_), 0);				\
} while (0)

/* The descriptor is wrong in the file end of each kind. */
static void expect_bad_file(int bad, bool writable, int expected)
{
	for (uint64_t length = 0; length < 2; length++) {
		expect_transfer(file_to_socket, bad, fd.tcp[0], expected, 0, length);
		expect_transfer(file_to_file, bad, fd.file, expected, 0, length, 0);
		if (!writable)
			continue;
		expect_transfer(socket_to_file, fd.tcp[0], bad, expected, 0, length);
		expect_transfer(file_to_file, fd.file, bad, expected, 0, length, 0);
	}
}

static void expect_bad_socket(int bad, int expected)
{
	for (uint64_t length = 0; length < 2; length++) {
		expect_transfer(file_to_socket, fd.file, bad, expected, 0, length);
		expect_transfer(socket_to_file, bad, fd.file, expected, 0, length);
		expect_transfer(socket_to_socket, bad, fd.tcp[0], expected, length);
		expect_transfer(socket_to_socket, fd.tcp[0], bad, expected, length);
	}
}

static void expect_bad_fds(int in, int out)
{
	errno = 0;
	assert_null(vpipe_create(in, out));
	assert_int_equal(errno, EBADF);
	for (uint64_t length = 0; length < 2; length++) {
		assert_fails(vpipe_file_to_socket_fd(in, out, 0, length), EBADF);
		assert_fails(vpipe_socket_to_file_fd(in, out, 0, length), EBADF);
		assert_fails(vpipe_file_to_file_fd(in, out, 0, length, 0), EBADF);
		assert_fails(vpipe_socket_to_socket_fd(in, out, length), EBADF);
	}
}

static void test_descriptor(void **state)
{
	int path = file_reopen(fd.file, O_PATH);
	int closed = dup(fd.file);

	(void)state;
	close(closed);
	expect_bad_fds(-1, fd.file);
	expect_bad_fds(fd.file, -1);
	expect_bad_fds(closed, fd.tcp[0]);
	expect_bad_fds(fd.tcp[0], closed);
	expect_bad_fds(fd.write_only, fd.file);
	expect_bad_fds(fd.file, fd.read_only);
	expect_bad_fds(path, fd.file);
	expect_bad_fds(fd.file, path);
	expect_bad_fds(fd.fifo[1], fd.file);
	expect_bad_fds(fd.file, fd.fifo[0]);
	expect_bad_fds(fd.file, fd.dir);
	close(path);
}

static void test_null_handle(void **state)
{
	(void)state;
	assert_fails(vpipe_file_to_socket(NULL, 0, 1), EINVAL);
	assert_fails(vpipe_socket_to_file(NULL, 0, 1), EINVAL);
	assert_fails(vpipe_file_to_file(NULL, 0, 1, 0), EINVAL);
	assert_fails(vpipe_socket_to_socket(NULL, 1), EINVAL);
}

static void test_file_type(void **state)
{
	(void)state;
	expect_bad_file(fd.dir, false, EISDIR);
	expect_bad_file(fd.tcp[1], true, ESPIPE);
	expect_bad_file(fd.fifo[0], false, ESPIPE);
	expect_transfer(socket_to_file, fd.tcp[0], fd.fifo[1], ESPIPE, 0, 1);
	expect_transfer(file_to_file, fd.file, fd.fifo[1], ESPIPE, 0, 1, 0);
}

static void test_socket_type(void **state)
{
	(void)state;
	expect_bad_socket(fd.file, ENOTSOCK);
	expect_bad_socket(fd.udp, EPROTOTYPE);
	expect_bad_socket(fd.datagram[0], EPROTOTYPE);
	expect_bad_socket(fd.packet[0], EPROTOTYPE);
	if (fd.raw >= 0)
		expect_bad_socket(fd.raw, EPROTOTYPE);
	expect_bad_socket(fd.fresh, ENOTCONN);
	expect_bad_socket(fd.listener, ENOTCONN);
	expect_transfer(file_to_socket, fd.file, fd.fifo[1], ENOTSOCK, 0, 1);
}

static void test_offsets(void **state)
{
	(void)state;
	for (uint64_t length = 0; length < 2; length++) {
		expect_transfer(file_to_socket, fd.file, fd.tcp[0], EINVAL, -1, length);
		expect_transfer(socket_to_file, fd.tcp[0], fd.file, EINVAL, INT64_MIN, length);
		expect_transfer(file_to_file, fd.file, fd.file, EINVAL, -1, length, 0);
		expect_transfer(file_to_file, fd.file, fd.file, EINVAL, 0, length, -1);
		expect_transfer(file_to_socket, fd.file, fd.tcp[0], ENXIO, 5001, length);
		expect_transfer(file_to_file, fd.file, fd.file, ENXIO, 5001, length, 0);
	}
	expect_transfer(file_to_socket, fd.file, fd.tcp[0], EOVERFLOW, INT64_MAX, 1);
	expect_transfer(file_to_socket, fd.file, fd.tcp[0], EOVERFLOW, 1, INT64_MAX);
	expect_transfer(file_to_socket, fd.file, fd.tcp[0], EOVERFLOW, 0, UINT64_MAX);
	expect_transfer(socket_to_file, fd.tcp[0], fd.file, EOVERFLOW, INT64_MAX, 1);
	expect_transfer(file_to_file, fd.file, fd.file, EOVERFLOW, 1, INT64_MAX, 0);
	expect_transfer(file_to_file, fd.file, fd.file, EOVERFLOW, 0, INT64_MAX, 1);
	expect_transfer(socket_to_socket, fd.tcp[0], fd.tcp[1], EOVERFLOW, UINT64_MAX);
	/* The end itself is not behind the end. */
	assert_int_equal(vpipe_file_to_socket_fd(fd.file, fd.tcp[0], 5000, 1), 0);
	assert_int_equal(vpipe_file_to_file_fd(fd.file, fd.file, 5000, 1, 0), 0);
}

static void test_modes(void **state)
{
	int peek_off = 0, sv[2];

	(void)state;
	expect_transfer(socket_to_file, fd.tcp[0], fd.append, EINVAL, 0, 1);
	expect_transfer(file_to_file, fd.file, fd.append, EINVAL, 0, 1, 0);
	expect_transfer(file_to_file, fd.file, fd.file, EINVAL, 0, 2, 1);
	expect_transfer(file_to_file, fd.file, fd.write_only, EINVAL, 100, 5000, 4000);
	expect_transfer(file_to_file, fd.read_only, fd.file, EINVAL, 7, 1, 7);
	pair_unix(sv);
	assert_int_equal(setsockopt(sv[0], SOL_SOCKET, SO_PEEK_OFF, &peek_off,
				    sizeof(peek_off)), 0);
	expect_transfer(socket_to_file, sv[0], fd.file, EINVAL, 0, 1);
	expect_transfer(socket_to_socket, sv[0], fd.tcp[0], EINVAL, 1);
	close(sv[0]);
	close(sv[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_descriptor),
		cmocka_unit_test(test_null_handle),
		cmocka_unit_test(test_file_type),
		cmocka_unit_test(test_socket_type),
		cmocka_unit_test(test_offsets),
		cmocka_unit_test(test_modes),
	};

	return cmocka_run_group_tests_name("libvpipe_errors", tests, setup, teardown);
}
