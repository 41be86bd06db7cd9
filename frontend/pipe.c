// SPDX-License-Identifier: GPL-2.0
/*
 * pipe.c: one operation's life, as a state machine that a work item moves on when
 * something happened: it was started, an event came, it was cancelled, the backend
 * wants to go or is gone.
 *
 *   START      map the first segments, freeze the socket, push ATTACH, the send
 *              queue, TRANSFERs (and DETACH when that is all) at once
 *   MOVING     keep two segments with the backend; DETACH behind the last
 *   DETACHING  wait for the socket; RETURN, thaw, RELEASE
 *   DONE
 *
 * Before the freeze everything can be declined with nothing moved.  After it the
 * socket always comes home before the operation ends, or is reset when its state
 * is lost with the backend.
 */
#include <linux/file.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <net/sock.h>

#include "vpfront.h"

/*
 * How long the operation of a process that is gone waits for its last bytes to be
 * acknowledged, before the connection is reset.
 */
#define LINGER_KILLED_MS	2000

/* How often to look whether somebody waits for a pinned segment, and how often in a row. */
#define PIN_CHECK_MS		250
#define PIN_CHECKS		4

static struct workqueue_struct *pipe_wq;

static void pipe_release(struct kref *ref)
{
	struct vpfront_pipe *pipe = container_of(ref, struct vpfront_pipe, ref);
	unsigned int i;

	for (i = 0; i < VPFRONT_SEGMENTS; i++)
		kvfree(pipe->segment[i].extent);
	kfree(pipe);
}

void vpfront_pipe_put(struct vpfront_pipe *pipe)
{
	kref_put(&pipe->ref, pipe_release);
}

/* Something happened: have a look.  Any context. */
void vpfront_pipe_kick(struct vpfront_pipe *pipe)
{
	kref_get(&pipe->ref);
	if (!queue_work(pipe_wq, &pipe->work))
		vpfront_pipe_put(pipe);
}

/* `orphaned`: nobody is left who could use the connection. */
void vpfront_pipe_cancel(struct vpfront_pipe *pipe, bool orphaned)
{
	if (orphaned)
		WRITE_ONCE(pipe->orphaned, true);
	WRITE_ONCE(pipe->cancelled, true);
	vpfront_pipe_kick(pipe);
}

/* From the event handler, under the queue's lock, in interrupt context. */
void vpfront_pipe_event(struct vpfront_pipe *pipe, const struct xen_vpipe_event *evt)
{
	struct vpfront_segment *seg;
	unsigned int i;

	if (evt->type == XEN_VPIPE_EVT_DETACHED) {
		pipe->detach_status = evt->status;
		smp_store_release(&pipe->detached, true);	/* after detach_status */
	} else if (evt->type == XEN_VPIPE_EVT_TRANSFER_DONE) {
		for (i = 0; i < VPFRONT_SEGMENTS; i++) {
			seg = &pipe->segment[i];
			if (seg->cookie != evt->cookie || !xchg(&seg->busy, 0))
				continue;
			/* Here and now: the work may be waiting behind a truncation. */
			vpfront_file_unpin(seg);
			pipe->moved += min(evt->moved, seg->length);
			if (!pipe->error && evt->status < 0)
				pipe->error = evt->status;
			else if (!pipe->error && evt->moved < seg->length)
				pipe->error = -EIO;
			break;
		}
	}
	vpfront_pipe_kick(pipe);
}

/* --- the source: segments mapped ahead of the backend ----------------------- */

static bool pipe_must_stop(struct vpfront_pipe *pipe)
{
	return READ_ONCE(pipe->cancelled) || READ_ONCE(pipe->dev->closing) || pipe->revoked;
}

static bool pipe_pinned(struct vpfront_pipe *pipe)
{
	unsigned int i;

	for (i = 0; i < VPFRONT_SEGMENTS; i++)
		if (READ_ONCE(pipe->segment[i].busy) && READ_ONCE(pipe->segment[i].pinned))
			return true;
	return false;
}

static void pipe_pin_timer(struct timer_list *timer)
{
	vpfront_pipe_kick(container_of(timer, struct vpfront_pipe, pin_timer));
}

/*
 * A peer that reads slowly must not keep others from writing the file: when
 * somebody has been waiting for about a second, the rest is left to the ordinary
 * path.
 */
static void pipe_watch_pins(struct vpfront_pipe *pipe)
{
	if (!pipe_pinned(pipe)) {
		pipe->contended = 0;
		return;
	}
	if (timer_pending(&pipe->pin_timer))
		return;
	if (!vpfront_file_contended(&pipe->file))
		pipe->contended = 0;
	else if (++pipe->contended > PIN_CHECKS)
		pipe->revoked = true;
	mod_timer(&pipe->pin_timer, jiffies + msecs_to_jiffies(PIN_CHECK_MS));
}

/*
 * Map the next piece into a free segment.  False: nothing mapped; either not now,
 * or never, and then `end` and the reason say so.  Never waits for the file's lock
 * while we keep somebody else waiting who has it.
 */
static bool pipe_map(struct vpfront_pipe *pipe, struct vpfront_segment *seg)
{
	bool nowait = pipe_pinned(pipe);
	int ret = 0;

	/* Let them in between two segments; then wait behind them. */
	if (nowait && vpfront_file_contended(&pipe->file))
		return false;

	if (!pipe->started) {
		ret = vpfront_file_flush(&pipe->file, pipe->pos, pipe->end);
		pipe->started = true;
	}
	if (!ret)
		ret = vpfront_file_map(&pipe->file, pipe->pos, pipe->end, nowait, seg);
	if (ret == -EAGAIN && nowait)
		return false;
	if (ret) {
		pipe->end = pipe->pos;
		if (ret == -ENODATA)	/* the file has become shorter: that is its end */
			pipe->length = pipe->mapped;
		else if (ret == -EOPNOTSUPP)
			pipe->reason = VPIPE_REASON_FILESYSTEM;
		else
			pipe->map_error = ret;
		return false;
	}
	pipe->mapped += seg->length;
	seg->cookie = ++pipe->cookie;
	pipe->pos += seg->length;
	return true;
}

static int pipe_feed(struct vpfront_pipe *pipe)
{
	unsigned int i;
	int ret = 0;

	if (pipe_must_stop(pipe) || READ_ONCE(pipe->error) || pipe->transfer_status)
		pipe->end = pipe->pos;
	for (i = 0; !ret && pipe->pos < pipe->end && i < VPFRONT_SEGMENTS; i++) {
		struct vpfront_segment *seg = &pipe->segment[i];

		if (READ_ONCE(seg->busy))
			continue;
		/* Holding nothing, and with the backend at work on what it has. */
		vpfront_command_collect(pipe);
		if (!pipe_map(pipe, seg))
			break;
		WRITE_ONCE(seg->busy, 1);
		ret = vpfront_command_transfer(pipe, seg);
	}
	if (!ret && pipe->pos >= pipe->end && !pipe->detach_sent) {
		pipe->detach_sent = true;
		ret = vpfront_command_simple(pipe, XEN_VPIPE_OP_DETACH);
	}
	return ret;
}

/* --- the end ------------------------------------------------------------------ */

static void pipe_finish(struct vpfront_pipe *pipe)
{
	struct vpipe_result *result = &pipe->result;
	unsigned int i;

	for (i = 0; i < VPFRONT_SEGMENTS; i++)
		vpfront_file_unpin(&pipe->segment[i]);
	pipe->stage = VPFRONT_DONE;
	result->moved = pipe->moved;
	if (pipe->moved >= pipe->length) {
		result->status = VPIPE_STATUS_DONE;
	} else if (READ_ONCE(pipe->cancelled)) {
		result->status = VPIPE_STATUS_FAILED;
		result->error = ECANCELED;
	} else if (pipe->error && pipe->error != -ECANCELED) {
		result->status = VPIPE_STATUS_FAILED;
		result->error = -pipe->error;
	} else if (pipe->map_error) {
		result->status = VPIPE_STATUS_FAILED;
		result->error = -pipe->map_error;
	} else {
		result->status = VPIPE_STATUS_DECLINED;
		result->reason = pipe->reason ?: pipe->transfer_status ? VPIPE_REASON_REFUSED :
				 pipe->revoked ? VPIPE_REASON_CONTENDED : VPIPE_REASON_NO_BACKEND;
	}
	timer_shutdown_sync(&pipe->pin_timer);
	/* With nothing moved the error is told here, as send() would, and only once. */
	if (result->status == VPIPE_STATUS_FAILED && !result->moved && pipe->sock.socket)
		sock_error(pipe->sock.socket->sk);

	vpfront_file_close(&pipe->file);
	if (pipe->dev)
		vpfront_xenbus_put(pipe->dev);
	vpfront_chardev_finished(pipe);
	fput(pipe->in);
	fput(pipe->out);
	module_put(THIS_MODULE);
	vpfront_pipe_put(pipe);		/* the life's reference */
}

static void pipe_decline(struct vpfront_pipe *pipe, enum vpipe_reason reason)
{
	pipe->reason = reason;
	pipe_finish(pipe);
}

static void pipe_drop_flow(struct vpfront_pipe *pipe)
{
	vpfront_command_collect(pipe);
	vpfront_ring_flow_put(pipe->queue, pipe->flow);
}

/* The backend is gone or has broken the protocol, and with it the connection. */
static void pipe_lost(struct vpfront_pipe *pipe)
{
	if (!READ_ONCE(pipe->dev->broken))
		vpfront_command_simple(pipe, XEN_VPIPE_OP_RELEASE);
	pipe_drop_flow(pipe);
	if (pipe->sock.frozen)
		vpfront_sock_abort(&pipe->sock, ECONNRESET);
	if (!pipe->error)
		pipe->error = -ECONNRESET;
	pipe_finish(pipe);
}

/* The backend has let go: take the connection home. */
static void pipe_return(struct vpfront_pipe *pipe)
{
	struct xen_vpipe_tcp_state st = {};
	u32 offset = 0, bytes = 0;
	int ret;

	if (pipe->detach_status == -ETIMEDOUT) {
		/* RELEASE resets the connection; here it is as if that had come in. */
		vpfront_sock_abort(&pipe->sock, ETIMEDOUT);
		goto release;
	}
	do {
		ret = vpfront_command_return(pipe, offset, &st, &bytes);
		if (ret)
			break;
		offset += bytes;
	} while (offset < st.unread && bytes);
	if (!ret && offset < st.unread)
		ret = -EPROTO;
	if (ret) {
		pr_err_ratelimited("vpipe-front: a connection did not come back: %d\n", ret);
		vpfront_sock_abort(&pipe->sock, ECONNRESET);
	} else {
		vpfront_sock_thaw_end(&pipe->sock, &st);
	}
release:
	vpfront_command_simple(pipe, XEN_VPIPE_OP_RELEASE);
	pipe_drop_flow(pipe);
	pipe_finish(pipe);
}

/* --- stages ------------------------------------------------------------------- */

/* The backend did not take the connection: nothing has moved. */
static void pipe_attach_failed(struct vpfront_pipe *pipe)
{
	pipe_drop_flow(pipe);
	vpfront_sock_unfreeze(&pipe->sock);
	pipe->moved = 0;
	pipe_decline(pipe, pipe->attach_status == -ENOSPC ? VPIPE_REASON_BUSY :
							    VPIPE_REASON_REFUSED);
}

static void pipe_begin(struct vpfront_pipe *pipe)
{
	int ret;

	if (pipe_must_stop(pipe) || READ_ONCE(pipe->dev->broken) ||
	    !pipe_map(pipe, &pipe->segment[0])) {
		pipe_finish(pipe);
		return;
	}
	ret = vpfront_ring_flow_get(pipe->queue, pipe, &pipe->flow);
	if (ret) {
		pipe_decline(pipe, VPIPE_REASON_BUSY);
		return;
	}
	ret = vpfront_sock_freeze(&pipe->sock);
	if (ret) {
		vpfront_ring_flow_put(pipe->queue, pipe->flow);
		pipe_decline(pipe, ret);
		return;
	}
	pipe->segment[0].busy = 1;
	ret = vpfront_command_attach(pipe) ?: vpfront_command_queue(pipe) ?:
	      vpfront_command_transfer(pipe, &pipe->segment[0]);
	if (!ret && pipe->pos >= pipe->end)
		ret = pipe_feed(pipe);	/* that was all: DETACH goes along */
	vpfront_command_collect(pipe);
	/* Whatever is not known to have been refused may have been done. */
	if (pipe->attach_status && pipe->attach_status != -EIO)
		pipe_attach_failed(pipe);
	else if (ret || pipe->attach_status || pipe->queue_status)
		pipe_lost(pipe);
	else
		pipe->stage = VPFRONT_MOVING;
}

static void pipe_advance(struct vpfront_pipe *pipe)
{
	u32 linger;
	int ret = 0;

	if (READ_ONCE(pipe->dev->broken)) {
		pipe_lost(pipe);
		return;
	}
	pipe_watch_pins(pipe);
	/* Only for a process that is gone may the connection be reset in the end. */
	linger = READ_ONCE(pipe->orphaned) ? LINGER_KILLED_MS : XEN_VPIPE_LINGER_FOREVER;
	if (pipe_must_stop(pipe) && pipe->linger_sent != linger) {
		pipe->linger_sent = linger;
		ret = vpfront_command_simple(pipe, XEN_VPIPE_OP_CANCEL);
	}
	if (!ret)
		ret = pipe_feed(pipe);
	vpfront_command_collect(pipe);
	if (ret)
		pipe_lost(pipe);
	else if (smp_load_acquire(&pipe->detached))	/* before detach_status */
		pipe_return(pipe);
}

static void pipe_work(struct work_struct *work)
{
	struct vpfront_pipe *pipe = container_of(work, struct vpfront_pipe, work);

	if (pipe->stage == VPFRONT_START)
		pipe_begin(pipe);
	/* Also right after the start: an event may have come meanwhile. */
	if (pipe->stage == VPFRONT_MOVING)
		pipe_advance(pipe);
	vpfront_pipe_put(pipe);
}

/*
 * An operation over two open files, whose references it takes over.  It does
 * nothing until it is started.
 */
struct vpfront_pipe *vpfront_pipe_create(u32 kind, struct file *in, struct file *out,
					 u64 in_offset, u64 length)
{
	struct vpfront_pipe *pipe = kzalloc(sizeof(*pipe), GFP_KERNEL_ACCOUNT);
	unsigned int i;

	if (!pipe)
		return ERR_PTR(-ENOMEM);
	kref_init(&pipe->ref);
	INIT_WORK(&pipe->work, pipe_work);
	timer_setup(&pipe->pin_timer, pipe_pin_timer, 0);
	INIT_LIST_HEAD(&pipe->calls);
	INIT_LIST_HEAD(&pipe->node);
	init_waitqueue_head(&pipe->wait);
	for (i = 0; i < VPFRONT_SEGMENTS; i++) {
		pipe->segment[i].extent = kvcalloc(XEN_VPIPE_MAX_EXTENTS,
						   sizeof(struct xen_vpipe_extent),
						   GFP_KERNEL_ACCOUNT);
		if (!pipe->segment[i].extent) {
			vpfront_pipe_put(pipe);
			return ERR_PTR(-ENOMEM);
		}
	}
	pipe->kind = kind;
	pipe->in = in;
	pipe->out = out;
	pipe->length = length;
	pipe->pos = in_offset;
	pipe->end = in_offset + length;
	__module_get(THIS_MODULE);
	return pipe;
}

/* In the caller's context, with its credentials: what can be declined at once is. */
void vpfront_pipe_start(struct vpfront_pipe *pipe)
{
	struct socket *socket = sock_from_file(pipe->out);
	int reason = 0;

	if (!pipe->length) {
		pipe_finish(pipe);
		return;
	}
	pipe->dev = vpfront_xenbus_get();
	if (!pipe->dev)
		reason = VPIPE_REASON_NO_BACKEND;
	else if (pipe->kind != VPIPE_KIND_FILE_TO_SOCKET || !pipe->dev->file_to_socket)
		reason = VPIPE_REASON_KIND;
	else if (!S_ISREG(file_inode(pipe->in)->i_mode))
		reason = VPIPE_REASON_FILE_TYPE;
	else if (socket->sk->sk_family != AF_INET || socket->type != SOCK_STREAM ||
		 socket->sk->sk_protocol != IPPROTO_TCP)
		reason = VPIPE_REASON_SOCKET_TYPE;
	else
		reason = vpfront_file_open(pipe->in, &pipe->file);
	if (reason) {
		pipe_decline(pipe, reason);
		return;
	}
	pipe->sock.socket = socket;
	pipe->queue = pipe->dev->queue[raw_smp_processor_id() % pipe->dev->nr_queues];
	vpfront_pipe_kick(pipe);
}

int vpfront_pipe_init(void)
{
	pipe_wq = alloc_workqueue("vpipe-front", WQ_UNBOUND | WQ_FREEZABLE, 0);
	return pipe_wq ? 0 : -ENOMEM;
}

void vpfront_pipe_exit(void)
{
	destroy_workqueue(pipe_wq);
}
