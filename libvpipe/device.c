// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "internal.h"

int vpipe_device_open(void)
{
	int fd;

	do
		fd = open(VPIPE_DEVICE, O_RDWR | O_CLOEXEC);
	while (fd < 0 && errno == EINTR);
	return fd < 0 ? -errno : fd;
}

/* The driver's handle for one kind of transfer of `vp`, or VPIPE_NO_HANDLE and errno. */
static uint32_t device_handle(struct vpipe *vp, enum vpipe_kind kind)
{
	struct vpipe_ioc_create create = {
		.size = sizeof(create),
		.kind = kind,
		.in_fd = vp->in_fd,
		.out_fd = vp->out_fd,
	};
	struct vpipe_ioc_destroy destroy = { .size = sizeof(destroy) };
	uint32_t handle = atomic_load(&vp->handles[kind]);

	if (handle != VPIPE_NO_HANDLE)
		return handle;
	if (ioctl(vp->device, VPIPE_IOC_CREATE, &create))
		return VPIPE_NO_HANDLE;
	if (atomic_compare_exchange_strong(&vp->handles[kind], &handle, create.handle))
		return create.handle;
	/* Another thread was first. */
	destroy.handle = create.handle;
	ioctl(vp->device, VPIPE_IOC_DESTROY, &destroy);
	return handle;
}

/* Returns 0 or the errno of the device. */
static int device_info(int device, struct vpipe_ioc_info *info)
{
	*info = (struct vpipe_ioc_info){ .size = sizeof(*info) };
	return ioctl(device, VPIPE_IOC_INFO, info) ? errno : 0;
}

bool vpipe_device_offers(int device, enum vpipe_kind kind)
{
	struct vpipe_ioc_info info;

	return !device_info(device, &info) && info.connected && info.kinds & 1U << kind;
}

/*
 * Waits for the end of an operation, whatever signals come.  When that cannot be known it
 * has failed: bytes may have moved, and must not do so again.
 */
static void device_complete(int device, uint64_t op, struct vpipe_result *result)
{
	struct vpipe_ioc_complete c = { .size = sizeof(c), .op = op };

	while (ioctl(device, VPIPE_IOC_COMPLETE, &c)) {
		if (errno == EINTR)
			continue;
		c.result = (struct vpipe_result){
			.status = VPIPE_STATUS_FAILED,
			.error = (uint32_t)errno,
		};
		break;
	}
	*result = c.result;
}

/* Returns 0 or the errno of the device. */
static int device_transfer(const struct vpipe_move *m, struct vpipe *vp, int device,
			   struct vpipe_result *result)
{
	struct vpipe_ioc_transfer t = {
		.size = sizeof(t),
		.handle = VPIPE_NO_HANDLE,
		.kind = m->kind,
		.in_fd = m->in_fd,
		.out_fd = m->out_fd,
		.in_offset = m->in_offset,
		.out_offset = m->out_offset,
		.length = m->length,
	};

	if (vp) {
		t.handle = device_handle(vp, m->kind);
		if (t.handle == VPIPE_NO_HANDLE)
			return errno;
		t.kind = 0;
		t.in_fd = -1;
		t.out_fd = -1;
	}
	if (!ioctl(device, VPIPE_IOC_TRANSFER, &t)) {
		*result = t.result;
		return 0;
	}
	if (errno != EINTR || !t.op)
		return errno;
	device_complete(device, t.op, result);
	return 0;
}

bool vpipe_device_offload(struct vpipe_move *m, struct vpipe *vp, int device,
			  struct vpipe_transfer_info *info, int *error)
{
	struct vpipe_result result = { 0 };
	int err = device_transfer(m, vp, device, &result);

	/* Nothing has moved, and our own checks have found no fault of the caller. */
	if (err) {
		info->reason = VPIPE_DECLINED_NO_DEVICE;
		info->device_error = err;
		return false;
	}

	vpipe_move_advance(m, result.moved);
	info->offloaded = result.moved;
	switch (result.status) {
	case VPIPE_STATUS_DONE:
		*error = 0;
		return true;
	case VPIPE_STATUS_DECLINED:
		info->reason = result.reason;
		info->device_error = (int)result.error;
		return false;
	default:
		*error = result.error ? (int)result.error : EIO;
		/* As sendfile(2) does. */
		if (*error == EPIPE)
			raise(SIGPIPE);
		return true;
	}
}

int vpipe_info(struct vpipe_info *info, size_t size)
{
	struct vpipe_ioc_info ioc;
	struct vpipe_info out;
	int device = vpipe_device_open();
	int err;

	if (device < 0) {
		errno = -device;
		return -1;
	}
	err = device_info(device, &ioc);
	close(device);
	if (err) {
		errno = err;
		return -1;
	}
	out = (struct vpipe_info){
		.abi_version = ioc.abi_version,
		.connected = ioc.connected,
		.kinds = ioc.kinds,
		.max_ops = ioc.max_ops,
		.ops_done = ioc.ops_done,
		.ops_declined = ioc.ops_declined,
		.bytes = ioc.bytes,
	};
	vpipe_result_copy(info, size, &out, sizeof(out));
	return 0;
}

unsigned int vpipe_available(void)
{
	struct vpipe_info info;

	if (vpipe_info(&info, sizeof(info)) || !info.connected)
		return 0;
	return info.kinds;
}
