// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A socket source is looked at first (MSG_PEEK), then the sink gets the bytes, and
 * only those it took are removed from the socket.  So a full disk or a broken sink
 * loses nothing, and there is no buffer in which bytes could be left behind.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "internal.h"

/* Returns the bytes that can be seen, 0 at the end, or a negative errno. */
static ssize_t socket_peek(const struct vpipe_move *m, void *buf)
{
	ssize_t n;
	int err;

	for (;;) {
		n = recv(m->in_fd, buf, vpipe_fallback_room(m), MSG_PEEK);
		if (n >= 0)
			return n;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		err = vpipe_fallback_wait(m->in_fd, POLLIN);
		if (err)
			return -err;
	}
}

/*
 * Remove bytes that have been peeked at.  They are there, so this does not wait; with
 * MSG_TRUNC, TCP does not even copy them.
 */
static int socket_discard(const struct vpipe_move *m, void *buf, size_t len)
{
	ssize_t n;

	while (len) {
		n = recv(m->in_fd, buf, len, MSG_DONTWAIT | MSG_TRUNC);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno;
		if (n == 0)
			return EIO;
		len -= (size_t)n;
	}
	return 0;
}

int vpipe_fallback_from_socket(struct vpipe_move *m)
{
	void *buf = vpipe_fallback_buffer();
	ssize_t n;
	int err = 0;

	if (!buf)
		return ENOMEM;
	while (m->length && !err) {
		n = socket_peek(m, buf);
		if (n > 0)
			n = vpipe_fallback_put(m, buf, (size_t)n);
		if (n < 0)
			err = (int)-n;
		if (n <= 0)
			break;
		vpipe_move_advance(m, (uint64_t)n);
		err = socket_discard(m, buf, (size_t)n);
	}
	free(buf);
	return err;
}
