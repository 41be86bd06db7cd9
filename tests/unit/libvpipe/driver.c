// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "driver.h"

struct driver driver;

int driver_setup(void **state)
{
	(void)state;
	memset(&driver, 0, sizeof(driver));
	pthread_mutex_init(&driver.lock, NULL);
	driver.limit = UINT64_MAX;
	return 0;
}

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list ap;

	if (flags & (O_CREAT | __O_TMPFILE)) {
		va_start(ap, flags);
		mode = va_arg(ap, mode_t);
		va_end(ap);
	}
	if (strcmp(path, VPIPE_DEVICE))
		return __real_open64(path, flags, mode);
	assert_int_equal(flags, O_RDWR | O_CLOEXEC);
	driver.opens++;
	if (driver.open_error) {
		errno = driver.open_error;
		return -1;
	}
	return __real_open64("/dev/null", flags);
}

bool driver_is_socket(uint32_t kind, bool in)
{
	return kind == VPIPE_KIND_SOCKET_TO_SOCKET ||
	       kind == (in ? VPIPE_KIND_SOCKET_TO_FILE : VPIPE_KIND_FILE_TO_SOCKET);
}

/* As the driver does: whole blocks of the sink's file, and why it stopped. */
static void driver_move_blocks(const struct vpipe_ioc_transfer *t, struct vpipe_result *r)
{
	bool socket = driver_is_socket(t->kind, true);
	size_t block = (size_t)driver.block;
	char *buf = malloc(block);
	ssize_t n;

	assert_non_null(buf);
	while (r->moved < t->length && r->moved < driver.limit) {
		r->status = VPIPE_STATUS_DECLINED;
		r->reason = VPIPE_REASON_ALIGNMENT;
		if (t->length - r->moved < block || t->out_offset % driver.block ||
		    (!socket && (t->in_offset - t->out_offset) % driver.block))
			break;
		n = socket ? recv(t->in_fd, buf, block, MSG_PEEK | MSG_WAITALL) :
			     pread(t->in_fd, buf, block, t->in_offset + (int64_t)r->moved);
		assert_true(n >= 0);
		if (n > 0 && n < driver.block)
			break;
		r->status = VPIPE_STATUS_DONE;
		r->reason = VPIPE_REASON_NONE;
		if (!n)
			break;
		if (socket)
			assert_int_equal(recv(t->in_fd, buf, (size_t)n, 0), n);
		assert_int_equal(pwrite(t->out_fd, buf, (size_t)n,
					t->out_offset + (int64_t)r->moved), n);
		r->moved += (uint64_t)n;
	}
	free(buf);
	if (r->moved >= driver.limit) {
		r->status = driver.status;
		r->reason = driver.reason;
		r->error = driver.error;
	}
}

static uint64_t driver_move(const struct vpipe_ioc_transfer *t)
{
	uint64_t len = t->length < driver.limit ? t->length : driver.limit;
	char *buf = malloc(len + 1);
	ssize_t n, done;

	assert_non_null(buf);
	n = driver_is_socket(t->kind, true) ? recv(t->in_fd, buf, len, MSG_WAITALL) :
					      pread(t->in_fd, buf, len, t->in_offset);
	assert_true(n >= 0);
	done = driver_is_socket(t->kind, false) ? send(t->out_fd, buf, (size_t)n, 0) :
						  pwrite(t->out_fd, buf, (size_t)n, t->out_offset);
	assert_int_equal(done, n);
	free(buf);
	return (uint64_t)n;
}

static int driver_create(struct vpipe_ioc_create *create)
{
	assert_int_equal(create->size, sizeof(*create));
	assert_int_equal(create->flags, 0);
	if (driver.create_error) {
		errno = driver.create_error;
		return -1;
	}
	if (driver.slow_create)
		usleep(1000);
	assert_true(driver.creates + 1 < sizeof(driver.handles) / sizeof(driver.handles[0]));
	create->handle = ++driver.creates;
	driver.handles[create->handle] = *create;
	return 0;
}

static int driver_transfer(struct vpipe_ioc_transfer *t)
{
	struct vpipe_ioc_transfer run = *t;

	driver.transfers++;
	driver.last = *t;
	assert_int_equal(t->size, sizeof(*t));
	assert_int_equal(t->flags, 0);
	if (t->handle != VPIPE_NO_HANDLE) {
		assert_int_equal(t->kind, 0);
		assert_int_equal(t->in_fd, -1);
		assert_int_equal(t->out_fd, -1);
		run.kind = driver.handles[t->handle].kind;
		run.in_fd = driver.handles[t->handle].in_fd;
		run.out_fd = driver.handles[t->handle].out_fd;
	}
	if (driver_is_socket(run.kind, true))
		assert_int_equal(t->in_offset, 0);
	if (driver_is_socket(run.kind, false))
		assert_int_equal(t->out_offset, 0);
	if (driver.ioctl_error) {
		errno = driver.ioctl_error;
		return -1;
	}
	if (driver.block && !driver_is_socket(run.kind, false)) {
		t->result = (struct vpipe_result){ 0 };
		driver_move_blocks(&run, &t->result);
		return 0;
	}
	t->result = (struct vpipe_result){
		.moved = driver_move(&run),
		.status = driver.status,
		.reason = driver.reason,
		.error = driver.error,
	};
	if (!driver.signals)
		return 0;
	driver.running = t->result;
	memset(&t->result, 0, sizeof(t->result));
	t->op = RUNNING;
	errno = EINTR;
	return -1;
}

/* Of the one that a signal has come to. */
static int driver_complete(struct vpipe_ioc_complete *c)
{
	assert_int_equal(c->size, sizeof(*c));
	assert_int_equal(c->flags, 0);
	assert_int_equal(c->op, RUNNING);
	if (--driver.signals) {
		errno = EINTR;
		return -1;
	}
	if (driver.complete_error) {
		errno = driver.complete_error;
		return -1;
	}
	c->result = driver.running;
	return 0;
}

static int driver_ioctl(unsigned long request, void *arg)
{
	switch (request) {
	case VPIPE_IOC_INFO:
		if (driver.ioctl_error) {
			errno = driver.ioctl_error;
			return -1;
		}
		memcpy(arg, &driver.info, sizeof(driver.info));
		return 0;
	case VPIPE_IOC_CREATE:
		return driver_create(arg);
	case VPIPE_IOC_DESTROY:
		assert_int_equal(((struct vpipe_ioc_destroy *)arg)->size,
				 sizeof(struct vpipe_ioc_destroy));
		driver.destroys++;
		return 0;
	case VPIPE_IOC_TRANSFER:
		return driver_transfer(arg);
	case VPIPE_IOC_COMPLETE:
		return driver_complete(arg);
	default:
		fail_msg("unexpected ioctl %#lx", request);
		return -1;
	}
}

int __wrap_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
	int ret;

	(void)fd;
	pthread_mutex_lock(&driver.lock);
	ret = driver_ioctl(request, arg);
	pthread_mutex_unlock(&driver.lock);
	return ret;
}

static ssize_t step_answer(void)
{
	errno = driver.step_error;
	return driver.step_error ? -1 : 0;
}

ssize_t __real_sendfile64(int out, int in, off_t *offset, size_t len);
ssize_t __wrap_sendfile64(int out, int in, off_t *offset, size_t len);
ssize_t __wrap_sendfile64(int out, int in, off_t *offset, size_t len)
{
	return driver.step_ordered ? step_answer() : __real_sendfile64(out, in, offset, len);
}

ssize_t __real_copy_file_range(int in, off_t *in_offset, int out, off_t *out_offset,
			       size_t len, unsigned int flags);
ssize_t __wrap_copy_file_range(int in, off_t *in_offset, int out, off_t *out_offset,
			       size_t len, unsigned int flags);
ssize_t __wrap_copy_file_range(int in, off_t *in_offset, int out, off_t *out_offset,
			       size_t len, unsigned int flags)
{
	return driver.step_ordered ? step_answer() :
		__real_copy_file_range(in, in_offset, out, out_offset, len, flags);
}

void expect_info(uint64_t offloaded, uint64_t ordinary, uint32_t reason, int error,
		 int device_error)
{
	struct vpipe_transfer_info info;

	vpipe_last_result(&info, sizeof(info));
	assert_int_equal(info.offloaded, offloaded);
	assert_int_equal(info.ordinary, ordinary);
	assert_int_equal(info.reason, reason);
	assert_int_equal(info.error, error);
	assert_int_equal(info.device_error, device_error);
}
