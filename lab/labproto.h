/* SPDX-License-Identifier: MIT */
/*
 * What labd speaks on its stream, in both directions: frames of a header and
 * at most LAB_DATA_MAX bytes. A channel is one command; its number is chosen
 * by the caller. Little endian, as everybody here is.
 */
#ifndef LABPROTO_H
#define LABPROTO_H

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#define LAB_PORT 4711
#define LAB_DATA_MAX 32768

enum lab_type {
	LAB_RUN = 1,	/* -> command for sh -c */
	LAB_STDIN,	/* -> bytes for it; none: end of file */
	LAB_KILL,	/* -> kill its process group */
	LAB_STDOUT,	/* <- bytes */
	LAB_STDERR,	/* <- bytes */
	LAB_EXIT,	/* <- uint32_t status as in a shell; the channel is free */
};

struct lab_header {
	uint32_t chan;
	uint16_t type;
	uint16_t len;
};

struct lab_frame {
	struct lab_header h;
	char data[LAB_DATA_MAX];
};

static inline int lab_write(int fd, const void *buf, size_t len)
{
	const char *p = buf;

	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		p += n;
		len -= n;
	}
	return 0;
}

/* One write a frame, so that several processes may share a socket. */
static inline int lab_send(int fd, uint32_t chan, enum lab_type type,
			   const void *data, size_t len)
{
	struct lab_frame f = {
		.h = { .chan = chan, .type = type, .len = len },
	};

	memcpy(f.data, data, len);
	return lab_write(fd, &f, sizeof(f.h) + len);
}

#endif
