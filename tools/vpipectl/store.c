// SPDX-License-Identifier: GPL-2.0
/* vpipectl: xenstore */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "vpipectl.h"

#define PATH_LEN (DEVICE_PATH_MAX + 64)

static struct xs_handle *xs;

enum result store_open(void)
{
	xs = xs_open(0);
	if (xs)
		return OK;
	complain("cannot reach xenstore: %s; is xenstored running?", strerror(errno));
	return FAILED;
}

void store_close(void)
{
	if (xs)
		xs_close(xs);
}

bool store_exists(xs_transaction_t t, const char *path)
{
	char *value = xs_read(xs, t, path, NULL);

	free(value);
	return value || errno != ENOENT;
}

char *store_read(xs_transaction_t t, const char *dir, const char *node)
{
	char path[PATH_LEN];

	snprintf(path, sizeof(path), "%s/%s", dir, node);
	return xs_read(xs, t, path, NULL);
}

/* -1 when there is no such node, or no number in it */
int store_number(xs_transaction_t t, const char *dir, const char *node)
{
	char *value = store_read(t, dir, node), *end;
	long n = -1;

	if (!value)
		return -1;
	n = strtol(value, &end, 10);
	if (end == value || *end || n < 0 || n > INT_MAX)
		n = -1;
	free(value);
	return n;
}

bool store_write(xs_transaction_t t, const char *dir, const char *node,
		 const char *value)
{
	char path[PATH_LEN];

	snprintf(path, sizeof(path), "%s/%s", dir, node);
	return xs_write(xs, t, path, value, strlen(value));
}

/* What is made below inherits the permissions */
bool store_mkdir(xs_transaction_t t, const char *path, unsigned int owner,
		 unsigned int reader)
{
	struct xs_permissions perms[] = {
		{ .id = owner, .perms = XS_PERM_NONE },
		{ .id = reader, .perms = XS_PERM_READ },
	};

	return xs_mkdir(xs, t, path) && xs_set_permissions(xs, t, path, perms, 2);
}

/* Removes path and, when they are empty then, so many directories above it */
bool store_remove(xs_transaction_t t, const char *path, unsigned int parents)
{
	char dir[PATH_LEN];

	if (!xs_rm(xs, t, path) && errno != ENOENT)
		return false;
	snprintf(dir, sizeof(dir), "%s", path);
	while (parents--) {
		unsigned int n = 0;
		char **list;

		*strrchr(dir, '/') = '\0';
		list = xs_directory(xs, t, dir, &n);
		if (!list && errno == ENOENT)
			continue;
		free(list);
		if (!list)
			return false;
		if (n)
			break;
		if (!xs_rm(xs, t, dir) && errno != ENOENT)
			return false;
	}
	return true;
}

char **store_list(xs_transaction_t t, const char *path, unsigned int *n)
{
	char **list;

	*n = 0;
	list = xs_directory(xs, t, path, n);
	if (!list)
		*n = 0;
	return list;
}

/*
 * Runs body in a transaction, again when somebody else wrote what it looked at.
 * What it wrote counts only when it returns OK.
 */
enum result store_transaction(store_body body, void *arg)
{
	for (;;) {
		xs_transaction_t t = xs_transaction_start(xs);
		enum result rc;

		if (t == XBT_NULL) {
			complain("cannot start a xenstore transaction: %s", strerror(errno));
			return FAILED;
		}
		rc = body(t, arg);
		if (xs_transaction_end(xs, t, rc != OK) || rc)
			return rc;
		if (errno != EAGAIN) {
			complain("cannot end a xenstore transaction: %s", strerror(errno));
			return FAILED;
		}
	}
}

/* Monotonic */
long long store_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

/*
 * Waits until test(arg) holds, looking again whenever something at or below one
 * of the paths (a list that ends with NULL) has changed.
 * 0, -ETIMEDOUT, -EINTR or another negative errno.
 */
int store_wait(const char *const *paths, store_test test, void *arg, int seconds)
{
	long long end = store_now_ms() + seconds * 1000LL;
	unsigned int i, n;
	int rc = 0;

	for (n = 0; paths[n]; n++) {
		if (!xs_watch(xs, paths[n], "wait")) {
			rc = -errno;
			goto unwatch;
		}
	}

	while (!test(arg)) {
		struct pollfd pfd = { .fd = xs_fileno(xs), .events = POLLIN };
		long long left = end - store_now_ms();
		char **event;

		if (interrupted) {
			rc = -EINTR;
			break;
		}
		if (left <= 0) {
			rc = -ETIMEDOUT;
			break;
		}
		if (poll(&pfd, 1, left) < 0 && errno != EINTR) {
			rc = -errno;
			break;
		}
		while ((event = xs_check_watch(xs)))
			free(event);
		if (errno != EAGAIN) {
			rc = -errno;
			break;
		}
	}

unwatch:
	for (i = 0; i < n; i++)
		xs_unwatch(xs, paths[i], "wait");
	return rc;
}

/* --- watches that stay ------------------------------------------------------------- */

/* Begins one, which tells of itself at once, or ends it */
bool store_watch(const char *path, const char *token, bool on)
{
	return on ? xs_watch(xs, path, token) : xs_unwatch(xs, path, token);
}

int store_fd(void)
{
	return xs_fileno(xs);
}

/* What has changed, to be freed; NULL: nothing has (EAGAIN), or xenstore is lost */
char *store_event(void)
{
	char **event = xs_check_watch(xs), *path;

	if (!event)
		return NULL;
	path = strdup(event[XS_WATCH_PATH]);
	free(event);
	return path;
}
