// SPDX-License-Identifier: GPL-2.0
/*
 * vpipectl: who may change a domain's device just now
 *
 * A byte of a file stands for each domain, and one for the daemon: a lock on it goes
 * with the process, however that ends.  So whoever has a domain's lock and finds its
 * device half made knows that nobody is at work on it any more.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "vpipectl.h"

#define LOCK_FILE	"/run/vpipectl.lock"

static int lock_fd = -1;

static bool lock_set(int command, short type, unsigned int what)
{
	struct flock range = {
		.l_type = type, .l_whence = SEEK_SET, .l_start = what, .l_len = 1,
	};

	if (lock_fd < 0)
		lock_fd = open(LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	return lock_fd >= 0 && !fcntl(lock_fd, command, &range);
}

/* Waits until nobody else has it, or a signal comes */
enum result lock_take(unsigned int what)
{
	if (lock_set(F_OFD_SETLKW, F_WRLCK, what))
		return OK;
	if (errno == EINTR)
		complain("interrupted");
	else
		complain("cannot lock %s: %s", LOCK_FILE, strerror(errno));
	return FAILED;
}

/* Without waiting; false: somebody has it, or (errno is not EAGAIN) it cannot be */
bool lock_try(unsigned int what)
{
	return lock_set(F_OFD_SETLK, F_WRLCK, what);
}

void lock_give(unsigned int what)
{
	lock_set(F_OFD_SETLK, F_UNLCK, what);
}
