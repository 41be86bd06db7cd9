// SPDX-License-Identifier: GPL-2.0
/*
 * sink.c: bytes out of chunks: to the flow's socket, or to that of another flow, by
 * reference; into the flow's buffer; and from there to a disk.
 *
 * A write takes its bytes from the head of the buffer when its turn has come, and
 * keeps them until all its bios have ended: a write that fails leaves the buffer as
 * it was.  Those behind it would then write the wrong bytes, and do not begin.
 */
#include <linux/blkdev.h>

#include "vpback.h"

/* --- sockets and the buffer ------------------------------------------------------------ */

/*
 * The flow whose socket takes a TRANSFER's bytes; it cannot go while this step runs
 * (vpback_sched_flush).
 */
struct vpback_flow *vpback_sink_of(struct vpback_flow *flow, struct vpback_transfer *transfer)
{
	struct vpback_flow *sink;

	if (transfer->from != XEN_VPIPE_END_SOCKET)
		return flow;
	spin_lock_bh(&flow->dev->feed_lock);
	sink = transfer->sink;
	spin_unlock_bh(&flow->dev->feed_lock);
	return sink;
}

/*
 * When the first TRANSFER is to another flow's socket: which, and why that takes nothing
 * any more, though there may be nothing to give now.
 */
static int sink_other(struct vpback_flow *flow, struct vpback_flow **other)
{
	struct vpback_transfer *transfer;
	struct vpback_flow *sink;

	spin_lock(&flow->lock);
	transfer = list_first_entry_or_null(&flow->transfers, struct vpback_transfer, node);
	spin_unlock(&flow->lock);
	if (!transfer || transfer->from != XEN_VPIPE_END_SOCKET ||
	    transfer->to != XEN_VPIPE_END_SOCKET || transfer->moved == transfer->length)
		return 0;
	sink = vpback_sink_of(flow, transfer);
	if (!sink)
		return -EPIPE;		/* released */
	*other = sink;
	return READ_ONCE(sink->cancelled) ? -ECANCELED : vpback_sock_ended(sink);
}

/* From socket to socket: all of it was given, and more can be received behind that. */
bool vpback_sink_keeps(const struct vpback_flow *flow, const struct vpback_chunk *chunk)
{
	return chunk->transfer->from == XEN_VPIPE_END_SOCKET && chunk->transfer->unread &&
	       chunk->offset < VPBACK_CHUNK_BYTES && list_is_last(&chunk->node, &flow->chunks);
}

/* More follows at once: a last segment that is not full can wait for it. */
static bool sink_more(struct vpback_flow *flow, struct vpback_chunk *chunk)
{
	if (!list_is_last(&chunk->node, &flow->chunks))
		return list_next_entry(chunk, node)->transfer->to == XEN_VPIPE_END_SOCKET;
	return chunk->transfer->from == XEN_VPIPE_END_EXTENTS && vpback_source_more(flow);
}

/* The rest of a chunk to the flow's socket.  As vpback_sock_send. */
static int sink_send(struct vpback_flow *flow, struct vpback_chunk *chunk, bool more)
{
	struct bio_vec vec;
	int ret;

	bvec_set_page(&vec, chunk->page, chunk->length, chunk->offset);
	ret = vpback_sock_send(flow, &vec, 1, chunk->length, more);
	if (ret > 0) {
		chunk->offset += ret;
		chunk->length -= ret;
		vpback_credit_spend(&flow->dev->account,
				    BIT(VPBACK_CREDIT_NET) | BIT(VPBACK_CREDIT_WORK), ret);
	}
	return ret;
}

/* Chunks whose bytes were given, or an error that ends all TRANSFERs into something. */
int vpback_sink_give(struct vpback_flow *flow)
{
	struct vpback_flow *sink, *last = flow;
	struct vpback_transfer *transfer;
	struct vpback_chunk *chunk;
	int given = 0, ret;
	u32 bytes;

	ret = sink_other(flow, &last);
	if (ret)
		return ret;
	while (given < VPBACK_STEP_CHUNKS &&
	       (chunk = list_first_entry_or_null(&flow->chunks, struct vpback_chunk, node)) &&
	       !atomic_read_acquire(&chunk->pending)) {
		transfer = chunk->transfer;
		if (chunk->error)
			return -EIO;
		if (transfer->to == XEN_VPIPE_END_BUFFER) {
			transfer->moved += chunk->length;
			list_move_tail(&chunk->node, &flow->buffer);
			flow->nr_chunks--;
			flow->nr_buffer++;
			given++;
			continue;
		}
		bytes = chunk->length;
		if (bytes) {
			sink = vpback_sink_of(flow, transfer);
			if (!sink)
				return -EPIPE;
			ret = sink_send(sink, chunk, sink_more(flow, chunk));
			if (ret == -EAGAIN)
				break;
			if (ret <= 0)
				return ret ?: -EPIPE;
			transfer->moved += ret;
			if (chunk->length)
				continue;
		}
		if (bytes)
			given++;
		if (vpback_sink_keeps(flow, chunk))
			break;
		list_move_tail(&chunk->node, &flow->sent);
		flow->nr_chunks--;
		flow->nr_sent++;
	}
	/*
	 * Chunks come back with acknowledgements, however much room there is.  Whether to
	 * be told of them is said by the one flow that gives to the socket.
	 */
	if (last->link && (last != flow || !READ_ONCE(flow->feeder)))
		WRITE_ONCE(last->want_acks, vpback_pipe_held(flow) >= VPBACK_MAX_CHUNKS ||
			   !list_empty(&flow->pool_node));
	return given;
}

/* Take back what no socket needs any more; they let go in order. */
void vpback_sink_reclaim(struct vpback_flow *flow, bool all)
{
	struct vpback_chunk *chunk, *next;

	list_for_each_entry_safe(chunk, next, &flow->sent, node) {
		if (!all && !vpback_pool_chunk_idle(chunk))
			break;
		vpback_pipe_chunk_done(flow, chunk);
		flow->nr_sent--;
	}
}

/* --- disks ---------------------------------------------------------------------------------- */

static struct vpback_transfer *sink_first_write(struct vpback_flow *flow)
{
	struct vpback_transfer *transfer;

	spin_lock(&flow->lock);
	transfer = list_first_entry_or_null(&flow->writes, struct vpback_transfer, node);
	spin_unlock(&flow->lock);
	return transfer;
}

/* Does it begin at a sector's boundary in memory, and end with a block or the write? */
static bool sink_aligned(const struct vpback_chunk *chunk, u32 align, u64 need)
{
	return IS_ALIGNED(chunk->offset, SECTOR_SIZE) &&
	       (chunk->length >= need || IS_ALIGNED(chunk->length, align));
}

/*
 * The first chunk of the buffer in such a way.  Sources other than a socket may leave
 * it in any; then it is moved in its page, or to another if this one is not ours alone,
 * and completed from those behind it.  NULL: no memory now.
 */
static struct vpback_chunk *sink_align(struct vpback_flow *flow, u32 align, u64 need)
{
	struct vpback_pool *pool = &flow->dev->pool;
	struct vpback_chunk *chunk, *next;
	void *data;
	u32 n;

	chunk = list_first_entry(&flow->buffer, struct vpback_chunk, node);
	if (sink_aligned(chunk, align, need))
		return chunk;
	data = page_address(chunk->page) + chunk->offset;
	if (vpback_pool_chunk_idle(chunk)) {
		memmove(page_address(chunk->page), data, chunk->length);
	} else {
		next = vpback_pool_get(pool, flow);
		if (!next)
			return NULL;
		memcpy(page_address(next->page), data, chunk->length);
		next->length = chunk->length;
		list_replace(&chunk->node, &next->node);
		vpback_pool_put(pool, chunk);
		chunk = next;
	}
	chunk->offset = 0;
	while (!sink_aligned(chunk, align, need) && !list_is_last(&chunk->node, &flow->buffer)) {
		next = list_next_entry(chunk, node);
		n = min(align - (chunk->length & (align - 1)), next->length);
		memcpy(page_address(chunk->page) + chunk->length,
		       page_address(next->page) + next->offset, n);
		chunk->length += n;
		next->offset += n;
		next->length -= n;
		if (!next->length) {
			flow->nr_buffer--;
			vpback_pipe_chunk_done(flow, next);
		}
	}
	return chunk;
}

/* The write's bytes from the buffer to `writing`.  False: no memory now. */
static bool sink_gather(struct vpback_flow *flow, struct vpback_transfer *transfer)
{
	struct vpback_chunk *chunk, *rest;

	while (transfer->unread) {
		/* It was accepted because so much had come. */
		if (WARN_ON_ONCE(list_empty(&flow->buffer)))
			return false;
		chunk = sink_align(flow, transfer->align, transfer->unread);
		if (!chunk)
			return false;
		if (chunk->length > transfer->unread) {
			rest = vpback_pool_split(&flow->dev->pool, chunk, transfer->unread);
			if (!rest)
				return false;
			list_add(&rest->node, &chunk->node);
			flow->nr_buffer++;
		}
		list_move_tail(&chunk->node, &flow->writing);
		transfer->unread -= chunk->length;
		cond_resched();
	}
	return true;
}

/* Chunks may span extents, and extents chunks: a bio for each piece of both. */
static void sink_submit(struct vpback_flow *flow, struct vpback_transfer *transfer)
{
	blk_opf_t opf = REQ_OP_WRITE | REQ_SYNC | REQ_IDLE | (transfer->fua ? REQ_FUA : 0);
	const struct xen_vpipe_extent *extent = transfer->extent;
	struct vpback_chunk *chunk;
	struct blk_plug plug;
	u64 done = 0;			/* bytes of the extent */
	u32 at, end, n;

	transfer->begun = true;
	vpback_credit_spend(&flow->dev->account,
			    BIT(VPBACK_CREDIT_DISK) | BIT(VPBACK_CREDIT_WORK), transfer->length);
	blk_start_plug(&plug);
	list_for_each_entry(chunk, &flow->writing, node) {
		atomic_set(&chunk->pending, 1);
		atomic_inc(&flow->bios);
		end = chunk->offset + chunk->length;
		for (at = chunk->offset; at < end; at += n) {
			n = min_t(u64, end - at, ((u64)extent->nr << SECTOR_SHIFT) - done);
			atomic_inc(&chunk->pending);
			vpback_disk_submit(transfer->disk, opf,
					   extent->sector + (done >> SECTOR_SHIFT), chunk, at, n);
			done += n;
			if (done == (u64)extent->nr << SECTOR_SHIFT) {
				extent++;
				done = 0;
			}
		}
		vpback_pipe_bio_done(chunk, 0);
		cond_resched();		/* a disk of memory has copied it by now */
	}
	blk_finish_plug(&plug);
}

/* The write's bytes are the buffer's again; parts of a page that belong together, whole. */
static void sink_put_back(struct vpback_flow *flow)
{
	struct vpback_chunk *chunk, *prev, *head;

	list_for_each_entry_safe_reverse(chunk, prev, &flow->writing, node) {
		chunk->error = 0;
		head = list_first_entry_or_null(&flow->buffer, struct vpback_chunk, node);
		list_move(&chunk->node, &flow->buffer);
		if (head && head->page == chunk->page &&
		    chunk->offset + chunk->length == head->offset) {
			chunk->length += head->length;
			flow->nr_buffer--;
			vpback_pipe_chunk_done(flow, head);
		}
	}
}

/* True: the write has ended, and its end was told. */
static bool sink_written(struct vpback_flow *flow, struct vpback_transfer *transfer)
{
	struct vpback_chunk *chunk, *next;
	int status = 0;

	list_for_each_entry(chunk, &flow->writing, node)
		if (atomic_read_acquire(&chunk->pending))
			return false;
	list_for_each_entry(chunk, &flow->writing, node)
		status = status ?: READ_ONCE(chunk->error);
	if (status) {
		sink_put_back(flow);
		spin_lock(&flow->lock);
		flow->write_failed = true;
		spin_unlock(&flow->lock);
	}
	list_for_each_entry_safe(chunk, next, &flow->writing, node) {
		flow->nr_buffer--;
		vpback_pipe_chunk_done(flow, chunk);
	}
	if (!status)
		transfer->moved = transfer->length;
	vpback_pipe_done(flow, transfer, status);
	return true;
}

/* Go on with the writes; `stop`: begin none any more; `begin`: the next one may begin now. */
void vpback_sink_write(struct vpback_flow *flow, bool stop, bool begin)
{
	struct vpback_transfer *transfer = sink_first_write(flow);

	if (transfer && transfer->begun) {
		if (!sink_written(flow, transfer))
			return;		/* kicked by each bio */
		transfer = sink_first_write(flow);
	}
	if (!transfer)
		return;
	if (stop || flow->write_failed) {
		sink_put_back(flow);
		for (; transfer; transfer = sink_first_write(flow))
			vpback_pipe_done(flow, transfer, -ECANCELED);
	} else if (!begin) {
		return;
	} else if (sink_gather(flow, transfer)) {
		sink_submit(flow, transfer);
	} else {
		flow->starved = true;
	}
}
