// SPDX-License-Identifier: GPL-2.0
/*
 * pipe.c: one operation's life, as a state machine that a work item moves on when
 * something happened: it was started, an event came, it was cancelled, the backend
 * wants to go or is gone.
 *
 *   START      map the first piece of a file, freeze the sockets, push ATTACH, the
 *              queues, TRANSFERs (and DETACH when that is all) at once
 *   MOVING     keep the backend fed (feed.c); DETACH behind the last; take home what
 *              was let go
 *   DONE       everything is home
 *
 * Before the freeze everything can be declined with nothing moved.
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

/*
 * Operations that wait in the filesystem of their sink must not keep those from a run
 * that others wait for: a socket's peer may be slow, and a file of theirs pinned.
 */
static struct workqueue_struct *socket_wq, *file_wq;

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
	if (!queue_work(vpfront_pipe_to_socket(pipe) ? socket_wq : file_wq, &pipe->work))
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

/* A piece of the source has been read, or (of a pipe to a socket) moved. */
static void pipe_source_done(struct vpfront_pipe *pipe, struct vpfront_segment *seg,
			     const struct xen_vpipe_event *evt)
{
	u64 moved = min(evt->moved, seg->length);
	bool all = moved == seg->length;

	if (evt->status == -ENOBUFS)
		WRITE_ONCE(pipe->cut, true);
	else if (evt->status < 0 && !pipe->error)
		WRITE_ONCE(pipe->error, evt->status);
	switch (pipe->kind) {
	case VPIPE_KIND_FILE_TO_SOCKET:
		pipe->moved += moved;
		if (!all && !pipe->error)
			WRITE_ONCE(pipe->error, -EIO);
		break;
	case VPIPE_KIND_SOCKET_TO_SOCKET:
		pipe->moved += moved;
		if (!all && !evt->status)
			WRITE_ONCE(pipe->ended, true);
		break;
	case VPIPE_KIND_SOCKET_TO_FILE:
		WRITE_ONCE(pipe->filled, pipe->filled + moved);
		if (!moved && !evt->status)
			WRITE_ONCE(pipe->ended, true);
		break;
	case VPIPE_KIND_FILE_TO_FILE:
		/* What comes after a gap is of no use. */
		if (!pipe->cut)
			WRITE_ONCE(pipe->filled, pipe->filled + moved);
		if (!all)
			WRITE_ONCE(pipe->cut, true);
		break;
	}
	/* Here and now: the work may be waiting behind a truncation. */
	if (xchg(&seg->busy, 0))
		vpfront_file_unpin(seg);
}

/* From the event handler, under the queue's lock, in interrupt context. */
void vpfront_pipe_event(struct vpfront_pipe *pipe, const struct xen_vpipe_event *evt)
{
	struct vpfront_segment *batch = &pipe->sink.batch;
	unsigned int i;

	if (evt->type == XEN_VPIPE_EVT_DETACHED) {
		struct vpfront_leg *leg = &pipe->leg[pipe->nr_legs > 1 &&
						     evt->flow == pipe->leg[1].flow];

		leg->detach_status = evt->status;
		smp_store_release(&leg->detached, true);	/* after detach_status */
	} else if (evt->type == XEN_VPIPE_EVT_TRANSFER_DONE) {
		for (i = 0; i < VPFRONT_SEGMENTS; i++)
			if (smp_load_acquire(&pipe->segment[i].busy) &&	/* before its cookie */
			    pipe->segment[i].cookie == evt->cookie)
				pipe_source_done(pipe, &pipe->segment[i], evt);
		if (smp_load_acquire(&batch->busy) &&	/* likewise */
		    batch->cookie == evt->cookie) {
			pipe->sink.status = evt->status;
			pipe->sink.moved = evt->moved;
			smp_store_release(&batch->busy, 0);	/* after both */
			wake_up_all(&pipe->dev->wait);
			return;		/* the work waits in the filesystem */
		}
	}
	vpfront_pipe_kick(pipe);
}

bool vpfront_pipe_must_stop(struct vpfront_pipe *pipe)
{
	return READ_ONCE(pipe->cancelled) || READ_ONCE(pipe->dev->closing) || pipe->revoked;
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
	if (!vpfront_feed_pinned(pipe)) {
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

/* --- the end ------------------------------------------------------------------ */

/* Was it declined because an operation has one of its sockets? */
static bool pipe_in_use(const struct vpfront_pipe *pipe)
{
	unsigned int i;

	for (i = 0; i < pipe->nr_legs; i++)
		if (pipe->leg[i].sock.in_use)
			return true;
	return false;
}

/* Why was less moved than asked for? */
static void pipe_judge(struct vpfront_pipe *pipe)
{
	struct vpipe_result *result = &pipe->result;
	bool left = pipe->filled != pipe->taken;	/* in the buffer, for ordinary calls */
	int error = 0;

	if (READ_ONCE(pipe->cancelled))
		error = ECANCELED;
	else if (pipe->file_error)
		error = -pipe->file_error;
	else if (pipe->error && pipe->error != -ECANCELED && !pipe->reason && !left)
		error = -pipe->error;
	result->status = error ? VPIPE_STATUS_FAILED : VPIPE_STATUS_DECLINED;
	result->error = error;
	if (error)
		return;
	if (pipe_in_use(pipe))
		result->error = EBUSY;
	if (pipe->reason)
		result->reason = pipe->reason;
	else if (pipe->ended && !left)
		result->status = VPIPE_STATUS_DONE;
	else if (pipe->cut)
		result->reason = VPIPE_REASON_BUSY;
	else if (pipe->transfer_status)
		result->reason = VPIPE_REASON_REFUSED;
	else if (pipe->revoked)
		result->reason = VPIPE_REASON_CONTENDED;
	else if (!pipe->dev || READ_ONCE(pipe->dev->closing))
		result->reason = VPIPE_REASON_NO_BACKEND;
	else
		result->reason = left ? VPIPE_REASON_ALIGNMENT : VPIPE_REASON_LIMIT;
}

static void pipe_finish(struct vpfront_pipe *pipe)
{
	struct vpipe_result *result = &pipe->result;
	unsigned int i;

	for (i = 0; i < VPFRONT_SEGMENTS; i++)
		vpfront_file_unpin(&pipe->segment[i]);
	pipe->stage = VPFRONT_DONE;
	result->moved = pipe->moved;
	if (pipe->moved < pipe->length)
		pipe_judge(pipe);
	timer_shutdown_sync(&pipe->pin_timer);
	/* With nothing moved the error is told here, as send() would, and only once. */
	for (i = 0; i < pipe->nr_legs; i++) {
		struct socket *socket = pipe->leg[i].sock.socket;

		if (result->status == VPIPE_STATUS_FAILED && !result->moved && socket &&
		    READ_ONCE(socket->sk->sk_err) == result->error)
			sock_error(socket->sk);
	}

	vpfront_file_close(&pipe->file);
	vpfront_sink_close(&pipe->sink);
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

static void pipe_lost(struct vpfront_pipe *pipe)
{
	unsigned int i;

	for (i = 0; i < pipe->nr_legs; i++)
		vpfront_leg_lost(pipe, &pipe->leg[i]);
}

/* Is everything home?  Then the operation has ended. */
static void pipe_finish_if_home(struct vpfront_pipe *pipe)
{
	unsigned int i;

	for (i = 0; i < pipe->nr_legs; i++)
		if (!pipe->leg[i].home)
			return;
	pipe_finish(pipe);
}

/* --- stages ------------------------------------------------------------------- */

static int pipe_detach(struct vpfront_pipe *pipe)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; !ret && i < pipe->nr_legs; i++)
		ret = vpfront_leg_detach(pipe, &pipe->leg[i]);
	return ret;
}

/* What the backend did not take is as it was; what it half took is lost. */
static void pipe_judge_attach(struct vpfront_pipe *pipe)
{
	unsigned int i;

	for (i = 0; i < pipe->nr_legs; i++) {
		struct vpfront_leg *leg = &pipe->leg[i];

		/* Whatever is not known to have been refused may have been done. */
		if (leg->attach_status && leg->attach_status != -EIO) {
			vpfront_leg_unfreeze(pipe, leg);
			pipe->reason = leg->attach_status == -ENOSPC ? VPIPE_REASON_BUSY :
								       VPIPE_REASON_REFUSED;
		} else if (leg->queue_status == -ENOMEM) {
			vpfront_leg_take_back(pipe, leg);
			pipe->reason = VPIPE_REASON_BUSY;
		} else if (leg->attach_status || leg->queue_status ||
			   leg->unread_status == -EIO) {
			vpfront_leg_lost(pipe, leg);
		} else if (leg->unread_status) {
			/* It has moved nothing; what it took comes back, and is still here. */
			leg->sock.source = false;
			leg->unread_kept = leg->unread_sent;
			pipe->reason = VPIPE_REASON_BUSY;
		}
	}
}

static void pipe_begin(struct vpfront_pipe *pipe)
{
	unsigned int i;
	int ret = 0;

	if (vpfront_pipe_must_stop(pipe) || READ_ONCE(pipe->dev->broken) ||
	    !vpfront_feed_prepare(pipe)) {
		pipe_finish(pipe);
		return;
	}
	for (i = 0; i < pipe->nr_legs; i++) {
		ret = vpfront_leg_freeze(pipe, &pipe->leg[i]);
		if (!ret)
			continue;
		while (i--)
			vpfront_leg_unfreeze(pipe, &pipe->leg[i]);
		pipe_decline(pipe, ret);
		return;
	}
	pipe->stage = VPFRONT_MOVING;
	for (i = 0; !ret && i < pipe->nr_legs; i++)
		ret = vpfront_leg_attach(pipe, &pipe->leg[i]);
	if (!ret)
		ret = vpfront_feed(pipe);
	if (!ret && pipe->fed)
		ret = pipe_detach(pipe);	/* that was all: DETACH goes along */
	vpfront_command_collect(pipe);
	pipe_judge_attach(pipe);
	if (ret)
		pipe_lost(pipe);
}

static void pipe_advance(struct vpfront_pipe *pipe)
{
	unsigned int i;
	u32 linger;
	int ret = 0;

	if (READ_ONCE(pipe->dev->broken)) {
		pipe_lost(pipe);
		pipe_finish(pipe);
		return;
	}
	pipe_watch_pins(pipe);
	/* Only for a process that is gone may the connection be reset in the end. */
	linger = READ_ONCE(pipe->orphaned) ? LINGER_KILLED_MS : XEN_VPIPE_LINGER_FOREVER;
	for (i = 0; !ret && vpfront_pipe_must_stop(pipe) && i < pipe->nr_legs; i++)
		ret = vpfront_leg_cancel(pipe, &pipe->leg[i], linger);
	if (!ret && !pipe->fed)
		ret = vpfront_feed(pipe);
	if (!ret && pipe->fed)
		ret = pipe_detach(pipe);
	vpfront_command_collect(pipe);
	if (ret)
		pipe_lost(pipe);
	for (i = 0; i < pipe->nr_legs; i++) {
		struct vpfront_leg *leg = &pipe->leg[i];

		if (!leg->home && smp_load_acquire(&leg->detached))	/* before detach_status */
			vpfront_leg_return(pipe, leg);
	}
	pipe_finish_if_home(pipe);
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
					 u64 in_offset, u64 out_offset, u64 length)
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
	pipe->kind = kind;
	for (i = 0; !vpfront_pipe_from_socket(pipe) && i < VPFRONT_SEGMENTS; i++) {
		pipe->segment[i].extent = kvcalloc(XEN_VPIPE_MAX_EXTENTS,
						   sizeof(struct xen_vpipe_extent),
						   GFP_KERNEL_ACCOUNT);
		if (!pipe->segment[i].extent) {
			vpfront_pipe_put(pipe);
			return ERR_PTR(-ENOMEM);
		}
	}
	pipe->in = in;
	pipe->out = out;
	pipe->length = length;
	pipe->pos = in_offset;
	pipe->end = in_offset + length;
	pipe->out_pos = out_offset;
	__module_get(THIS_MODULE);
	return pipe;
}

/* TCP over IPv4, though the socket may be of IPv6. */
static bool pipe_is_tcp4(struct socket *socket)
{
	struct sock *sk = socket->sk;

	if (socket->type != SOCK_STREAM || sk->sk_protocol != IPPROTO_TCP)
		return false;
#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6)
		return ipv6_addr_v4mapped(&sk->sk_v6_daddr);
#endif
	return sk->sk_family == AF_INET;
}

/* The next leg, of a socket or (NULL) of none.  0, or an enum vpipe_reason. */
static int pipe_add_leg(struct vpfront_pipe *pipe, struct socket *socket, bool source)
{
	struct vpfront_leg *leg = &pipe->leg[pipe->nr_legs++];

	if (socket && !pipe_is_tcp4(socket))
		return VPIPE_REASON_SOCKET_TYPE;
	leg->sock.socket = socket;
	leg->sock.source = source;
	return 0;
}

static int pipe_open_sink(struct vpfront_pipe *pipe)
{
	u64 limit = min_t(u64, rlimit(RLIMIT_FSIZE), file_inode(pipe->out)->i_sb->s_maxbytes);
	int ret = vpfront_sink_open(&pipe->sink, pipe->out);
	u32 mask = pipe->sink.file.align - 1;

	if (ret)
		return ret;
	if (pipe->out_pos & mask ||
	    (!vpfront_pipe_from_socket(pipe) && (pipe->pos - pipe->out_pos) & mask) ||
	    pipe->length <= mask)
		return VPIPE_REASON_ALIGNMENT;
	if (pipe->out_pos >= limit)
		return VPIPE_REASON_LIMIT;
	pipe->end = min(pipe->end, pipe->pos + (limit - pipe->out_pos));
	return 0;
}

/* In the caller's context, with its credentials: what can be declined at once is. */
static int pipe_open(struct vpfront_pipe *pipe)
{
	struct socket *in = sock_from_file(pipe->in), *out = sock_from_file(pipe->out);
	int reason = 0;

	pipe->dev = vpfront_xenbus_get();
	if (!pipe->dev)
		return VPIPE_REASON_NO_BACKEND;
	if (!(pipe->dev->kinds & 1U << pipe->kind))
		return VPIPE_REASON_KIND;
	if (vpfront_pipe_from_socket(pipe))
		reason = pipe_add_leg(pipe, in, true);
	else
		reason = vpfront_file_open(pipe->in, &pipe->file, false);
	if (reason)
		return reason;
	if (vpfront_pipe_to_socket(pipe))
		return pipe_add_leg(pipe, out, false);
	if (!vpfront_pipe_from_socket(pipe))
		reason = pipe_add_leg(pipe, NULL, false);
	return reason ?: pipe_open_sink(pipe);
}

void vpfront_pipe_start(struct vpfront_pipe *pipe)
{
	int reason;

	if (!pipe->length) {
		pipe_finish(pipe);
		return;
	}
	reason = pipe_open(pipe);
	if (reason) {
		pipe_decline(pipe, reason);
		return;
	}
	pipe->queue = pipe->dev->queue[raw_smp_processor_id() % pipe->dev->nr_queues];
	vpfront_pipe_kick(pipe);
}

int vpfront_pipe_init(void)
{
	socket_wq = alloc_workqueue("vpipe-to-socket", WQ_UNBOUND | WQ_FREEZABLE, 0);
	if (!socket_wq)
		return -ENOMEM;
	file_wq = alloc_workqueue("vpipe-to-file", WQ_UNBOUND | WQ_FREEZABLE, 0);
	if (file_wq)
		return 0;
	destroy_workqueue(socket_wq);
	return -ENOMEM;
}

void vpfront_pipe_exit(void)
{
	destroy_workqueue(file_wq);
	destroy_workqueue(socket_wq);
}
