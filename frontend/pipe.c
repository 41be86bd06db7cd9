// SPDX-License-Identifier: GPL-2.0
/*
 * pipe.c: one operation's life, as a state machine that a work item moves on when
 * something happened: it was started, an event came, it was cancelled, the backend
 * wants to go or is gone.  Who waits for the end does two things himself, so that for a
 * short transfer nobody else need be woken: he asks for the first piece when its connection
 * is with the backend already, and ends what has gone well.  Neither waits for the backend.
 *
 *   START      map the first piece of a file, freeze the sockets that are still here,
 *              push ATTACH, the queues, TRANSFERs at once
 *   MOVING     keep the backend fed (feed.c)
 *   RETURNING  something has failed: the sockets come home before the result is told
 *   DONE       the sockets are home, or stay with the backend for the next operation
 *
 * Before the freeze everything can be declined with nothing moved.
 */
#include <linux/file.h>
#include <linux/freezer.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <net/sock.h>

#include "trace.h"

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

/* Is this the segment that a TRANSFER was about? */
static bool pipe_has(const struct vpfront_segment *seg, u64 cookie)
{
	return smp_load_acquire(&seg->busy) && seg->cookie == cookie;	/* busy first */
}

/* A write of the sink has ended, with success or not: sink.c waits for it. */
static void pipe_sink_done(struct vpfront_pipe *pipe, s32 status, u64 moved)
{
	pipe->sink.status = status;
	pipe->sink.moved = moved;
	smp_store_release(&pipe->sink.batch.busy, 0);	/* after both */
	wake_up_all(&pipe->dev->wait);
}

/* Has the backend nothing of the source any more? */
static bool pipe_idle(struct vpfront_pipe *pipe)
{
	unsigned int i;

	for (i = 0; i < VPFRONT_SEGMENTS; i++)
		if (smp_load_acquire(&pipe->segment[i].busy))	/* before what its event told */
			return false;
	return true;
}

/* The end of a TRANSFER.  Under the queue's lock, any context. */
void vpfront_pipe_event(struct vpfront_pipe *pipe, const struct xen_vpipe_event *evt)
{
	unsigned int i;

	if (pipe_has(&pipe->sink.batch, evt->cookie)) {
		pipe_sink_done(pipe, evt->status, evt->moved);
		return;		/* the work waits in the filesystem */
	}
	for (i = 0; i < VPFRONT_SEGMENTS; i++)
		if (pipe_has(&pipe->segment[i], evt->cookie))
			pipe_source_done(pipe, &pipe->segment[i], evt);
	/* Busy before by_caller (an xchg): vpfront_pipe_wait() has it the other way round. */
	if (READ_ONCE(pipe->by_caller) && READ_ONCE(pipe->fed) && pipe_idle(pipe)) {
		WRITE_ONCE(pipe->told, true);
		wake_up_all(&pipe->wait);
	} else {
		vpfront_pipe_kick(pipe);
	}
}

/* A TRANSFER was refused, and has no event.  Likewise. */
void vpfront_pipe_refused(struct vpfront_pipe *pipe, u64 cookie, int status)
{
	unsigned int i;

	if (pipe_has(&pipe->sink.batch, cookie))
		pipe_sink_done(pipe, status, 0);
	for (i = 0; i < VPFRONT_SEGMENTS; i++) {
		struct vpfront_segment *seg = &pipe->segment[i];

		if (!pipe_has(seg, cookie))
			continue;
		if (!pipe->transfer_status)
			WRITE_ONCE(pipe->transfer_status, status);
		if (xchg(&seg->busy, 0))
			vpfront_file_unpin(seg);
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

/* Somebody in dom0 has ended it: we have not asked for that. */
static bool pipe_cancelled_by_host(const struct vpfront_pipe *pipe)
{
	unsigned int i;

	if (pipe->error != -ECANCELED)
		return false;
	for (i = 0; i < pipe->nr_flows; i++)
		if (pipe->flow[i]->cancel_sent)
			return false;
	return true;
}

/* Why was less moved than asked for? */
static void pipe_judge(struct vpfront_pipe *pipe)
{
	struct vpipe_result *result = &pipe->result;
	bool left = pipe->filled != pipe->taken;	/* in the buffer, for ordinary calls */
	int error = 0;

	if (READ_ONCE(pipe->cancelled) || pipe_cancelled_by_host(pipe))
		error = ECANCELED;
	else if (pipe->file_error)
		error = -pipe->file_error;
	else if (pipe->error && pipe->error != -ECANCELED && !pipe->reason && !left)
		error = -pipe->error;
	result->status = error ? VPIPE_STATUS_FAILED : VPIPE_STATUS_DECLINED;
	result->error = error;
	if (error)
		return;
	if (pipe->in_use)
		result->error = EBUSY;
	if (pipe->reason)
		result->reason = pipe->reason;
	else if (pipe->ended && !left)
		result->status = VPIPE_STATUS_DONE;
	else if (pipe->cut)
		result->reason = VPIPE_REASON_BUSY;
	else if (pipe->transfer_status)
		result->reason = pipe->transfer_status == -ENOSPC ? VPIPE_REASON_BUSY :
								    VPIPE_REASON_REFUSED;
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
	trace_vpfront_complete(pipe);
	timer_shutdown_sync(&pipe->pin_timer);
	for (i = 0; i < pipe->nr_flows; i++) {
		struct sock *sk = pipe->flow[i]->sock.sk;

		/* With nothing moved the error is told here, as send() would, and only once. */
		if (result->status == VPIPE_STATUS_FAILED && !result->moved && sk &&
		    READ_ONCE(sk->sk_err) == result->error)
			sock_error(sk);
		vpfront_flow_put(pipe->flow[i]);
	}

	vpfront_file_close(&pipe->file);
	vpfront_sink_close(&pipe->sink);
	if (pipe->dev && !vpfront_pipe_to_socket(pipe))
		atomic_dec(&pipe->dev->to_file);
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

	for (i = 0; i < pipe->nr_flows; i++)
		if (pipe->flow[i]->state == VPFRONT_FLOW_BUSY)
			vpfront_flow_lost(pipe->flow[i]);
}

/* Is everything home?  Then the operation has ended. */
static void pipe_finish_if_home(struct vpfront_pipe *pipe)
{
	unsigned int i;

	for (i = 0; i < pipe->nr_flows; i++)
		if (READ_ONCE(pipe->flow[i]->state) != VPFRONT_FLOW_HOME)
			return;
	pipe_finish(pipe);
}

/* Nothing is moved any more.  May the sockets be left where they are, for the next one? */
static bool pipe_may_stay(struct vpfront_pipe *pipe)
{
	return pipe->moved == pipe->length && !pipe->reason && !READ_ONCE(pipe->error) &&
	       !pipe->file_error && pipe->filled == pipe->taken;
}

static void pipe_end(struct vpfront_pipe *pipe)
{
	/* A process that is gone does not wait for its sockets: they are closed next. */
	bool stay = pipe_may_stay(pipe) || READ_ONCE(pipe->orphaned);
	u32 taken = vpfront_pipe_to_socket(pipe) ? pipe->moved : pipe->taken;
	unsigned int i;

	for (i = 0; i < pipe->nr_flows; i++) {
		struct vpfront_flow *flow = pipe->flow[i];
		bool source = vpfront_pipe_from_socket(pipe) && !i;

		if (flow->state == VPFRONT_FLOW_BUSY)
			vpfront_flow_give_back(flow, source ? 0 : pipe->moved,
					       source ? taken : 0, stay);
	}
	pipe->stage = VPFRONT_RETURNING;
	if (stay)
		pipe_finish(pipe);
}

/* --- stages ------------------------------------------------------------------- */

/* Flows for the sockets, or one for the copy.  0, or an enum vpipe_reason. */
static int pipe_get_flows(struct vpfront_pipe *pipe)
{
	struct socket *in = sock_from_file(pipe->in), *out = sock_from_file(pipe->out);
	int ret = 0;

	if (vpfront_pipe_from_socket(pipe))
		ret = vpfront_flow_get(pipe, in, true);
	if (!ret && vpfront_pipe_to_socket(pipe))
		ret = vpfront_flow_get(pipe, out, false);
	if (pipe->kind == VPIPE_KIND_FILE_TO_FILE)
		ret = vpfront_flow_get(pipe, NULL, false);
	return ret;
}

/* Nothing was moved: those that were away stay away, the others were never gone. */
static void pipe_give_up(struct vpfront_pipe *pipe)
{
	unsigned int i;

	for (i = 0; i < pipe->nr_flows; i++) {
		if (pipe->flow[i]->away)
			vpfront_flow_give_back(pipe->flow[i], 0, 0, true);
		else
			vpfront_flow_unfreeze(pipe->flow[i]);
	}
}

static void pipe_begin(struct vpfront_pipe *pipe)
{
	unsigned int i;
	int ret;

	if (vpfront_pipe_must_stop(pipe) || READ_ONCE(pipe->dev->broken) ||
	    !vpfront_feed_prepare(pipe)) {
		pipe_finish(pipe);
		return;
	}
	ret = pipe_get_flows(pipe);
	for (i = 0; !ret && i < pipe->nr_flows; i++)
		ret = vpfront_flow_freeze(pipe->flow[i]);
	if (ret) {
		pipe_give_up(pipe);
		pipe_decline(pipe, ret);
		return;
	}
	pipe->stage = VPFRONT_MOVING;
	for (i = 0; !ret && i < pipe->nr_flows; i++)
		ret = vpfront_flow_attach(pipe->flow[i]);
	if (!ret)
		ret = vpfront_feed(pipe);
	vpfront_command_collect_all(pipe);
	for (i = 0; i < pipe->nr_flows; i++) {
		int reason = vpfront_flow_judge(pipe->flow[i]);

		if (reason)
			pipe->reason = reason;
	}
	if (ret)
		pipe_lost(pipe);
}

/* Is nothing with the backend any more, and will no event come? */
static bool pipe_quiet(struct vpfront_pipe *pipe)
{
	return READ_ONCE(pipe->flow[0]->state) == VPFRONT_FLOW_HOME || pipe_idle(pipe);
}

static void pipe_advance(struct vpfront_pipe *pipe)
{
	bool gone = false;
	unsigned int i;
	int ret = 0;

	if (READ_ONCE(pipe->dev->broken)) {
		pipe_lost(pipe);
		pipe->stage = VPFRONT_RETURNING;
		return;
	}
	pipe_watch_pins(pipe);
	for (i = 0; i < pipe->nr_flows; i++) {
		gone = gone || pipe->flow[i]->state != VPFRONT_FLOW_BUSY;
		if (READ_ONCE(pipe->flow[i]->rerouted) && !pipe->reason)
			pipe->reason = VPIPE_REASON_ROUTE;
	}
	for (i = 0; !ret && i < pipe->nr_flows; i++)
		if ((gone || vpfront_pipe_must_stop(pipe) || pipe->reason) &&
		    pipe->flow[i]->state == VPFRONT_FLOW_BUSY)
			ret = vpfront_flow_cancel(pipe->flow[i]);
	if (!ret && !pipe->fed && !gone)
		ret = vpfront_feed(pipe);
	for (i = 0; i < pipe->nr_flows; i++)
		if (pipe->flow[i]->state == VPFRONT_FLOW_BUSY)
			vpfront_command_collect(pipe->flow[i]);
	if (ret)
		pipe_lost(pipe);
	if (ret || ((pipe->fed || gone) && pipe_quiet(pipe)))
		pipe_end(pipe);
}

static void pipe_work(struct work_struct *work)
{
	struct vpfront_pipe *pipe = container_of(work, struct vpfront_pipe, work);

	mutex_lock(&pipe->run);
	if (pipe->stage == VPFRONT_START)
		pipe_begin(pipe);
	/* Also right after the start: an event may have come meanwhile. */
	if (pipe->stage == VPFRONT_MOVING)
		pipe_advance(pipe);
	if (pipe->stage == VPFRONT_RETURNING)
		pipe_finish_if_home(pipe);
	mutex_unlock(&pipe->run);
	vpfront_pipe_put(pipe);
}

/* --- by who waits for the end --------------------------------------------------- */

/* Like pipe_begin(), if that need not wait for the backend.  False: nothing was done. */
static bool pipe_begin_here(struct vpfront_pipe *pipe)
{
	if (pipe->kind != VPIPE_KIND_FILE_TO_SOCKET || vpfront_pipe_must_stop(pipe) ||
	    READ_ONCE(pipe->dev->broken) ||
	    !vpfront_flow_get_kept(pipe, sock_from_file(pipe->out)))
		return false;
	if (!vpfront_feed_prepare(pipe)) {
		pipe_give_up(pipe);
		pipe_finish(pipe);
		return true;
	}
	pipe->stage = VPFRONT_MOVING;
	if (!vpfront_feed_first(pipe) || !READ_ONCE(pipe->fed))
		vpfront_pipe_kick(pipe);	/* for what is left */
	pipe_watch_pins(pipe);
	return true;
}

/* Has it gone well, to the end? */
static bool pipe_is_over(struct vpfront_pipe *pipe)
{
	unsigned int i;

	if (pipe->stage != VPFRONT_MOVING || READ_ONCE(pipe->dev->broken) || !pipe->fed ||
	    !pipe_idle(pipe) || !pipe_may_stay(pipe) || vpfront_pipe_must_stop(pipe))
		return false;
	for (i = 0; i < pipe->nr_flows; i++)
		if (pipe->flow[i]->state != VPFRONT_FLOW_BUSY ||
		    READ_ONCE(pipe->flow[i]->rerouted))
			return false;
	return true;
}

/* The last event has come: end it, or leave that to the work. */
static void pipe_end_here(struct vpfront_pipe *pipe)
{
	bool over = false;

	if (mutex_trylock(&pipe->run)) {
		over = pipe_is_over(pipe);
		if (over)
			pipe_end(pipe);
		mutex_unlock(&pipe->run);
	}
	if (!over)
		vpfront_pipe_kick(pipe);
}

static bool pipe_has_news(struct vpfront_pipe *pipe)
{
	return READ_ONCE(pipe->told) || smp_load_acquire(&pipe->finished); /* before the result */
}

/* Until the result is final; or -ERESTARTSYS, and it goes on without the caller. */
int vpfront_pipe_wait(struct vpfront_pipe *pipe)
{
	int ret;

	for (;;) {
		ret = wait_event_freezable(pipe->wait, pipe_has_news(pipe));
		if (ret || !xchg(&pipe->told, false))
			break;
		pipe_end_here(pipe);
	}
	if (ret) {
		WRITE_ONCE(pipe->by_caller, false);
		smp_mb();	/* by_caller before what the work finds: see vpfront_pipe_event() */
		vpfront_pipe_kick(pipe);
	}
	return ret;
}

/* --- start ---------------------------------------------------------------------- */

/*
 * An operation over two open files, whose references it takes over.  It does
 * nothing until it is started.
 */
struct vpfront_pipe *vpfront_pipe_create(u32 kind, struct file *in, struct file *out,
					 u64 in_offset, u64 out_offset, u64 length)
{
	struct vpfront_pipe *pipe = kzalloc(sizeof(*pipe), GFP_KERNEL_ACCOUNT);

	if (!pipe)
		return ERR_PTR(-ENOMEM);
	kref_init(&pipe->ref);
	INIT_WORK(&pipe->work, pipe_work);
	mutex_init(&pipe->run);
	timer_setup(&pipe->pin_timer, pipe_pin_timer, 0);
	INIT_LIST_HEAD(&pipe->node);
	init_waitqueue_head(&pipe->wait);
	pipe->kind = kind;
	pipe->in = in;
	pipe->out = out;
	pipe->length = length;
	pipe->pos = in_offset;
	pipe->end = in_offset + length;
	pipe->out_pos = out_offset;
	__module_get(THIS_MODULE);
	return pipe;
}

void vpfront_pipe_start(struct vpfront_pipe *pipe)
{
	int reason;

	trace_vpfront_submit(pipe);
	if (!pipe->length) {
		pipe_finish(pipe);
		return;
	}
	reason = vpfront_ends_open(pipe);
	if (reason) {
		pipe_decline(pipe, reason);
		return;
	}
	pipe->queue = pipe->dev->queue[raw_smp_processor_id() % pipe->dev->nr_queues];
	if (pipe->by_caller) {
		bool begun;

		mutex_lock(&pipe->run);
		begun = pipe_begin_here(pipe);
		mutex_unlock(&pipe->run);
		if (begun)
			return;
	}
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
