/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the tests of libvpipe share.  Each byte of a source is a function of its
 * position, so that a byte lost, doubled or moved is seen.  All helpers fail the
 * running test when they cannot do their work.
 */
#ifndef TEST_SUPPORT_H
#define TEST_SUPPORT_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "vpipe.h"

#define KIB	1024ULL
#define MIB	(1024 * KIB)
#define GIB	(1024 * MIB)

void pattern_fill(void *buf, size_t len, uint64_t position);

/* Folders on two file systems; VPIPE_TEST_DIR and VPIPE_TEST_TMPFS choose others. */
extern const char *const *const test_dirs;
#define TEST_DIRS	2

/* An open file without a name, with the pattern from position 0. */
int file_make(const char *dir, uint64_t size);
/* A descriptor of the same file with other flags. */
int file_reopen(int fd, int flags);
/* The file holds `len` bytes at `offset` that are the pattern from `position`. */
void file_expect(int fd, uint64_t offset, uint64_t len, uint64_t position);

/* Two connected sockets. */
typedef void (*pair_fn)(int sv[2]);
void pair_tcp(int sv[2]);
void pair_unix(int sv[2]);
extern const pair_fn test_pairs[];
#define TEST_PAIRS	2

void set_nonblock(int fd);
void set_buffers(int fd, int bytes);
void set_timeout(int fd, int option, unsigned int milliseconds);

/* A thread at the far end of a socket. */
struct peer {
	pthread_t thread;
	int fd;
	uint64_t position;	/* of the first byte */
	uint64_t length;
	unsigned int delay;	/* milliseconds before it starts */
	bool ok;
};

/* Send `length` bytes, then shut down the sending side. */
void peer_feed(struct peer *p, int fd, uint64_t length, unsigned int delay);
/* Receive until end of stream: exactly `length` bytes. */
void peer_drain(struct peer *p, int fd, uint64_t length, uint64_t position,
		unsigned int delay);
void peer_join(struct peer *p);

/* What is left in a socket is exactly `len` bytes of the pattern, then the end. */
void socket_expect_rest(int fd, uint64_t len, uint64_t position);

/* The last transfer of this thread moved so many bytes and ended like that. */
void result_expect(uint64_t moved, int error);

#define assert_fails(call, expected) do {				\
	errno = 0;							\
	assert_int_equal((call), -1);					\
	assert_int_equal(errno, (expected));				\
} while (0)

#endif
