// SPDX-License-Identifier: LGPL-2.1-or-later
/* The four kinds: sizes, offsets, file systems, socket families, both ways to call. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

static const uint64_t sizes[] = { 0, 1, 4095, 4096, 4097, 300001, 3 * MIB + 5 };
static const uint64_t offsets[] = { 0, 1, 12345 };

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define for_each(i, n)	for (size_t i = 0; i < (n); i++)

/* Ways to call, as bits. */
#define WITH_HANDLE	1
#define WITH_NONBLOCK	2
#define WAYS		4

static int64_t file_to_socket(int way, int in, int out, int64_t offset, uint64_t length)
{
	vpipe_t *vp;
	int64_t n;

	if (!(way & WITH_HANDLE))
		return vpipe_file_to_socket_fd(in, out, offset, length);
	vp = vpipe_create(in, out);
	assert_non_null(vp);
	n = vpipe_file_to_socket(vp, offset, length);
	assert_int_equal(vpipe_destroy(vp), 0);
	return n;
}

static int64_t socket_to_file(int way, int in, int out, int64_t offset, uint64_t length)
{
	vpipe_t *vp;
	int64_t n;

	if (!(way & WITH_HANDLE))
		return vpipe_socket_to_file_fd(in, out, offset, length);
	vp = vpipe_create(in, out);
	assert_non_null(vp);
	n = vpipe_socket_to_file(vp, offset, length);
	assert_int_equal(vpipe_destroy(vp), 0);
	return n;
}

static void check_file_to_socket(const char *dir, pair_fn pair, int way, uint64_t size,
				 uint64_t offset, uint64_t beyond, uint64_t ask)
{
	int file = file_make(dir, offset + size + beyond);
	struct peer drain;
	int sv[2];

	pair(sv);
	if (way & WITH_NONBLOCK)
		set_nonblock(sv[0]);
	peer_drain(&drain, sv[1], size, offset, size > MIB ? 5 : 0);
	assert_int_equal(file_to_socket(way, file, sv[0], (int64_t)offset, ask), size);
	result_expect(size, 0);
	assert_int_equal(lseek(file, 0, SEEK_CUR), 0);
	close(sv[0]);
	peer_join(&drain);
	close(sv[1]);
	close(file);
}

static void test_file_to_socket(void **state)
{
	(void)state;
	for_each(dir, TEST_DIRS)
		for_each(pair, TEST_PAIRS)
			for_each(way, WAYS)
				for_each(size, ARRAY_SIZE(sizes))
					for_each(offset, ARRAY_SIZE(offsets))
						check_file_to_socket(test_dirs[dir],
							test_pairs[pair], (int)way,
							sizes[size], offsets[offset],
							777, sizes[size]);
}

static void test_file_to_socket_short(void **state)
{
	(void)state;
	for_each(pair, TEST_PAIRS)
		for_each(size, ARRAY_SIZE(sizes)) {
			check_file_to_socket(test_dirs[0], test_pairs[pair], WITH_HANDLE,
					     sizes[size], 3, 0, sizes[size] + 1);
			check_file_to_socket(test_dirs[1], test_pairs[pair], 0,
					     sizes[size], 3, 0, INT64_MAX - 3);
		}
}

static void check_socket_to_file(const char *dir, pair_fn pair, int way, uint64_t size,
				 uint64_t offset, uint64_t beyond, uint64_t ask)
{
	int file = file_make(dir, 0);
	struct peer feed;
	int sv[2];

	pair(sv);
	if (way & WITH_NONBLOCK)
		set_nonblock(sv[0]);
	peer_feed(&feed, sv[1], size + beyond, size > MIB ? 5 : 0);
	assert_int_equal(socket_to_file(way, sv[0], file, (int64_t)offset, ask), size);
	result_expect(size, 0);
	assert_int_equal(lseek(file, 0, SEEK_CUR), 0);
	assert_int_equal(lseek(file, 0, SEEK_END), size ? offset + size : 0);
	file_expect(file, offset, size, 0);
	peer_join(&feed);
	assert_int_equal(fcntl(sv[0], F_SETFL, O_RDWR), 0);
	socket_expect_rest(sv[0], beyond, size);
	close(sv[0]);
	close(sv[1]);
	close(file);
}

static void test_socket_to_file(void **state)
{
	(void)state;
	for_each(dir, TEST_DIRS)
		for_each(pair, TEST_PAIRS)
			for_each(way, WAYS)
				for_each(size, ARRAY_SIZE(sizes))
					for_each(offset, ARRAY_SIZE(offsets))
						check_socket_to_file(test_dirs[dir],
							test_pairs[pair], (int)way,
							sizes[size], offsets[offset],
							777, sizes[size]);
}

static void test_socket_to_file_short(void **state)
{
	(void)state;
	for_each(pair, TEST_PAIRS)
		for_each(size, ARRAY_SIZE(sizes))
			check_socket_to_file(test_dirs[0], test_pairs[pair], (int)size % WAYS,
					     sizes[size], 0, 0, INT64_MAX);
}

static void check_file_to_file(int way, const char *from, const char *to, uint64_t size,
			       uint64_t in_offset, uint64_t out_offset, uint64_t ask)
{
	int in = file_make(from, in_offset + size);
	int out = file_make(to, out_offset);
	vpipe_t *vp;
	int64_t n;

	if (way & WITH_HANDLE) {
		vp = vpipe_create(in, out);
		assert_non_null(vp);
		n = vpipe_file_to_file(vp, (int64_t)in_offset, ask, (int64_t)out_offset);
		assert_int_equal(vpipe_destroy(vp), 0);
	} else {
		n = vpipe_file_to_file_fd(in, out, (int64_t)in_offset, ask,
					  (int64_t)out_offset);
	}
	assert_int_equal(n, size);
	result_expect(size, 0);
	assert_int_equal(lseek(out, 0, SEEK_END), out_offset + size);
	file_expect(out, 0, out_offset, 0);
	file_expect(out, out_offset, size, in_offset);
	close(in);
	close(out);
}

static void test_file_to_file(void **state)
{
	(void)state;
	for_each(from, TEST_DIRS)
		for_each(to, TEST_DIRS)
			for_each(size, ARRAY_SIZE(sizes))
				for_each(offset, ARRAY_SIZE(offsets))
					check_file_to_file((int)(size + offset) % 2,
						test_dirs[from], test_dirs[to],
						sizes[size], offsets[offset],
						offsets[ARRAY_SIZE(offsets) - 1 - offset],
						offset ? sizes[size] :
							 sizes[size] + 100);
}

/* Append a file to itself: it ends where it ended before the copy. */
static void test_file_to_itself(void **state)
{
	(void)state;
	for_each(dir, TEST_DIRS) {
		int fd = file_make(test_dirs[dir], 300001);

		assert_int_equal(vpipe_file_to_file_fd(fd, fd, 0, INT64_MAX - 300001,
						       300001), 300001);
		assert_int_equal(lseek(fd, 0, SEEK_END), 600002);
		file_expect(fd, 0, 300001, 0);
		file_expect(fd, 300001, 300001, 0);
		close(fd);
	}
}

static void test_file_to_file_beyond_4g(void **state)
{
	int in = file_make(test_dirs[1], 0);
	int out = file_make(test_dirs[0], 0);
	char buf[5000];

	(void)state;
	pattern_fill(buf, sizeof(buf), 42);
	assert_int_equal(pwrite(in, buf, sizeof(buf), 5 * GIB + 1), sizeof(buf));
	assert_int_equal(vpipe_file_to_file_fd(in, out, 5 * GIB + 1, 9999, 6 * GIB + 3), 5000);
	file_expect(out, 6 * GIB + 3, 5000, 42);
	close(in);
	close(out);
}

static void test_socket_to_socket(void **state)
{
	struct peer feed, drain;
	int in[2], out[2];
	vpipe_t *vp;
	int64_t n;

	(void)state;
	for_each(from, TEST_PAIRS)
		for_each(to, TEST_PAIRS)
			for_each(way, WAYS)
				for_each(size, ARRAY_SIZE(sizes)) {
		uint64_t beyond = way & WITH_HANDLE ? 777 : 0;

		test_pairs[from](in);
		test_pairs[to](out);
		if (way & WITH_NONBLOCK) {
			set_nonblock(in[0]);
			set_nonblock(out[0]);
		}
		peer_feed(&feed, in[1], sizes[size] + beyond, 0);
		peer_drain(&drain, out[1], sizes[size], 0, sizes[size] > MIB ? 5 : 0);
		if (way & WITH_HANDLE) {
			vp = vpipe_create(in[0], out[0]);
			assert_non_null(vp);
			n = vpipe_socket_to_socket(vp, sizes[size]);
			assert_int_equal(vpipe_destroy(vp), 0);
		} else {
			n = vpipe_socket_to_socket_fd(in[0], out[0], sizes[size] + 10);
		}
		assert_int_equal(n, sizes[size]);
		result_expect(sizes[size], 0);
		close(out[0]);
		peer_join(&feed);
		peer_join(&drain);
		assert_int_equal(fcntl(in[0], F_SETFL, O_RDWR), 0);
		socket_expect_rest(in[0], beyond, sizes[size]);
		close(in[0]);
		close(in[1]);
		close(out[1]);
	}
}

/* One handle, many transfers, ordinary sends between them, descriptors closed early. */
static void test_handle_reused(void **state)
{
	int file = file_make(test_dirs[0], 64 * KIB);
	struct peer drain;
	vpipe_t *vp;
	char buf[1000];
	int sv[2], keep;

	(void)state;
	pair_tcp(sv);
	keep = fcntl(sv[0], F_DUPFD_CLOEXEC, 0);
	assert_true(keep >= 0);
	vp = vpipe_create(file, sv[0]);
	assert_non_null(vp);
	close(file);
	close(sv[0]);
	peer_drain(&drain, sv[1], 64 * KIB, 0, 0);
	for (uint64_t at = 0; at < 64 * KIB;) {
		int64_t n = vpipe_file_to_socket(vp, (int64_t)at, 3000);

		assert_true(n > 0);
		at += (uint64_t)n;
		if (at == 64 * KIB)
			break;
		pattern_fill(buf, sizeof(buf), at);
		n = send(keep, buf, 64 * KIB - at < sizeof(buf) ? 64 * KIB - at : sizeof(buf), 0);
		assert_true(n > 0);
		at += (uint64_t)n;
	}
	close(keep);
	assert_int_equal(vpipe_destroy(vp), 0);
	peer_join(&drain);
	close(sv[1]);
}

/* Returns how many there are, and how many of them survive execve(2). */
static unsigned int count_fds(unsigned int *surviving)
{
	unsigned int count = 0;

	*surviving = 0;
	for (int fd = 3; fd < 1024; fd++) {
		int flags = fcntl(fd, F_GETFD);

		if (flags < 0)
			continue;
		count++;
		if (!(flags & FD_CLOEXEC))
			++*surviving;
	}
	return count;
}

static void test_descriptors(void **state)
{
	unsigned int before, with_handle, surviving_before, surviving;
	int file, sv[2];
	vpipe_t *vp;

	(void)state;
	file = file_make(test_dirs[0], 100);
	pair_tcp(sv);
	before = count_fds(&surviving_before);
	vp = vpipe_create(file, sv[0]);
	assert_non_null(vp);
	with_handle = count_fds(&surviving);
	assert_true(with_handle - before <= 3);
	assert_int_equal(surviving, surviving_before);
	assert_int_equal(vpipe_file_to_socket(vp, 0, 100), 100);
	assert_int_equal(vpipe_file_to_socket_fd(file, sv[0], 0, 100), 100);
	assert_int_equal(count_fds(&surviving), with_handle);
	assert_int_equal(vpipe_destroy(vp), 0);
	assert_int_equal(count_fds(&surviving), before);
	assert_int_equal(vpipe_destroy(NULL), 0);
	close(file);
	close(sv[0]);
	close(sv[1]);
}

/* A child may use and destroy what it inherits; the parent's handle lives on. */
static void test_fork(void **state)
{
	int file = file_make(test_dirs[0], 3000);
	int sv[2], status;
	vpipe_t *vp;
	pid_t child;

	(void)state;
	pair_tcp(sv);
	vp = vpipe_create(file, sv[0]);
	assert_non_null(vp);
	assert_int_equal(vpipe_file_to_socket(vp, 0, 1000), 1000);
	child = fork();
	assert_true(child >= 0);
	if (!child)
		_exit(vpipe_file_to_socket(vp, 1000, 1000) != 1000 || vpipe_destroy(vp));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(vpipe_file_to_socket(vp, 2000, 1000), 1000);
	assert_int_equal(vpipe_destroy(vp), 0);
	close(sv[0]);
	socket_expect_rest(sv[1], 3000, 0);
	close(sv[1]);
	close(file);
}

/* sendfile(2) stops at 0x7ffff000 bytes; we do not. */
static void *drain_large(void *arg)
{
	struct peer *p = arg;
	static char buf[1 * MIB];
	ssize_t n;

	while (p->length > 1) {
		n = recv(p->fd, buf, p->length - 1 < sizeof(buf) ? p->length - 1 : sizeof(buf),
			 MSG_TRUNC);
		if (n <= 0)
			return NULL;
		p->length -= (uint64_t)n;
	}
	p->ok = recv(p->fd, buf, 2, 0) == 1 && buf[0] == 'z' && recv(p->fd, buf, 1, 0) == 0;
	return NULL;
}

static void test_file_to_socket_beyond_2g(void **state)
{
	const uint64_t size = 2 * GIB + 4099, offset = 5;
	int file = file_make(test_dirs[0], 0);
	struct peer drain;
	int sv[2];

	(void)state;
	assert_int_equal(pwrite(file, "z", 1, (off_t)(offset + size - 1)), 1);
	pair_tcp(sv);
	drain = (struct peer){ .fd = sv[1], .length = size };
	assert_int_equal(pthread_create(&drain.thread, NULL, drain_large, &drain), 0);
	assert_int_equal(vpipe_file_to_socket_fd(file, sv[0], offset, INT64_MAX - offset), size);
	close(sv[0]);
	peer_join(&drain);
	close(sv[1]);
	close(file);
}

/* Files that say they are empty: not so, and not behind the end either. */
static void test_proc(void **state)
{
	int in = open("/proc/filesystems", O_RDONLY | O_CLOEXEC);
	char expected[16 * KIB], got[16 * KIB];
	int64_t size;
	int sv[2];

	(void)state;
	assert_true(in >= 0);
	size = read(in, expected, sizeof(expected));
	assert_true(size > 100);
	for_each(dir, TEST_DIRS) {
		int out = file_make(test_dirs[dir], 0);

		assert_int_equal(vpipe_file_to_file_fd(in, out, 0, 1 * MIB, 0), size);
		assert_int_equal(pread(out, got, sizeof(got), 0), size);
		assert_memory_equal(got, expected, (size_t)size);
		close(out);
	}
	for_each(pair, TEST_PAIRS) {
		test_pairs[pair](sv);
		assert_int_equal(vpipe_file_to_socket_fd(in, sv[0], 10, 1 * MIB), size - 10);
		assert_int_equal(recv(sv[1], got, (size_t)size - 10, MSG_WAITALL), size - 10);
		assert_memory_equal(got, expected + 10, (size_t)size - 10);
		close(sv[0]);
		close(sv[1]);
	}
	close(in);
}

static void test_char_devices(void **state)
{
	int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	int sv[2];

	(void)state;
	assert_int_equal(vpipe_file_to_file_fd(zero, null, 7, MIB + 1, 9), MIB + 1);
	pair_unix(sv);
	assert_int_equal(vpipe_file_to_socket_fd(zero, sv[0], 0, 1000), 1000);
	assert_int_equal(vpipe_socket_to_file_fd(sv[1], null, 0, 1000), 1000);
	close(sv[0]);
	close(sv[1]);
	close(zero);
	close(null);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_file_to_socket),
		cmocka_unit_test(test_file_to_socket_short),
		cmocka_unit_test(test_file_to_socket_beyond_2g),
		cmocka_unit_test(test_socket_to_file),
		cmocka_unit_test(test_socket_to_file_short),
		cmocka_unit_test(test_file_to_file),
		cmocka_unit_test(test_file_to_itself),
		cmocka_unit_test(test_file_to_file_beyond_4g),
		cmocka_unit_test(test_socket_to_socket),
		cmocka_unit_test(test_handle_reused),
		cmocka_unit_test(test_descriptors),
		cmocka_unit_test(test_fork),
		cmocka_unit_test(test_proc),
		cmocka_unit_test(test_char_devices),
	};

	return cmocka_run_group_tests_name("libvpipe_move", tests, NULL, NULL);
}
