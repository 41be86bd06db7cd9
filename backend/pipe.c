// SPDX-License-Identifier: GPL-2.0
/*
 * pipe.c: a flow's state machine.  Its step, run by sched.c whenever something
 * happened, does what can be done now: asks the source for bytes (source.c), gives
 * those that are there to the sink in stream order (sink.c), takes back chunks that
 * no socket needs any more, tells of TRANSFERs that ended, and of input that nobody
 * reads, and at the end freezes the shadow.  It never sleeps for a disk or a peer.
 *
 * Of the TRANSFERs into something the first is worked on, and of the writes from the
 * buffer to disk; both at the same time.
 */
#include <linux/jiffies.h>
#include <linux/slab.h>

#include "trace.h"

#define MAX_RETRY_MS	1000U	/* doubled up to this while nothing moves */
#define MAX_SETTLE_MS	60000U

void vpback_pipe_kick(struct vpback_flow *flow)
{
	vpback_sched_kick(flow->dev->sched, &flow->task);
}

/* A bio of this chunk ended, or its submitter is through.  Any context. */
void vpback_pipe_bio_done(struct vpback_chunk *chunk, int error)
{
	struct vpback_flow *flow = chunk->flow;

	if (error)
		WRITE_ONCE(chunk->error, error);
	if (!atomic_dec_and_test(&chunk->pending))
		return;
	vpback_pipe_kick(flow);
	/* A flow that waits for this to go is freed a grace period later. */
	rcu_read_lock();
	if (atomic_dec_and_test(&flow->bios))
		wake_up_all(&flow->bios_wait);
	rcu_read_unlock();
}

void vpback_pipe_chunk_done(struct vpback_flow *flow, struct vpback_chunk *chunk)
{
	list_del(&chunk->node);
	vpback_pool_put(&flow->dev->pool, chunk);
}

/* --- the end of a TRANSFER ------------------------------------------------------- */

/* The TRANSFER has ended: tell, and forget it.  The step's. */
void vpback_pipe_done(struct vpback_flow *flow, struct vpback_transfer *transfer, int status)
{
	struct vpback_event *event = kzalloc(sizeof(*event), GFP_KERNEL | __GFP_NOFAIL);

	INIT_LIST_HEAD(&event->node);
	event->evt.type = XEN_VPIPE_EVT_TRANSFER_DONE;
	event->evt.flow = flow->id;
	event->evt.cookie = transfer->cookie;
	event->evt.moved = transfer->moved;
	event->evt.status = status;
	spin_lock(&flow->lock);
	list_del(&transfer->node);
	if (transfer->from == XEN_VPIPE_END_BUFFER) {
		flow->nr_writes--;
		if (status)
			flow->buffered += transfer->length;
	} else {
		flow->nr_transfers--;
		if (transfer->to == XEN_VPIPE_END_BUFFER)
			flow->buffered += transfer->moved;
	}
	spin_unlock(&flow->lock);
	vpback_stat_add(flow->dev, VPBACK_STAT_TRANSFERS, 1);
	if (transfer->to != XEN_VPIPE_END_BUFFER)
		vpback_stat_add(flow->dev, VPBACK_STAT_BYTES, transfer->moved);
	trace_vpback_complete(flow, transfer, status);
	/* First this end, then that of a flow which waits for it. */
	vpback_ring_event(flow->queue, event);
	vpback_flow_drop(flow, transfer);
}

static struct vpback_transfer *pipe_first_transfer(struct vpback_flow *flow)
{
	struct vpback_transfer *transfer;

	spin_lock(&flow->lock);
	transfer = list_first_entry_or_null(&flow->transfers, struct vpback_transfer, node);
	spin_unlock(&flow->lock);
	return transfer;
}

/* TRANSFERs into something of which all is done.  True: there were some. */
static bool pipe_finish(struct vpback_flow *flow)
{
	struct vpback_transfer *transfer;
	struct vpback_chunk *chunk;
	bool any = false;

	while ((transfer = pipe_first_transfer(flow)) && !transfer->unread &&
	       transfer->moved == transfer->length) {
		/* One that waited for more to come; all its bytes were given. */
		chunk = list_first_entry_or_null(&flow->chunks, struct vpback_chunk, node);
		if (chunk && chunk->transfer == transfer) {
			list_move_tail(&chunk->node, &flow->sent);
			flow->nr_chunks--;
			flow->nr_sent++;
		}
		vpback_pipe_done(flow, transfer, 0);
		any = true;
	}
	return any;
}

/*
 * What has come into the buffer is told when nothing more comes for a while: the peer
 * is silent, or there is no room.  That there is none in the domain's pool is true of
 * moments, as long as its other flows move: the longer wait is for it.  True: it was told.
 */
static bool pipe_gathered(struct vpback_flow *flow)
{
	struct vpback_transfer *transfer = pipe_first_transfer(flow);
	bool silent, poor;

	if (!transfer || transfer->to != XEN_VPIPE_END_BUFFER || !list_empty(&flow->chunks))
		return false;
	silent = transfer->from == XEN_VPIPE_END_SOCKET && !transfer->moved;
	if (silent && !flow->starved) {
		transfer->seen = U64_MAX;	/* later it is */
		return false;
	}
	poor = flow->starved && (silent || transfer->from == XEN_VPIPE_END_EXTENTS);
	if (transfer->seen != transfer->moved) {
		transfer->seen = transfer->moved;
		flow->gather_until = jiffies + msecs_to_jiffies(poor ? XEN_VPIPE_STARVE_MS :
								       XEN_VPIPE_GATHER_MS);
		mod_timer(&flow->gather_timer, flow->gather_until);
		return false;
	}
	if (time_before(jiffies, flow->gather_until))
		return false;
	/* With status 0 it would be the end of the stream. */
	vpback_pipe_done(flow, transfer, silent ? -ENOBUFS : 0);
	return true;
}

/* All TRANSFERs into something end here: cancelled, or a source or a sink failed. */
static void pipe_stop(struct vpback_flow *flow)
{
	struct vpback_transfer *transfer;
	struct vpback_chunk *chunk, *prev;
	int status = flow->failed;

	list_for_each_entry_safe_reverse(chunk, prev, &flow->chunks, node) {
		if (atomic_read_acquire(&chunk->pending))
			continue;	/* dropped when its bios have ended */
		flow->nr_chunks--;
		/* What came from a peer is not lost. */
		if (chunk->transfer->from == XEN_VPIPE_END_SOCKET && chunk->length)
			list_move(&chunk->node, &flow->unread);
		else
			vpback_pipe_chunk_done(flow, chunk);
	}
	/* Nothing may come to a TRANSFER after its end has been told. */
	if (!list_empty(&flow->chunks))
		return;
	while ((transfer = pipe_first_transfer(flow))) {
		vpback_pipe_done(flow, transfer, status);
		status = -ECANCELED;
	}
}

/* --- the end of the flow --------------------------------------------------------------- */

/*
 * There is work and nothing could be done: as a rule somebody will kick us.  But
 * memory may have been short, or the last frame that held a page may have been
 * freed after the last acknowledgement; nobody tells.
 */
static void pipe_retry_later(struct vpback_flow *flow)
{
	mod_timer(&flow->retry_timer, jiffies + msecs_to_jiffies(flow->retry_ms));
	flow->retry_ms = min(2 * flow->retry_ms, MAX_RETRY_MS);
}

static void pipe_detach_now(struct vpback_flow *flow)
{
	if (flow->link) {
		vpback_hold_again(flow);
		vpback_sock_freeze(flow);
		/* What it has sent goes before whatever the guest sends. */
		vpback_netdev_flush(&flow->link->out);
		flow->state.unread += vpback_source_held(flow);
		vpback_stat_add(flow->dev, VPBACK_STAT_RETRANSMITS, flow->state.retransmits);
		vpback_stat_add(flow->dev, VPBACK_STAT_DETACHES, 1);
	}
	vpback_sink_reclaim(flow, true);
	flow->detached_event.evt.type = XEN_VPIPE_EVT_DETACHED;
	flow->detached_event.evt.flow = flow->id;
	/* From here on what is unread is the ring's. */
	smp_store_release(&flow->detached, true);
	vpback_ring_event(flow->queue, &flow->detached_event);
}

/* The guest has nothing to do with the flow just now: would it, if it knew? */
static void pipe_look_for_input(struct vpback_flow *flow)
{
	bool tell;

	/* The shadow may not be there yet: the flow's frames can kick it before. */
	if (!flow->link || !smp_load_acquire(&flow->complete) || READ_ONCE(flow->input_told))
		return;
	WRITE_ONCE(flow->want_input, true);
	smp_mb();	/* ask to be told before looking */
	if (!vpback_sock_input(flow) && (!flow->started || !vpback_source_held(flow)))
		return;
	spin_lock(&flow->lock);
	tell = !flow->input_told && list_empty(&flow->transfers) && list_empty(&flow->writes) &&
	       !READ_ONCE(flow->feeder);
	if (tell)
		WRITE_ONCE(flow->input_told, true);
	spin_unlock(&flow->lock);
	WRITE_ONCE(flow->want_input, false);
	if (!tell)
		return;
	flow->input_event.evt.type = XEN_VPIPE_EVT_INPUT;
	flow->input_event.evt.flow = flow->id;
	vpback_ring_event(flow->queue, &flow->input_event);
}

/* May the shadow be frozen?  Or is that too early, and we shall be kicked. */
static bool pipe_settled(struct vpback_flow *flow)
{
	if (!flow->link)
		return true;
	if (!READ_ONCE(flow->drained))
		return false;
	if (READ_ONCE(flow->finish) && !flow->fin_sent && READ_ONCE(flow->complete)) {
		if (!vpback_source_held(flow))
			vpback_sock_finish(flow);
		/* The guest's kernel has to do something else, or there is no memory. */
		if (!flow->fin_sent)
			return true;
	}
	return time_after_eq(jiffies, READ_ONCE(flow->settle_until)) || vpback_sock_settled(flow);
}

/* Move what can be moved into something.  True: there is more to do now. */
static bool pipe_move(struct vpback_flow *flow)
{
	int got, given, again, looked;
	bool ended;

	got = vpback_source_read(flow);
	looked = got;
	do {
		again = 0;
		given = vpback_sink_give(flow);
		if (given > 0)
			flow->retry_ms = VPBACK_RETRY_MS;
		if (given <= 0 || got < 0)
			break;
		/* It may have waited for this; if not, it tells from now on when it has more. */
		again = vpback_source_read(flow);
		got = again < 0 ? again : max(got, again);
		looked += again;
	} while (again > 0 && looked < (int)VPBACK_STEP_CHUNKS);
	ended = pipe_finish(flow);
	if (got < 0 || given < 0)
		flow->failed = min(got, 0) ?: given;
	else
		ended |= pipe_gathered(flow);
	return ended || again > 0 || got >= (int)VPBACK_STEP_CHUNKS || given == VPBACK_STEP_CHUNKS;
}

/* What moving on will cost, bits of credit.h; 0: there is nothing to begin. */
static unsigned int pipe_needs(struct vpback_flow *flow)
{
	struct vpback_transfer *transfer;
	unsigned int needs = 0;

	spin_lock(&flow->lock);
	transfer = list_first_entry_or_null(&flow->transfers, struct vpback_transfer, node);
	if (transfer && transfer->disk)
		needs |= VPBACK_CREDIT_NEEDS_DISK;
	if (transfer && (transfer->from == XEN_VPIPE_END_SOCKET ||
			 transfer->to == XEN_VPIPE_END_SOCKET))
		needs |= VPBACK_CREDIT_NEEDS_NET;
	transfer = list_first_entry_or_null(&flow->writes, struct vpback_transfer, node);
	if (transfer && (!transfer->begun || flow->nr_writes > 1))
		needs |= VPBACK_CREDIT_NEEDS_DISK;
	spin_unlock(&flow->lock);
	return needs;
}

/* A run of the flow's task. */
enum vpback_step vpback_pipe_step(struct vpback_task *task)
{
	struct vpback_flow *flow = container_of(task, struct vpback_flow, task);
	bool cancelled, detach, may, more = false;

	if (flow->detached)
		return VPBACK_STEP_IDLE;
	spin_lock(&flow->lock);
	cancelled = flow->cancelled;
	spin_unlock(&flow->lock);
	if (cancelled && !flow->failed)
		flow->failed = -ECANCELED;

	flow->starved = false;
	if (READ_ONCE(flow->charged))
		vpback_frags_charge(flow);
	vpback_sink_reclaim(flow, false);
	task->needs = flow->failed ? 0 : pipe_needs(flow);
	may = !task->needs || vpback_credit_ask(&flow->dev->account, task->needs);
	trace_vpback_dispatch(flow, task->needs, may);
	vpback_sink_write(flow, cancelled, may);
	if (!flow->failed && may)
		more = pipe_move(flow);
	if (flow->failed)
		pipe_stop(flow);

	spin_lock(&flow->lock);
	detach = flow->detach && list_empty(&flow->transfers) && list_empty(&flow->writes) &&
		 list_empty(&flow->chunks);
	spin_unlock(&flow->lock);
	if (!more && (flow->starved || (may && flow->nr_chunks) || flow->nr_sent ||
		      READ_ONCE(flow->charged)))
		pipe_retry_later(flow);
	if (!detach)
		pipe_look_for_input(flow);
	if (!detach || READ_ONCE(flow->feeder))
		return more ? VPBACK_STEP_MORE : may ? VPBACK_STEP_IDLE : VPBACK_STEP_CREDIT;
	if (pipe_settled(flow))
		pipe_detach_now(flow);
	return VPBACK_STEP_IDLE;
}

/* --- what the ring asks for ---------------------------------------------------------------- */

/* Nothing was asked of the flow yet but to exist.  The ring's. */
bool vpback_pipe_fresh(struct vpback_flow *flow)
{
	bool fresh;

	spin_lock(&flow->lock);
	fresh = !flow->started && !flow->detach && !flow->cancelled &&
		!READ_ONCE(flow->feeder);
	spin_unlock(&flow->lock);
	return fresh;
}

/* `sink`: the flow whose socket it goes to, or NULL when it is the same. */
int vpback_pipe_transfer(struct vpback_flow *flow, struct vpback_transfer *transfer,
			 struct vpback_flow *sink)
{
	bool write = transfer->from == XEN_VPIPE_END_BUFFER;
	int ret;

	ret = vpback_flow_may_feed(flow, sink);
	if (ret)
		return ret;
	spin_lock(&flow->lock);
	if (flow->detach || flow->cancelled || (write && flow->write_failed))
		ret = -ESHUTDOWN;
	else if (write && transfer->length > flow->buffered)
		ret = -EINVAL;
	else if ((write ? flow->nr_writes : flow->nr_transfers) >= VPBACK_MAX_TRANSFERS)
		ret = -ENOSPC;
	if (ret)
		goto out;
	flow->started = true;
	WRITE_ONCE(flow->input_told, false);
	if (sink)
		vpback_flow_feed(flow, transfer, sink);
	if (write) {
		list_add_tail(&transfer->node, &flow->writes);
		flow->nr_writes++;
		flow->buffered -= transfer->length;
	} else {
		list_add_tail(&transfer->node, &flow->transfers);
		flow->nr_transfers++;
	}
	trace_vpback_submit(flow, transfer);
out:
	spin_unlock(&flow->lock);
	if (ret)
		return ret;
	if (sink)
		WRITE_ONCE(sink->input_told, false);
	vpback_pipe_kick(flow);
	return 0;
}

void vpback_pipe_cancel(struct vpback_flow *flow)
{
	spin_lock(&flow->lock);
	flow->cancelled = true;
	spin_unlock(&flow->lock);
	vpback_flow_kick_all(flow);
}

/* Once what was asked of it has ended, and after so long that its peer may settle. */
int vpback_pipe_detach(struct vpback_flow *flow, u32 settle_ms, bool finish)
{
	unsigned long until = jiffies + msecs_to_jiffies(min(settle_ms, MAX_SETTLE_MS));

	if (smp_load_acquire(&flow->detached))	/* as the ring does for RETURN */
		return -EALREADY;
	spin_lock(&flow->lock);
	flow->detach = true;
	WRITE_ONCE(flow->finish, flow->finish || finish);
	WRITE_ONCE(flow->settle_until, until);
	spin_unlock(&flow->lock);
	if (settle_ms)
		mod_timer(&flow->settle_timer, until + 1);
	vpback_pipe_kick(flow);
	return 0;
}
