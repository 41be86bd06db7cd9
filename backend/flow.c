// SPDX-License-Identifier: GPL-2.0
/*
 * flow.c: flows: with a shadow socket or without, from ATTACH or OPEN to RELEASE; and
 * which of them gives to the socket of which other one.
 *
 * A TRANSFER from socket to socket is the source flow's and points to the sink flow;
 * that one points back (feeder), both under the device's feed_lock.  Flows of a queue
 * are made, linked and destroyed by one thread.  Whichever goes first, or the end of
 * the TRANSFER, unlinks the two; a step of the feeder that goes on is waited for.
 */
#include <linux/jiffies.h>
#include <linux/slab.h>

#include "vpback.h"

#define FLOW_BYTES	(8U << 10)	/* flow, socket and their entries, about */

/* --- from socket to socket ---------------------------------------------------------- */

/* What a socket has to tell concerns also the flow that gives to it.  Any context. */
void vpback_flow_kick_all(struct vpback_flow *flow)
{
	vpback_pipe_kick(flow);
	smp_mb();	/* what has happened, before whom it concerns; as vpback_flow_feed() */
	if (!READ_ONCE(flow->feeder))
		return;
	spin_lock_bh(&flow->dev->feed_lock);
	if (flow->feeder)
		vpback_pipe_kick(flow->feeder);
	spin_unlock_bh(&flow->dev->feed_lock);
}

/* It gives nothing to another flow any more; that one may wait for this. */
static void flow_unlink(struct vpback_flow *flow, struct vpback_transfer *transfer)
{
	spin_lock_bh(&flow->dev->feed_lock);
	if (transfer->sink) {
		WRITE_ONCE(transfer->sink->feeder, NULL);
		vpback_pipe_kick(transfer->sink);
		transfer->sink = NULL;
	}
	spin_unlock_bh(&flow->dev->feed_lock);
}

/* Forget a TRANSFER that is on no list. */
void vpback_flow_drop(struct vpback_flow *flow, struct vpback_transfer *transfer)
{
	flow_unlink(flow, transfer);
	if (transfer->disk)
		vpback_disk_put(flow->dev, transfer->disk);
	atomic64_sub(transfer->size, &flow->dev->reserved);
	atomic_dec(&flow->dev->nr_ops);
	kvfree(transfer);
}

/* Could another flow give to its socket?  The ring's, as all that changes the answer. */
static int flow_may_be_fed(struct vpback_flow *flow)
{
	int ret = 0;

	spin_lock(&flow->lock);
	if (flow->detach || flow->cancelled)
		ret = -ESHUTDOWN;
	else if (flow->nr_transfers || flow->nr_writes)
		ret = -EBUSY;
	spin_unlock(&flow->lock);
	return ret;
}

/*
 * May the flow have one more TRANSFER, to the socket of `sink` unless that is NULL?  The
 * ring's.  Flows do not form chains, and not a circle.
 */
int vpback_flow_may_feed(struct vpback_flow *flow, struct vpback_flow *sink)
{
	if (READ_ONCE(flow->feeder))
		return -EBUSY;
	if (!sink)
		return 0;
	if (sink == flow || READ_ONCE(sink->feeder))
		return -EBUSY;
	return flow_may_be_fed(sink);
}

void vpback_flow_feed(struct vpback_flow *flow, struct vpback_transfer *transfer,
		      struct vpback_flow *sink)
{
	spin_lock_bh(&flow->dev->feed_lock);
	transfer->sink = sink;
	WRITE_ONCE(sink->feeder, flow);
	spin_unlock_bh(&flow->dev->feed_lock);
	smp_mb();	/* that, before how the sink is; as vpback_flow_kick_all() */
}

/* Nobody gives to the flow any more, and does not do so when this returns. */
static void flow_unfeed(struct vpback_flow *flow)
{
	struct vpback_transfer *transfer;
	struct vpback_flow *feeder;

	spin_lock_bh(&flow->dev->feed_lock);
	feeder = flow->feeder;
	spin_unlock_bh(&flow->dev->feed_lock);
	if (!feeder)
		return;
	/* This thread alone could destroy it; the step may end the TRANSFER meanwhile. */
	spin_lock(&feeder->lock);
	list_for_each_entry(transfer, &feeder->transfers, node)
		if (READ_ONCE(transfer->sink) == flow)
			flow_unlink(feeder, transfer);
	spin_unlock(&feeder->lock);
	vpback_sched_flush(flow->dev->sched, &feeder->task);
	vpback_pipe_kick(feeder);
}

/* --- life -------------------------------------------------------------------------------- */

static void flow_settle_timer(struct timer_list *timer)
{
	vpback_pipe_kick(container_of(timer, struct vpback_flow, settle_timer));
}

static void flow_retry_timer(struct timer_list *timer)
{
	vpback_pipe_kick(container_of(timer, struct vpback_flow, retry_timer));
}

static void flow_gather_timer(struct timer_list *timer)
{
	vpback_pipe_kick(container_of(timer, struct vpback_flow, gather_timer));
}

/* What its socket may hold: its queue again, and what it has promised to the peer, or more. */
static u64 flow_buffers(const struct xen_vpipe_tcp_state *st)
{
	return st->write_seq - st->snd_una + max(min(st->rcvbuf, VPBACK_MAX_BUFFER),
						 2 * min(st->rcv_wnd, VPBACK_MAX_BUFFER));
}

/* `buffers`: bytes, counted against the domain's limit.  ERR_PTR: -ENOMEM, -ENOSPC. */
static struct vpback_flow *flow_alloc(struct vpback_queue *queue, struct vpback_device *dev,
				      u32 id, u64 buffers)
{
	struct vpback_flow *flow = kzalloc(sizeof(*flow), GFP_KERNEL);

	if (!flow)
		return ERR_PTR(-ENOMEM);
	flow->reserved = FLOW_BYTES + buffers;
	if (atomic64_add_return(flow->reserved, &dev->reserved) > (s64)vpback_flow_mib << 20) {
		atomic64_sub(flow->reserved, &dev->reserved);
		kfree(flow);
		return ERR_PTR(-ENOSPC);
	}
	flow->dev = dev;
	flow->queue = queue;
	flow->id = id;
	flow->task.step = vpback_pipe_step;
	timer_setup(&flow->settle_timer, flow_settle_timer, 0);
	timer_setup(&flow->retry_timer, flow_retry_timer, 0);
	timer_setup(&flow->gather_timer, flow_gather_timer, 0);
	flow->retry_ms = VPBACK_RETRY_MS;
	INIT_LIST_HEAD(&flow->detached_event.node);
	INIT_LIST_HEAD(&flow->input_event.node);
	spin_lock_init(&flow->lock);
	INIT_LIST_HEAD(&flow->transfers);
	INIT_LIST_HEAD(&flow->writes);
	INIT_LIST_HEAD(&flow->chunks);
	INIT_LIST_HEAD(&flow->sent);
	INIT_LIST_HEAD(&flow->buffer);
	INIT_LIST_HEAD(&flow->writing);
	INIT_LIST_HEAD(&flow->unread);
	INIT_LIST_HEAD(&flow->pool_node);
	init_waitqueue_head(&flow->bios_wait);
	return flow;
}

/* A flow that is no connection.  ERR_PTR as XEN_VPIPE_OP_OPEN says. */
struct vpback_flow *vpback_flow_open(struct vpback_queue *queue, struct vpback_device *dev,
				     u32 id)
{
	struct vpback_flow *flow = flow_alloc(queue, dev, id, 0);

	if (IS_ERR(flow))
		return flow;
	atomic_inc(&dev->nr_flows);
	return flow;
}

/* A flow with its shadow socket.  ERR_PTR as XEN_VPIPE_OP_ATTACH says.  May sleep. */
struct vpback_flow *vpback_flow_create(struct vpback_queue *queue, struct vpback_device *dev,
				       u32 id, const struct xen_vpipe_tcp_state *st)
{
	struct vpback_link *link;
	struct vpback_flow *flow;
	int ret;

	link = vpback_links_get(dev, st);
	if (IS_ERR(link))
		return ERR_CAST(link);
	flow = flow_alloc(queue, dev, id, flow_buffers(st));
	if (IS_ERR(flow)) {
		vpback_links_put(link);
		return flow;
	}
	flow->state = *st;
	flow->link = link;

	/* In the table before it is live, so that its first frame finds its way out. */
	ret = vpback_steer_add(link, flow);
	if (ret)
		goto err;
	vpback_hold_mark(flow);
	ret = vpback_shadow_create(flow);
	if (ret)
		goto err_steer;
	atomic_inc(&dev->nr_flows);
	vpback_stat_add(dev, VPBACK_STAT_ATTACHES, 1);
	return flow;

err_steer:
	vpback_sched_retire(dev->sched, &flow->task);	/* the marker may have kicked it */
	vpback_hold_end(flow, true);
	vpback_steer_del(flow);
err:
	vpback_links_put(link);
	atomic64_sub(flow->reserved, &dev->reserved);
	kfree_rcu(flow, rcu);
	return ERR_PTR(ret);
}

static void flow_drop_chunks(struct vpback_flow *flow, struct list_head *list)
{
	struct vpback_chunk *chunk, *next;

	list_for_each_entry_safe(chunk, next, list, node)
		vpback_pipe_chunk_done(flow, chunk);
}

static void flow_drop_transfers(struct vpback_flow *flow, struct list_head *list)
{
	struct vpback_transfer *transfer, *next;

	list_for_each_entry_safe(transfer, next, list, node)
		vpback_flow_drop(flow, transfer);
}

/*
 * At any time.  Waits for bios in flight.  `released`: by a guest that lives.  A connection
 * that did not go home before is lost to it, and its peer should know; also when it
 * has been on its way, and did not arrive.
 */
void vpback_flow_destroy(struct vpback_flow *flow, bool released)
{
	bool reset;

	vpback_sched_retire(flow->dev->sched, &flow->task);
	reset = released && flow->live && (!flow->detached || flow->lost);
	flow_unfeed(flow);
	vpback_ring_forget(flow->queue, flow);
	wait_event(flow->bios_wait, !atomic_read(&flow->bios));
	if (flow->link) {
		vpback_hold_end(flow, released);
		if (!reset)		/* a RST has to find its way out */
			vpback_steer_del(flow);
		vpback_sock_release(flow, reset);
		vpback_steer_del(flow);
		vpback_links_put(flow->link);
	}
	timer_delete_sync(&flow->settle_timer);
	timer_delete_sync(&flow->retry_timer);
	timer_delete_sync(&flow->gather_timer);
	vpback_pool_forget(&flow->dev->pool, flow);
	flow_drop_transfers(flow, &flow->transfers);
	flow_drop_transfers(flow, &flow->writes);
	flow_drop_chunks(flow, &flow->chunks);
	flow_drop_chunks(flow, &flow->sent);
	flow_drop_chunks(flow, &flow->buffer);
	flow_drop_chunks(flow, &flow->writing);
	flow_drop_chunks(flow, &flow->unread);
	atomic_dec(&flow->dev->nr_flows);
	atomic64_sub(flow->reserved, &flow->dev->reserved);
	kfree_rcu(flow, rcu);
}
