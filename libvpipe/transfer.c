// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "internal.h"

/* As vpipe_device_offload(). */
static bool transfer_offload(struct vpipe_move *m, struct vpipe *vp, int device,
			     struct vpipe_transfer_info *info, int *error)
{
	uint64_t head = vpipe_head_length(m);

	if (head && vpipe_device_offers(device, m->kind)) {
		info->reason = VPIPE_DECLINED_ALIGNMENT;
		if (vpipe_head_run(m, head, error))
			return true;
	}
	return vpipe_device_offload(m, vp, device, info, error);
}

static int transfer_move(struct vpipe_move *m, struct vpipe *vp,
			 struct vpipe_transfer_info *info)
{
	/*
	 * Of a file and a connection the driver checks the same, before anything moves, and
	 * the calls for it are a tenth of a short transfer: only what it does not take is
	 * looked at here.
	 */
	bool check_later = m->kind == VPIPE_KIND_FILE_TO_SOCKET && m->length;
	int err = check_later ? 0 : vpipe_check_move(m);
	bool ended = false;
	int device;

	if (err || !m->length)
		return err;
	device = vp ? vp->device : vpipe_device_open();
	if (device < 0) {
		info->reason = VPIPE_DECLINED_NO_DEVICE;
		info->device_error = -device;
	} else {
		ended = transfer_offload(m, vp, device, info, &err);
		if (!vp)
			close(device);
	}
	if (check_later && !m->moved && !err) {
		err = vpipe_check_move(m);
		if (err) {
			*info = (struct vpipe_transfer_info){ 0 };
			return err;
		}
	}
	return ended ? err : vpipe_fallback_run(m);
}

static int64_t transfer_run(struct vpipe_move *m, struct vpipe *vp)
{
	struct vpipe_transfer_info info = { 0 };
	int cancel;

	/* Cancelled between "sent" and "taken", bytes would be seen twice. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	info.error = transfer_move(m, vp, &info);
	pthread_setcancelstate(cancel, NULL);

	info.ordinary = m->moved - info.offloaded;
	vpipe_result_set(&info);
	if (info.error && !m->moved) {
		errno = info.error;
		return -1;
	}
	return (int64_t)m->moved;
}

static int64_t transfer_handle(struct vpipe *vp, enum vpipe_kind kind, int64_t in_offset,
			       uint64_t length, int64_t out_offset)
{
	struct vpipe_move m = {
		.kind = kind,
		.in_offset = in_offset,
		.out_offset = out_offset,
		.length = length,
	};

	if (!vp) {
		errno = EINVAL;
		return -1;
	}
	m.in_fd = vp->in_fd;
	m.out_fd = vp->out_fd;
	return transfer_run(&m, vp);
}

static int64_t transfer_fd(int in_fd, int out_fd, enum vpipe_kind kind, int64_t in_offset,
			   uint64_t length, int64_t out_offset)
{
	struct vpipe_move m = {
		.kind = kind,
		.in_fd = in_fd,
		.out_fd = out_fd,
		.in_offset = in_offset,
		.out_offset = out_offset,
		.length = length,
	};

	return transfer_run(&m, NULL);
}

int64_t vpipe_file_to_socket(vpipe_t *vp, int64_t offset, uint64_t length)
{
	return transfer_handle(vp, VPIPE_KIND_FILE_TO_SOCKET, offset, length, 0);
}

int64_t vpipe_socket_to_file(vpipe_t *vp, int64_t offset, uint64_t length)
{
	return transfer_handle(vp, VPIPE_KIND_SOCKET_TO_FILE, 0, length, offset);
}

int64_t vpipe_file_to_file(vpipe_t *vp, int64_t in_offset, uint64_t length,
			   int64_t out_offset)
{
	return transfer_handle(vp, VPIPE_KIND_FILE_TO_FILE, in_offset, length, out_offset);
}

int64_t vpipe_socket_to_socket(vpipe_t *vp, uint64_t length)
{
	return transfer_handle(vp, VPIPE_KIND_SOCKET_TO_SOCKET, 0, length, 0);
}

int64_t vpipe_file_to_socket_fd(int in_fd, int out_fd, int64_t offset, uint64_t length)
{
	return transfer_fd(in_fd, out_fd, VPIPE_KIND_FILE_TO_SOCKET, offset, length, 0);
}

int64_t vpipe_socket_to_file_fd(int in_fd, int out_fd, int64_t offset, uint64_t length)
{
	return transfer_fd(in_fd, out_fd, VPIPE_KIND_SOCKET_TO_FILE, 0, length, offset);
}

int64_t vpipe_file_to_file_fd(int in_fd, int out_fd, int64_t in_offset, uint64_t length,
			      int64_t out_offset)
{
	return transfer_fd(in_fd, out_fd, VPIPE_KIND_FILE_TO_FILE, in_offset, length,
			   out_offset);
}

int64_t vpipe_socket_to_socket_fd(int in_fd, int out_fd, uint64_t length)
{
	return transfer_fd(in_fd, out_fd, VPIPE_KIND_SOCKET_TO_SOCKET, 0, length, 0);
}
