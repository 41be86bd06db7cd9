// SPDX-License-Identifier: LGPL-2.1-or-later
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "support.h"

static const char *dirs[TEST_DIRS] = { ".", "/dev/shm" };
const char *const *const test_dirs = dirs;
const pair_fn test_pairs[TEST_PAIRS] = { pair_tcp, pair_unix };

__attribute__((constructor)) static void dirs_init(void)
{
	if (getenv("VPIPE_TEST_DIR"))
		dirs[0] = getenv("VPIPE_TEST_DIR");
	if (getenv("VPIPE_TEST_TMPFS"))
		dirs[1] = getenv("VPIPE_TEST_TMPFS");
}

void pattern_fill(void *buf, size_t len, uint64_t position)
{
	uint8_t *byte = buf;
	size_t i;

	for (i = 0; i < len; i++, position++)
		byte[i] = (uint8_t)((position * 0x9e3779b97f4a7c15ULL) >> 56);
}

static bool pattern_match(const void *buf, size_t len, uint64_t position)
{
	static __thread uint8_t expected[64 * KIB];

	assert(len <= sizeof(expected));
	pattern_fill(expected, len, position);
	return !memcmp(buf, expected, len);
}

int file_make(const char *dir, uint64_t size)
{
	char name[4096], buf[64 * KIB];
	uint64_t done;
	size_t step;
	int fd;

	snprintf(name, sizeof(name), "%s/vpipe-test-XXXXXX", dir);
	fd = mkostemp(name, O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(unlink(name), 0);
	for (done = 0; done < size; done += step) {
		step = size - done < sizeof(buf) ? size - done : sizeof(buf);
		pattern_fill(buf, step, done);
		assert_int_equal(pwrite(fd, buf, step, (off_t)done), step);
	}
	return fd;
}

int file_reopen(int fd, int flags)
{
	char name[64];

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	fd = open(name, flags | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

void file_expect(int fd, uint64_t offset, uint64_t len, uint64_t position)
{
	char buf[64 * KIB];
	size_t step;

	for (; len; len -= step, offset += step, position += step) {
		step = len < sizeof(buf) ? len : sizeof(buf);
		assert_int_equal(pread(fd, buf, step, (off_t)offset), step);
		assert_true(pattern_match(buf, step, position));
	}
}

void pair_tcp(int sv[2])
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t len = sizeof(addr);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(listener >= 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&addr, len), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&addr, &len), 0);
	sv[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(sv[0] >= 0);
	assert_int_equal(connect(sv[0], (struct sockaddr *)&addr, len), 0);
	sv[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(sv[1] >= 0);
	close(listener);
}

void pair_unix(int sv[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
}

void set_nonblock(int fd)
{
	assert_int_equal(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK), 0);
}

void set_buffers(int fd, int bytes)
{
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)), 0);
}

void set_timeout(int fd, int option, unsigned int milliseconds)
{
	struct timeval tv = { .tv_usec = milliseconds * 1000 };

	assert_int_equal(setsockopt(fd, SOL_SOCKET, option, &tv, sizeof(tv)), 0);
}

static void *feed_run(void *arg)
{
	struct peer *p = arg;
	char buf[64 * KIB];
	size_t step;
	ssize_t n;

	usleep(p->delay * 1000);
	while (p->length) {
		step = p->length < sizeof(buf) ? p->length : sizeof(buf);
		pattern_fill(buf, step, p->position);
		n = send(p->fd, buf, step, MSG_NOSIGNAL);
		if (n <= 0)
			return NULL;
		p->position += (uint64_t)n;
		p->length -= (uint64_t)n;
	}
	p->ok = !shutdown(p->fd, SHUT_WR);
	return NULL;
}

static void *drain_run(void *arg)
{
	struct peer *p = arg;
	char buf[64 * KIB];
	ssize_t n;

	usleep(p->delay * 1000);
	while ((n = recv(p->fd, buf, sizeof(buf), 0)) > 0) {
		if ((uint64_t)n > p->length || !pattern_match(buf, (size_t)n, p->position))
			return NULL;
		p->position += (uint64_t)n;
		p->length -= (uint64_t)n;
	}
	p->ok = !n && !p->length;
	return NULL;
}

void peer_feed(struct peer *p, int fd, uint64_t length, unsigned int delay)
{
	*p = (struct peer){ .fd = fd, .length = length, .delay = delay };
	assert_int_equal(pthread_create(&p->thread, NULL, feed_run, p), 0);
}

void peer_drain(struct peer *p, int fd, uint64_t length, uint64_t position,
		unsigned int delay)
{
	*p = (struct peer){
		.fd = fd, .length = length, .position = position, .delay = delay,
	};
	assert_int_equal(pthread_create(&p->thread, NULL, drain_run, p), 0);
}

void peer_join(struct peer *p)
{
	assert_int_equal(pthread_join(p->thread, NULL), 0);
	assert_true(p->ok);
}

void socket_expect_rest(int fd, uint64_t len, uint64_t position)
{
	struct peer p = { .fd = fd, .length = len, .position = position };

	drain_run(&p);
	assert_true(p.ok);
}

void result_expect(uint64_t moved, int error)
{
	struct vpipe_transfer_info info;

	vpipe_last_result(&info, sizeof(info));
	assert_int_equal(info.offloaded + info.ordinary, moved);
	assert_int_equal(info.error, error);
	assert_int_equal(info.reserved, 0);
}
