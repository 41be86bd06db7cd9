// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "ordinary.h"

#define STEP_MAX	0x7ffff000	/* what one call moves at most, on Linux */

static const char *const call_names[] = { "read", "sendfile", "splice", "copy_file_range" };

bool option_call(const char *s, enum call *call)
{
	for (*call = 0; *call < N_CALLS; (*call)++)
		if (!strcmp(s, call_names[*call]))
			return true;
	fprintf(stderr, "%s: no such call: '%s'\n", program_invocation_short_name, s);
	return false;
}

const char *call_name(enum call call)
{
	return call_names[call];
}

static size_t step_length(uint64_t left, size_t most)
{
	return left < most ? (size_t)left : most;
}

static int write_all(int out, const char *buf, size_t len, uint64_t *moved)
{
	while (len) {
		ssize_t n = write(out, buf, len);

		if (n < 0 && errno != EINTR)
			return errno;
		if (n > 0) {
			buf += n;
			len -= (size_t)n;
			*moved += (uint64_t)n;
		}
	}
	return 0;
}

static int move_read_write(int in, int out, uint64_t most, size_t buffer, uint64_t *moved)
{
	char *buf = malloc(buffer);
	ssize_t n = 1;
	int err = 0;

	if (!buf)
		return ENOMEM;
	while (*moved < most && n && !err) {
		n = read(in, buf, step_length(most - *moved, buffer));
		if (n > 0)
			err = write_all(out, buf, (size_t)n, moved);
		else if (n < 0 && errno != EINTR)
			err = errno;
	}
	free(buf);
	return err;
}

static ssize_t move_once(enum call call, int in, int out, size_t len)
{
	return call == CALL_SENDFILE ? sendfile(out, in, NULL, len) :
				       copy_file_range(in, NULL, out, NULL, len, 0);
}

static int move_at_once(enum call call, int in, int out, uint64_t most, uint64_t *moved)
{
	while (*moved < most) {
		ssize_t n = move_once(call, in, out, step_length(most - *moved, STEP_MAX));

		if (!n)
			return 0;
		if (n > 0)
			*moved += (uint64_t)n;
		else if (errno != EINTR)
			return errno;
	}
	return 0;
}

/* All that the pipe holds. */
static int drain(int from, int out, size_t len, uint64_t *moved)
{
	while (len) {
		ssize_t n = splice(from, NULL, out, NULL, len, SPLICE_F_MOVE);

		if (!n)
			return EIO;
		if (n > 0) {
			len -= (size_t)n;
			*moved += (uint64_t)n;
		} else if (errno != EINTR) {
			return errno;
		}
	}
	return 0;
}

static int move_splice(int in, int out, uint64_t most, size_t buffer, uint64_t *moved)
{
	ssize_t n = 1;
	int fds[2], err = 0;

	if (pipe2(fds, O_CLOEXEC))
		return errno;
	if (fcntl(fds[1], F_SETPIPE_SZ, (int)buffer) < 0)
		err = errno;
	while (*moved < most && n && !err) {
		n = splice(in, NULL, fds[1], NULL, step_length(most - *moved, buffer),
			   SPLICE_F_MOVE);
		if (n > 0)
			err = drain(fds[0], out, (size_t)n, moved);
		else if (n < 0 && errno != EINTR)
			err = errno;
	}
	close(fds[0]);
	close(fds[1]);
	return err;
}

int ordinary_move(enum call call, int in, int out, uint64_t most, size_t buffer,
		  uint64_t *moved)
{
	*moved = 0;
	switch (call) {
	case CALL_READ_WRITE:
		return move_read_write(in, out, most, buffer, moved);
	case CALL_SPLICE:
		return move_splice(in, out, most, buffer, moved);
	default:
		return move_at_once(call, in, out, most, moved);
	}
}
