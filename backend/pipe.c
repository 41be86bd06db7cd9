// SPDX-License-Identifier: GPL-2.0
/*
 * pipe.c: a flow's state machine.  Its step, run by sched.c whenever something
 * happened, does what can be done now: reads ahead of the socket into chunks, gives
 * what has arrived to the socket in stream order, takes chunks back whose frames
 * were acknowledged, tells of TRANSFERs that ended, and at the end freezes the
 * shadow.  It never sleeps for a disk or a peer.
 */
#include <linux/blkdev.h>
#include <linux/jiffies.h>
#include <linux/slab.h>

#include "vpback.h"

#define READ_AHEAD	32U	/* chunks between disk and socket: 2 MiB */
#define MAX_CHUNKS	128U	/* of a flow, with those that the socket holds: 8 MiB */
#define STEP_CHUNKS	16U	/* then it is another flow's turn: 1 MiB */
#define RETRY_MS	20U	/* doubled up to the maximum while nothing moves */
#define MAX_RETRY_MS	1000U
#define MAX_LINGER_MS	60000U

void vpback_pipe_kick(struct vpback_flow *flow)
{
	vpback_sched_kick(flow->dev->sched, &flow->task);
}

/* --- reading ahead --------------------------------------------------------------- */

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

/* The first TRANSFER that has bytes to be asked for. */
static struct vpback_transfer *pipe_to_read(struct vpback_flow *flow)
{
	struct vpback_transfer *transfer, *found = NULL;

	spin_lock(&flow->lock);
	list_for_each_entry(transfer, &flow->transfers, node) {
		if (transfer->unread) {
			found = transfer;
			break;
		}
	}
	spin_unlock(&flow->lock);
	return found;
}

/* Ask for the next bytes of the stream, as many as a chunk takes. */
static void pipe_fill(struct vpback_flow *flow, struct vpback_transfer *transfer,
		      struct vpback_chunk *chunk)
{
	u32 at = 0;

	chunk->transfer = transfer;
	atomic_set(&chunk->pending, 1);
	atomic_inc(&flow->bios);
	while (at < VPBACK_CHUNK_BYTES && transfer->unread) {
		const struct xen_vpipe_extent *extent = &transfer->extent[transfer->extent_index];
		u64 sector_offset = round_down(transfer->extent_offset, transfer->align);
		u64 left = ((u64)extent->nr << SECTOR_SHIFT) - sector_offset;
		u32 skip = transfer->extent_offset - sector_offset, want, used;

		/* Whole blocks from the disk; the stream may begin and end inside one. */
		want = min3((u64)VPBACK_CHUNK_BYTES - at, left,
			    round_up(skip + transfer->unread, (u64)transfer->align));
		used = min_t(u64, want - skip, transfer->unread);
		if (!at)
			chunk->offset = skip;
		if (extent->sector == XEN_VPIPE_SECTOR_ZERO) {
			memset(page_address(chunk->page) + at, 0, want);
		} else {
			atomic_inc(&chunk->pending);
			vpback_disk_read(transfer->disk,
					 extent->sector + (sector_offset >> SECTOR_SHIFT),
					 chunk, at, want);
		}
		at += want;
		chunk->length += used;
		transfer->unread -= used;
		transfer->extent_offset += used;
		if (transfer->extent_offset == (u64)extent->nr << SECTOR_SHIFT) {
			transfer->extent_index++;
			transfer->extent_offset = 0;
		}
	}
	vpback_pipe_bio_done(chunk, 0);
}

static void pipe_read_ahead(struct vpback_flow *flow)
{
	struct vpback_transfer *transfer;
	struct vpback_chunk *chunk;
	struct blk_plug plug;

	blk_start_plug(&plug);		/* the disk gets them as one batch */
	while (flow->nr_chunks < READ_AHEAD && flow->nr_chunks + flow->nr_sent < MAX_CHUNKS &&
	       (transfer = pipe_to_read(flow))) {
		chunk = vpback_pool_get(&flow->dev->pool, flow);
		if (!chunk)
			break;		/* kicked when there is one */
		list_add_tail(&chunk->node, &flow->chunks);
		flow->nr_chunks++;
		pipe_fill(flow, transfer, chunk);
	}
	blk_finish_plug(&plug);
}

/* --- the end of a TRANSFER ------------------------------------------------------- */

static void pipe_transfer_free(struct vpback_flow *flow, struct vpback_transfer *transfer)
{
	vpback_disk_put(flow->dev, transfer->disk);
	kvfree(transfer);
}

static void pipe_transfer_done(struct vpback_flow *flow, struct vpback_transfer *transfer,
			       int status)
{
	struct vpback_event *event = kzalloc(sizeof(*event), GFP_KERNEL | __GFP_NOFAIL);

	event->evt.type = XEN_VPIPE_EVT_TRANSFER_DONE;
	event->evt.flow = flow->id;
	event->evt.cookie = transfer->cookie;
	event->evt.moved = transfer->moved;
	event->evt.status = status;
	spin_lock(&flow->lock);
	list_del(&transfer->node);
	flow->nr_transfers--;
	spin_unlock(&flow->lock);
	vpback_stat_add(flow->dev, VPBACK_STAT_TRANSFERS, 1);
	vpback_stat_add(flow->dev, VPBACK_STAT_BYTES, transfer->moved);
	pipe_transfer_free(flow, transfer);
	vpback_ring_event(flow->queue, event);
}

static struct vpback_transfer *pipe_first_transfer(struct vpback_flow *flow)
{
	struct vpback_transfer *transfer;

	spin_lock(&flow->lock);
	transfer = list_first_entry_or_null(&flow->transfers, struct vpback_transfer, node);
	spin_unlock(&flow->lock);
	return transfer;
}

static void pipe_chunk_done(struct vpback_flow *flow, struct vpback_chunk *chunk)
{
	list_del(&chunk->node);
	vpback_pool_put(&flow->dev->pool, chunk);
}

/* All TRANSFERs end here: cancelled, or the source or the sink failed. */
static void pipe_stop(struct vpback_flow *flow, int status)
{
	struct vpback_transfer *transfer;
	struct vpback_chunk *chunk, *next;

	list_for_each_entry_safe(chunk, next, &flow->chunks, node) {
		if (atomic_read_acquire(&chunk->pending))
			continue;	/* dropped when its bios have ended */
		pipe_chunk_done(flow, chunk);
		flow->nr_chunks--;
	}
	/* Nothing may come to a TRANSFER after its end has been told. */
	if (!list_empty(&flow->chunks))
		return;
	while ((transfer = pipe_first_transfer(flow))) {
		pipe_transfer_done(flow, transfer, status);
		status = -ECANCELED;
	}
}

/* --- giving to the socket ---------------------------------------------------------- */

/* Chunks that were given, or an error that ends all TRANSFERs. */
static int pipe_send(struct vpback_flow *flow)
{
	struct vpback_transfer *transfer;
	struct vpback_chunk *chunk;
	int given = 0, ret;

	while (given < STEP_CHUNKS &&
	       (chunk = list_first_entry_or_null(&flow->chunks, struct vpback_chunk, node)) &&
	       !atomic_read_acquire(&chunk->pending)) {
		transfer = chunk->transfer;
		if (chunk->error)
			return -EIO;
		ret = vpback_sock_send(flow, chunk,
				       !list_is_last(&chunk->node, &flow->chunks) ||
				       pipe_to_read(flow));
		if (ret == -EAGAIN)
			break;
		if (ret <= 0)
			return ret ?: -EPIPE;
		transfer->moved += ret;
		if (chunk->length)
			continue;
		list_move_tail(&chunk->node, &flow->sent);
		flow->nr_chunks--;
		flow->nr_sent++;
		given++;
		if (transfer->moved == transfer->length)
			pipe_transfer_done(flow, transfer, 0);
	}
	return given;
}

/* Take back what the socket does not need any more; it lets go in order. */
static void pipe_reclaim(struct vpback_flow *flow, bool all)
{
	struct vpback_chunk *chunk, *next;

	list_for_each_entry_safe(chunk, next, &flow->sent, node) {
		if (!all && !vpback_pool_chunk_idle(chunk))
			break;
		pipe_chunk_done(flow, chunk);
		flow->nr_sent--;
	}
}

/* --- the end of the flow --------------------------------------------------------------- */

static void pipe_linger_timer(struct timer_list *timer)
{
	vpback_pipe_kick(container_of(timer, struct vpback_flow, linger_timer));
}

static void pipe_retry_timer(struct timer_list *timer)
{
	vpback_pipe_kick(container_of(timer, struct vpback_flow, retry_timer));
}

/*
 * There is work and nothing could be done: as a rule somebody will kick us.  But
 * memory may have been short, or the last frame that held a page may have been
 * freed after the last acknowledgement; nobody tells.
 */
static void pipe_retry_later(struct vpback_flow *flow, bool progress)
{
	flow->retry_ms = progress ? RETRY_MS : min(2 * flow->retry_ms, MAX_RETRY_MS);
	mod_timer(&flow->retry_timer, jiffies + msecs_to_jiffies(flow->retry_ms));
}

static void pipe_detach_now(struct vpback_flow *flow, int status)
{
	flow->timed_out = status == -ETIMEDOUT;
	if (!flow->timed_out) {
		vpback_steer_del(flow);
		vpback_sock_freeze(flow);
		vpback_stat_add(flow->dev, VPBACK_STAT_RETRANSMITS, flow->state.retransmits);
	}
	pipe_reclaim(flow, true);
	flow->detached_event.evt.type = XEN_VPIPE_EVT_DETACHED;
	flow->detached_event.evt.flow = flow->id;
	flow->detached_event.evt.status = status;
	vpback_stat_add(flow->dev, VPBACK_STAT_DETACHES, 1);
	WRITE_ONCE(flow->detached, !flow->timed_out);
	vpback_ring_event(flow->queue, &flow->detached_event);
}

static bool pipe_step(struct vpback_task *task)
{
	struct vpback_flow *flow = container_of(task, struct vpback_flow, task);
	bool cancelled, detach, idle;
	int given = 0;

	if (flow->detached || flow->timed_out)
		return false;
	spin_lock(&flow->lock);
	cancelled = flow->cancelled;
	spin_unlock(&flow->lock);

	pipe_reclaim(flow, false);
	if (!cancelled && !flow->sock_error) {
		pipe_read_ahead(flow);
		given = pipe_send(flow);
		/* Chunks come back with acknowledgements, however much room there is. */
		WRITE_ONCE(flow->want_acks,
			   flow->nr_chunks + flow->nr_sent >= MAX_CHUNKS ||
			   !list_empty(&flow->pool_node));
		if (given > 0)
			pipe_read_ahead(flow);
	}
	if (cancelled) {
		pipe_stop(flow, -ECANCELED);
	} else if (flow->sock_error) {
		pipe_stop(flow, flow->sock_error);
	} else if (given < 0) {
		flow->sock_error = given;
		pipe_stop(flow, given);
	}

	spin_lock(&flow->lock);
	idle = list_empty(&flow->transfers) && list_empty(&flow->chunks);
	detach = flow->detach && idle;
	spin_unlock(&flow->lock);
	if (!idle && given < (int)STEP_CHUNKS)
		pipe_retry_later(flow, given > 0);
	if (!detach)
		return given == STEP_CHUNKS;
	if (vpback_sock_settled(flow))
		pipe_detach_now(flow, 0);
	else if (cancelled && !READ_ONCE(flow->linger_forever) &&
		 time_after_eq(jiffies, READ_ONCE(flow->linger_until)))
		pipe_detach_now(flow, -ETIMEDOUT);
	return false;
}

/* --- what the ring asks for ---------------------------------------------------------------- */

int vpback_pipe_transfer(struct vpback_flow *flow, struct vpback_transfer *transfer)
{
	int ret = 0;

	spin_lock(&flow->lock);
	if (flow->detach || flow->cancelled)
		ret = -ESHUTDOWN;
	else if (flow->nr_transfers >= VPBACK_MAX_TRANSFERS)
		ret = -ENOSPC;
	else
		list_add_tail(&transfer->node, &flow->transfers);
	if (!ret)
		flow->nr_transfers++;
	spin_unlock(&flow->lock);
	if (!ret)
		vpback_pipe_kick(flow);
	return ret;
}

void vpback_pipe_cancel(struct vpback_flow *flow, u32 linger_ms)
{
	unsigned long until = jiffies + msecs_to_jiffies(min(linger_ms, MAX_LINGER_MS));
	bool forever = linger_ms == XEN_VPIPE_LINGER_FOREVER;

	spin_lock(&flow->lock);
	flow->cancelled = true;
	flow->linger_forever = forever;
	flow->linger_until = until;
	spin_unlock(&flow->lock);
	if (!forever)
		mod_timer(&flow->linger_timer, until + 1);
	vpback_pipe_kick(flow);
}

int vpback_pipe_detach(struct vpback_flow *flow)
{
	bool already;

	spin_lock(&flow->lock);
	already = flow->detach;
	flow->detach = true;
	spin_unlock(&flow->lock);
	if (already)
		return -EALREADY;
	vpback_pipe_kick(flow);
	return 0;
}

/* A flow with its shadow socket.  ERR_PTR as XEN_VPIPE_OP_ATTACH says.  May sleep. */
struct vpback_flow *vpback_pipe_create(struct vpback_queue *queue, struct vpback_device *dev,
				       u32 id, const struct xen_vpipe_tcp_state *st)
{
	struct vpback_link *link, *found = NULL;
	struct vpback_flow *flow;
	int ret;

	list_for_each_entry(link, &dev->links, node)
		if (link->handle == st->vif && netif_running(link->netdev))
			found = link;
	if (!found)
		return ERR_PTR(-ENODEV);
	flow = kzalloc(sizeof(*flow), GFP_KERNEL);
	if (!flow)
		return ERR_PTR(-ENOMEM);
	flow->dev = dev;
	flow->queue = queue;
	flow->id = id;
	flow->state = *st;
	flow->link = found;
	flow->task.step = pipe_step;
	timer_setup(&flow->linger_timer, pipe_linger_timer, 0);
	timer_setup(&flow->retry_timer, pipe_retry_timer, 0);
	flow->retry_ms = RETRY_MS;
	INIT_LIST_HEAD(&flow->detached_event.node);
	spin_lock_init(&flow->lock);
	INIT_LIST_HEAD(&flow->transfers);
	INIT_LIST_HEAD(&flow->chunks);
	INIT_LIST_HEAD(&flow->sent);
	INIT_LIST_HEAD(&flow->pool_node);
	init_waitqueue_head(&flow->bios_wait);

	flow->reserved = (st->write_seq - st->snd_una) + min(st->rcvbuf, VPBACK_MAX_BUFFER);
	if (atomic64_add_return(flow->reserved, &dev->reserved) >
	    (s64)vpback_flow_mib << 20) {
		ret = -ENOSPC;
		goto err;
	}
	/* In the table before it is live, so that its first frame finds its way out. */
	ret = vpback_steer_add(found, flow);
	if (ret)
		goto err;
	ret = vpback_sock_create(flow);
	if (ret)
		goto err_steer;
	atomic_inc(&dev->nr_flows);
	vpback_stat_add(dev, VPBACK_STAT_ATTACHES, 1);
	return flow;

err_steer:
	vpback_steer_del(flow);
err:
	atomic64_sub(flow->reserved, &dev->reserved);
	kfree_rcu(flow, rcu);
	return ERR_PTR(ret);
}

/* At any time.  Waits for bios in flight. */
void vpback_pipe_destroy(struct vpback_flow *flow)
{
	struct vpback_transfer *transfer, *next;
	struct vpback_chunk *chunk, *next_chunk;

	vpback_sched_retire(flow->dev->sched, &flow->task);
	vpback_ring_forget(flow->queue, flow);
	wait_event(flow->bios_wait, !atomic_read(&flow->bios));
	if (!flow->timed_out)		/* a RST has to find its way out */
		vpback_steer_del(flow);
	vpback_sock_release(flow, flow->timed_out);
	vpback_steer_del(flow);
	timer_delete_sync(&flow->linger_timer);
	timer_delete_sync(&flow->retry_timer);
	vpback_pool_forget(&flow->dev->pool, flow);
	list_for_each_entry_safe(chunk, next_chunk, &flow->chunks, node)
		pipe_chunk_done(flow, chunk);
	pipe_reclaim(flow, true);
	list_for_each_entry_safe(transfer, next, &flow->transfers, node)
		pipe_transfer_free(flow, transfer);
	atomic_dec(&flow->dev->nr_flows);
	atomic64_sub(flow->reserved, &flow->dev->reserved);
	kfree_rcu(flow, rcu);
}
