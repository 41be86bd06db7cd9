// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vpipe.h>

#include "copy.h"

#define PROGRESS_STEP	(64LL << 20)
#define ZERO_STEP	4096	/* so many zeros become a hole */

static void show_progress(const struct copy *c)
{
	if (c->name)
		fprintf(stderr, "\r%s: %" PRId64 " MB", c->name, c->end / 1000000);
}

static void take_result(struct copy *c, const struct vpipe_transfer_info *info)
{
	c->offloaded += info->offloaded;
	c->ordinary += info->ordinary;
	if (c->reason == VPIPE_DECLINED_NOT || c->reason == VPIPE_DECLINED_ALIGNMENT)
		c->reason = info->reason ? info->reason : c->reason;
}

/* From c->end to `to`, or to where the source ends. */
static int copy_range(struct copy *c, vpipe_t *vp, int64_t to)
{
	struct vpipe_transfer_info info = { 0 };

	while (c->end < to && !c->ended && !info.error) {
		int64_t len = to - c->end;
		int64_t n;

		if (c->name && len > PROGRESS_STEP)
			len = PROGRESS_STEP;
		n = vpipe_file_to_file(vp, c->end, (uint64_t)len, c->end);
		vpipe_last_result(&info, sizeof(info));
		take_result(c, &info);
		if (n > 0)
			c->end += n;
		c->ended = n < len;
		show_progress(c);
	}
	/* It has become shorter than where we are. */
	return info.error == ENXIO ? 0 : info.error;
}

static size_t step_length(size_t len)
{
	return len < ZERO_STEP ? len : ZERO_STEP;
}

static bool is_zero(const char *buf, size_t len)
{
	static const char zeros[ZERO_STEP];

	return !memcmp(buf, zeros, step_length(len));
}

/* How far what lies here is all zeros, or all something else. */
static size_t run_length(const char *buf, size_t len, bool zero)
{
	size_t at = 0;

	while (at < len && is_zero(buf + at, len - at) == zero)
		at += step_length(len - at);
	return at;
}

/* As copy_range(), without the zeros: somebody has to look at the bytes. */
static int copy_nonzero(struct copy *c, int64_t to)
{
	static char buf[1 << 20];

	while (c->end < to) {
		uint64_t rest = (uint64_t)(to - c->end);
		size_t len = rest < sizeof(buf) ? (size_t)rest : sizeof(buf);
		ssize_t n = pread(c->in, buf, len, c->end), done, step;

		if (n < 0)
			return errno;
		c->ended = !n;
		if (!n)
			break;
		for (done = 0; done < n; done += step) {
			size_t left = (size_t)(n - done);
			bool zero = is_zero(buf + done, left);

			step = (ssize_t)run_length(buf + done, left, zero);
			if (!zero)
				step = pwrite(c->out, buf + done, (size_t)step, c->end + done);
			if (step < 0)
				return errno;
			if (!zero)
				c->ordinary += (uint64_t)step;
		}
		c->end += n;
		show_progress(c);
	}
	return 0;
}

/* As copy_range(), by the call that the user wants. */
static int copy_by_call(struct copy *c, int64_t to)
{
	uint64_t moved;
	int err;

	if (lseek(c->in, c->end, SEEK_SET) < 0 || lseek(c->out, c->end, SEEK_SET) < 0)
		return errno;
	err = ordinary_move(c->call, c->in, c->out, (uint64_t)(to - c->end), c->buffer, &moved);
	c->end += (int64_t)moved;
	c->ordinary += moved;
	c->ended = c->end < to;
	show_progress(c);
	return err;
}

static int copy_part(struct copy *c, vpipe_t *vp, int64_t to)
{
	if (c->sparse == SPARSE_ALWAYS)
		return copy_nonzero(c, to);
	return c->only_call ? copy_by_call(c, to) : copy_range(c, vp, to);
}

/* One range of data after the other. */
static int copy_ranges(struct copy *c, vpipe_t *vp)
{
	int err = 0;

	while (!err && !c->ended) {
		int64_t data = lseek(c->in, c->end, SEEK_DATA);
		int64_t hole = data < 0 ? data : lseek(c->in, data, SEEK_HOLE);

		if (hole >= 0) {
			c->end = data;
			err = copy_part(c, vp, hole);
		} else if (errno == ENXIO) {
			int64_t size = lseek(c->in, 0, SEEK_END);

			/* A hole is the last thing of it. */
			if (size > c->end)
				c->end = size;
			c->ended = true;
		} else if (errno == EINVAL) {
			/* A file system that knows no holes */
			err = copy_part(c, vp, INT64_MAX);
		} else {
			err = errno;
		}
	}
	return err;
}

int copy_data(struct copy *c)
{
	struct stat in, out;
	vpipe_t *vp;
	int err;

	if (fstat(c->in, &in) || fstat(c->out, &out))
		return errno;
	vp = vpipe_create(c->in, c->out);
	if (!vp)
		return errno;
	if (!S_ISREG(out.st_mode))
		c->sparse = SPARSE_NEVER;
	/* Files of /proc say they are empty, and are not. */
	if (c->sparse == SPARSE_NEVER || !in.st_size)
		err = copy_part(c, vp, INT64_MAX);
	else
		err = copy_ranges(c, vp);
	if (!err && S_ISREG(out.st_mode) && ftruncate(c->out, c->end))
		err = errno;
	show_progress(c);
	if (c->name)
		fputc('\n', stderr);
	if (vpipe_destroy(vp) && !err)
		err = errno;
	return err;
}
