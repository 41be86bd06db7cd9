// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "internal.h"

vpipe_t *vpipe_create(int in_fd, int out_fd)
{
	struct vpipe *vp;
	int err;

	err = vpipe_check_descriptors(in_fd, out_fd);
	if (err)
		goto fail;

	vp = calloc(1, sizeof(*vp));
	if (!vp) {
		err = ENOMEM;
		goto fail;
	}
	vp->in_fd = fcntl(in_fd, F_DUPFD_CLOEXEC, 0);
	if (vp->in_fd < 0) {
		err = errno;
		goto free_vp;
	}
	vp->out_fd = fcntl(out_fd, F_DUPFD_CLOEXEC, 0);
	if (vp->out_fd < 0) {
		err = errno;
		goto close_in;
	}
	vp->device = vpipe_device_open();
	return vp;

close_in:
	close(vp->in_fd);
free_vp:
	free(vp);
fail:
	errno = err;
	return NULL;
}

int vpipe_destroy(vpipe_t *vp)
{
	int err = 0;

	if (!vp)
		return 0;
	/* First the driver's references, so that the last close is ours. */
	if (vp->device >= 0)
		close(vp->device);
	if (close(vp->in_fd))
		err = errno;
	if (close(vp->out_fd))
		err = errno;
	free(vp);
	if (!err)
		return 0;
	errno = err;
	return -1;
}
