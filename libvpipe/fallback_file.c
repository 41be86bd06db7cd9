// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "internal.h"

/* No call of Linux moves more at once. */
#define FILE_STEP	0x7ffff000U

/* Let the kernel move some bytes. */
static ssize_t file_step(const struct vpipe_move *m)
{
	size_t len = m->length < FILE_STEP ? (size_t)m->length : FILE_STEP;
	off_t in_offset = m->in_offset;
	off_t out_offset = m->out_offset;

	if (vpipe_move_to_socket(m))
		return sendfile(m->out_fd, m->in_fd, &in_offset, len);
	return copy_file_range(m->in_fd, &in_offset, m->out_fd, &out_offset, len, 0);
}

/* Whether pread and pwrite or send may do what file_step() could not. */
static bool file_step_unsupported(int err)
{
	switch (err) {
	case EINVAL:
	case ENOSYS:
	case EOPNOTSUPP:
	case EXDEV:
	case EPERM:	/* a seccomp filter that does not know the call */
	case ETXTBSY:
		return true;
	default:
		return false;
	}
}

static int file_copy(struct vpipe_move *m)
{
	char *buf = vpipe_fallback_buffer();
	ssize_t n, done, put;
	int err = 0;

	if (!buf)
		return ENOMEM;
	while (m->length) {
		n = pread(m->in_fd, buf, vpipe_fallback_room(m), m->in_offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			err = errno;
		if (n <= 0)
			break;
		for (done = 0; done < n; done += put) {
			put = vpipe_fallback_put(m, buf + done, (size_t)(n - done));
			if (put < 0) {
				err = (int)-put;
				goto free_buf;
			}
			vpipe_move_advance(m, (uint64_t)put);
		}
	}
free_buf:
	free(buf);
	return err;
}

int vpipe_fallback_from_file(struct vpipe_move *m)
{
	ssize_t n;
	int err;

	/*
	 * XFS might have both files share what is left, be it a part of a block: then
	 * neither could be a source for the driver domain any more.
	 */
	if (m->moved && !vpipe_move_to_socket(m))
		return file_copy(m);
	while (m->length) {
		n = file_step(m);
		if (n > 0) {
			vpipe_move_advance(m, (uint64_t)n);
		} else if (n == 0) {
			/* Some file systems move 0 bytes of files that are not at their end. */
			if (vpipe_check_at_end(m->in_fd, m->in_offset))
				return 0;
			return file_copy(m);
		} else if (errno == EAGAIN && vpipe_move_to_socket(m)) {
			err = vpipe_fallback_wait(m->out_fd, POLLOUT);
			if (err)
				return err;
		} else if (file_step_unsupported(errno)) {
			return file_copy(m);
		} else if (errno != EINTR) {
			return errno;
		}
	}
	return 0;
}
