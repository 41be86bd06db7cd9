// SPDX-License-Identifier: GPL-2.0
/*
 * feed.c: what an operation asks the backend to move next.
 *
 *   file to socket     segments of the file, mapped ahead, two with the backend
 *   socket to socket   one TRANSFER for all of it
 *   ... to file        the same segments, or pieces of the stream, into the backend's
 *                      buffer; from there whole blocks into the file (sink.c), while
 *                      the next are read
 *
 * What is less than a block of the sink file stays in the buffer and, of a socket,
 * comes home with it: the caller writes it by ordinary calls.
 */
#include <linux/fs.h>

#include "vpfront.h"

/*
 * Into the buffer at a time; as much again is being written meanwhile.  The backend
 * gives a flow 32 MiB, and all of a domain 128 MiB, if dom0 has not set it otherwise; to
 * those that fill buffers from sockets half of that.
 */
#define INTAKE_BYTES		(15ULL << 20)
#define INTAKE_FROM_FILES	(60ULL << 20)
#define INTAKE_FROM_SOCKETS	(30ULL << 20)
#define INTAKE_LEAST		(256ULL << 10)

/* A share for each operation into a file, so that none of them finds the pool used up. */
static u64 feed_intake(const struct vpfront_pipe *pipe)
{
	u64 all = vpfront_pipe_from_socket(pipe) ? INTAKE_FROM_SOCKETS : INTAKE_FROM_FILES;
	u64 share = div_u64(all, max(atomic_read(&pipe->dev->to_file), 1));

	return clamp(round_down(share, INTAKE_LEAST), INTAKE_LEAST, INTAKE_BYTES);
}

/* Does somebody perhaps wait for a segment that the backend has? */
bool vpfront_feed_pinned(struct vpfront_pipe *pipe)
{
	unsigned int i;

	for (i = 0; i < VPFRONT_SEGMENTS; i++)
		if (READ_ONCE(pipe->segment[i].busy) && READ_ONCE(pipe->segment[i].pinned))
			return true;
	return false;
}

/*
 * Map the next piece into a free segment.  False: nothing mapped; either not now,
 * or never, and then `end` and the reason say so.  Never waits for the file's lock
 * while we keep somebody else waiting who has it.
 */
static bool feed_map(struct vpfront_pipe *pipe, struct vpfront_segment *seg)
{
	bool nowait = vpfront_feed_pinned(pipe);
	u64 end = pipe->end;
	int ret = 0;

	/* Let them in between two segments; then wait behind them. */
	if (nowait && vpfront_file_contended(&pipe->file))
		return false;

	if (!pipe->started) {
		ret = vpfront_file_flush(&pipe->file, pipe->pos, pipe->end);
		pipe->started = true;
	}
	if (!vpfront_pipe_to_socket(pipe))
		end = min(end, pipe->pos + feed_intake(pipe));
	if (!ret)
		ret = vpfront_file_map(&pipe->file, pipe->pos, end, nowait, seg);
	if (ret == -EAGAIN && nowait)
		return false;
	if (ret) {
		pipe->end = pipe->pos;
		if (ret == -ENODATA)	/* the file has become shorter: that is its end */
			pipe->length = pipe->mapped;
		else if (ret == -EOPNOTSUPP)
			pipe->reason = VPIPE_REASON_FILESYSTEM;
		else if (ret == -ENOMEM)
			pipe->reason = VPIPE_REASON_BUSY;
		else
			pipe->file_error = ret;
		return false;
	}
	seg->mapped = true;
	pipe->mapped += seg->length;
	pipe->pos += seg->length;
	return true;
}

/*
 * Before anything is frozen or asked: a source file's first piece, if it has any that
 * can be offloaded.
 */
bool vpfront_feed_prepare(struct vpfront_pipe *pipe)
{
	return vpfront_pipe_from_socket(pipe) || feed_map(pipe, &pipe->segment[0]);
}

static int feed_push(struct vpfront_pipe *pipe, struct vpfront_segment *seg, bool wait)
{
	seg->mapped = false;
	seg->cookie = atomic64_inc_return(&pipe->cookie);
	smp_store_release(&seg->busy, 1);	/* after the cookie */
	return vpfront_command_transfer(pipe, seg, wait);
}

/*
 * After _prepare, of a pipe to a socket: the file's first piece, if nothing need be waited
 * for.  False: it was not asked for.
 */
bool vpfront_feed_first(struct vpfront_pipe *pipe)
{
	struct vpfront_segment *seg = &pipe->segment[0];

	WRITE_ONCE(pipe->fed, pipe->pos >= pipe->end);
	if (!feed_push(pipe, seg, false)) {
		vpfront_ring_kick(pipe->queue);
		return true;
	}
	WRITE_ONCE(pipe->fed, false);
	WRITE_ONCE(seg->busy, 0);
	seg->mapped = true;
	return false;
}

static int feed_from_file(struct vpfront_pipe *pipe)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; !ret && i < VPFRONT_SEGMENTS; i++) {
		struct vpfront_segment *seg = &pipe->segment[i];

		if (READ_ONCE(seg->busy) || (!seg->mapped && pipe->pos >= pipe->end))
			continue;
		/* The buffer takes no more until something was written. */
		if (!vpfront_pipe_to_socket(pipe) &&
		    pipe->mapped - pipe->taken > feed_intake(pipe))
			break;
		if (!seg->mapped) {
			/* Holding nothing, and with the backend at work on what it has. */
			vpfront_command_collect_all(pipe);
			if (!feed_map(pipe, seg))
				break;
		}
		ret = feed_push(pipe, seg, true);
	}
	return ret;
}

static int feed_from_socket(struct vpfront_pipe *pipe)
{
	struct vpfront_segment *seg = &pipe->segment[0];

	if (READ_ONCE(seg->busy))
		return 0;
	if (!vpfront_pipe_to_socket(pipe)) {
		/* The last one may have brought less than it was asked for. */
		pipe->pos = READ_ONCE(pipe->filled);
		if (pipe->pos - pipe->taken > feed_intake(pipe))
			return 0;	/* until something was written */
	}
	if (pipe->pos >= pipe->end)
		return 0;
	seg->length = pipe->end - pipe->pos;
	if (!vpfront_pipe_to_socket(pipe))
		seg->length = min(seg->length, feed_intake(pipe));
	pipe->pos += seg->length;
	return feed_push(pipe, seg, true);
}

static int feed_source(struct vpfront_pipe *pipe)
{
	if (vpfront_pipe_must_stop(pipe) || READ_ONCE(pipe->error) || READ_ONCE(pipe->ended) ||
	    READ_ONCE(pipe->cut) || READ_ONCE(pipe->transfer_status) || pipe->reason ||
	    pipe->file_error)
		pipe->end = vpfront_pipe_from_socket(pipe) ? 0 : pipe->pos;
	return vpfront_pipe_from_socket(pipe) ? feed_from_socket(pipe) : feed_from_file(pipe);
}

/* Has all come from the source that will? */
static bool feed_source_done(struct vpfront_pipe *pipe)
{
	unsigned int i;

	for (i = 0; i < VPFRONT_SEGMENTS; i++)
		if (smp_load_acquire(&pipe->segment[i].busy))	/* before what its event told */
			return false;
	if (pipe->kind == VPIPE_KIND_SOCKET_TO_FILE)
		return READ_ONCE(pipe->ended) || READ_ONCE(pipe->error) ||
		       READ_ONCE(pipe->filled) >= pipe->end;
	return pipe->pos >= pipe->end;
}

/* Whole blocks that are in the backend's buffer and may be written. */
static size_t feed_writable(struct vpfront_pipe *pipe)
{
	u64 buffered = READ_ONCE(pipe->filled) - pipe->taken;

	if (vpfront_pipe_must_stop(pipe) || pipe->reason || pipe->file_error)
		return 0;
	return round_down(min(buffered, INTAKE_BYTES), pipe->sink.file.align);
}

static void feed_write(struct vpfront_pipe *pipe, size_t len)
{
	u64 taken = pipe->taken;
	ssize_t ret = vpfront_sink_write(pipe, pipe->out_pos, len);

	if (ret > 0) {
		pipe->out_pos += ret;
		pipe->moved += ret;
	}
	if (ret == len)
		return;
	if (pipe->taken - taken != max_t(ssize_t, ret, 0))
		/* It is on the disk, but the filesystem does not want it. */
		pipe->file_error = ret < 0 ? ret : -EIO;
	else if (ret == -ENOSPC || ret == -EDQUOT || ret == -EFBIG)
		pipe->reason = VPIPE_REASON_LIMIT;
	else
		pipe->reason = ret == -EAGAIN ? VPIPE_REASON_CONTENDED : VPIPE_REASON_FILESYSTEM;
}

/*
 * Ask for whatever can be asked for now; with a file as sink, also write it, and wait
 * for that.  Sets pipe->fed when there will be nothing more.
 */
int vpfront_feed(struct vpfront_pipe *pipe)
{
	size_t len;
	int ret;

	ret = feed_source(pipe);
	if (ret)
		return ret;
	if (vpfront_pipe_to_socket(pipe)) {
		/* All of it is asked for; the rest is up to the backend. */
		WRITE_ONCE(pipe->fed, pipe->pos >= pipe->end);
		return 0;
	}
	vpfront_command_collect_all(pipe);
	len = feed_writable(pipe);
	if (len) {
		feed_write(pipe, len);
		vpfront_pipe_kick(pipe);	/* a run of the work is short: it can be frozen */
	} else {
		pipe->fed = feed_source_done(pipe) && !feed_writable(pipe);
	}
	return 0;
}
