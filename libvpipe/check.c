// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "internal.h"

/* `refused` is the access mode that will not do. */
static int check_access(int fd, int refused)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return errno;
	/* Access mode 3 is open for ioctl(2) only. */
	if (flags & O_PATH || (flags & O_ACCMODE) == refused ||
	    (flags & O_ACCMODE) == O_ACCMODE)
		return EBADF;
	return 0;
}

int vpipe_check_descriptors(int in_fd, int out_fd)
{
	int err = check_access(in_fd, O_WRONLY);

	return err ? err : check_access(out_fd, O_RDONLY);
}

bool vpipe_check_at_end(int fd, int64_t offset)
{
	char c;

	return pread(fd, &c, 1, offset) == 0;
}

static int check_file(int fd, struct stat *st)
{
	if (fstat(fd, st))
		return errno;
	if (S_ISDIR(st->st_mode))
		return EISDIR;
	if (S_ISFIFO(st->st_mode) || S_ISSOCK(st->st_mode))
		return ESPIPE;
	return 0;
}

static int check_socket(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLRDHUP };
	struct sockaddr_storage peer;
	int type;
	socklen_t len = sizeof(type);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len))
		return errno;
	if (type != SOCK_STREAM)
		return EPROTOTYPE;
	len = sizeof(peer);
	if (!getpeername(fd, (struct sockaddr *)&peer, &len))
		return 0;
	if (errno != ENOTCONN)
		return errno;
	/*
	 * A connection that was reset or closed has no peer either, and the transfer
	 * has to find its ECONNRESET or EPIPE; only one that was never made is not
	 * shut down.
	 */
	if (poll(&pfd, 1, 0) > 0 && pfd.revents & POLLRDHUP)
		return 0;
	return ENOTCONN;
}

static int check_peek(int fd)
{
	int offset = -1;
	socklen_t len = sizeof(offset);

	if (getsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &offset, &len) || offset < 0)
		return 0;
	return EINVAL;
}

static int check_append(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return errno;
	return flags & O_APPEND ? EINVAL : 0;
}

static bool check_same_file(const struct stat *a, const struct stat *b)
{
	if (S_ISBLK(a->st_mode) && S_ISBLK(b->st_mode))
		return a->st_rdev == b->st_rdev;
	return S_ISREG(a->st_mode) && a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/*
 * Within one file the source ends where it ends now, not where the copy makes it
 * grow to, and the ranges may not overlap, as for copy_file_range(2).
 */
static int check_overlap(struct vpipe_move *m, const struct stat *in,
			 const struct stat *out)
{
	uint64_t gap;

	if (!check_same_file(in, out))
		return 0;
	if (S_ISREG(in->st_mode)) {
		uint64_t rest = (uint64_t)(in->st_size - m->in_offset);

		if (m->length > rest)
			m->length = rest;
	}
	gap = (uint64_t)(m->in_offset < m->out_offset ? m->out_offset - m->in_offset :
							m->in_offset - m->out_offset);
	return gap < m->length ? EINVAL : 0;
}

int vpipe_check_move(struct vpipe_move *m)
{
	struct stat in = { 0 }, out = { 0 };
	int err;

	err = vpipe_check_descriptors(m->in_fd, m->out_fd);
	if (err)
		return err;
	err = vpipe_move_from_socket(m) ? check_socket(m->in_fd) : check_file(m->in_fd, &in);
	if (err)
		return err;
	err = vpipe_move_to_socket(m) ? check_socket(m->out_fd) : check_file(m->out_fd, &out);
	if (err)
		return err;
	if (m->in_offset < 0 || m->out_offset < 0)
		return EINVAL;
	if (m->length > (uint64_t)(INT64_MAX - m->in_offset) ||
	    m->length > (uint64_t)(INT64_MAX - m->out_offset))
		return EOVERFLOW;
	err = vpipe_move_from_socket(m) ? check_peek(m->in_fd) : 0;
	if (err)
		return err;
	err = vpipe_move_to_socket(m) ? 0 : check_append(m->out_fd);
	if (err)
		return err;
	/* Files of /proc say they are empty, and are not. */
	if (S_ISREG(in.st_mode) && m->in_offset > in.st_size &&
	    vpipe_check_at_end(m->in_fd, m->in_offset))
		return ENXIO;
	return m->kind == VPIPE_KIND_FILE_TO_FILE ? check_overlap(m, &in, &out) : 0;
}
