// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "internal.h"

#define FALLBACK_BUFFER	(128U << 10)
#define FALLBACK_ALIGN	4096U	/* for O_DIRECT files */

void *vpipe_fallback_buffer(void)
{
	return aligned_alloc(FALLBACK_ALIGN, FALLBACK_BUFFER);
}

size_t vpipe_fallback_room(const struct vpipe_move *m)
{
	return m->length < FALLBACK_BUFFER ? (size_t)m->length : FALLBACK_BUFFER;
}

int vpipe_fallback_wait(int fd, short events)
{
	struct pollfd pfd = { .fd = fd, .events = events };
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return errno;
	/* A blocking socket says EAGAIN when SO_RCVTIMEO or SO_SNDTIMEO is over. */
	if (!(flags & O_NONBLOCK))
		return EAGAIN;
	while (poll(&pfd, 1, -1) < 0)
		if (errno != EINTR)
			return errno;
	/* An unread error queue (timestamps) ends each poll at once: do not spin. */
	if (pfd.revents == POLLERR)
		poll(NULL, 0, 1);
	return 0;
}

ssize_t vpipe_fallback_put(const struct vpipe_move *m, const void *buf, size_t len)
{
	bool to_socket = vpipe_move_to_socket(m);
	ssize_t n;
	int err;

	for (;;) {
		n = to_socket ? send(m->out_fd, buf, len, 0) :
				pwrite(m->out_fd, buf, len, m->out_offset);
		if (n > 0)
			return n;
		if (n == 0)
			return -EIO;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN || !to_socket)
			return -errno;
		err = vpipe_fallback_wait(m->out_fd, POLLOUT);
		if (err)
			return -err;
	}
}

int vpipe_fallback_run(struct vpipe_move *m)
{
	return vpipe_move_from_socket(m) ? vpipe_fallback_from_socket(m) :
					   vpipe_fallback_from_file(m);
}
