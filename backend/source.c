// SPDX-License-Identifier: GPL-2.0
/*
 * source.c: bytes into chunks: read ahead from a disk, or received by a shadow
 * socket, whose unread bytes of old come first.  What goes to a sink is put on the
 * flow's chunks, what a socket gives for the buffer goes there at once.
 *
 * The chunks of a socket are filled to their end before the next is begun, so that
 * the bytes of a buffer lie in memory as a disk wants them.
 */
#include <linux/blkdev.h>

#include "vpback.h"

/* The first TRANSFER that has bytes to be asked for; `first`: it is the one worked on. */
static struct vpback_transfer *source_next(struct vpback_flow *flow, bool *first)
{
	struct vpback_transfer *transfer, *found = NULL;

	spin_lock(&flow->lock);
	list_for_each_entry(transfer, &flow->transfers, node) {
		if (transfer->unread) {
			found = transfer;
			*first = list_is_first(&transfer->node, &flow->transfers);
			break;
		}
	}
	spin_unlock(&flow->lock);
	return found;
}

/* Will bytes from a disk follow those that are on their way to the flow's socket? */
bool vpback_source_more(struct vpback_flow *flow)
{
	struct vpback_transfer *transfer;
	bool first;

	transfer = source_next(flow, &first);
	return transfer && transfer->from == XEN_VPIPE_END_EXTENTS &&
	       transfer->to == XEN_VPIPE_END_SOCKET;
}

/* A fresh chunk at the end of the list, if the flow may have one more. */
static struct vpback_chunk *source_chunk(struct vpback_flow *flow,
					 struct vpback_transfer *transfer, struct list_head *list)
{
	struct vpback_chunk *chunk;

	if (vpback_pipe_held(flow) >= VPBACK_MAX_CHUNKS ||
	    (list == &flow->chunks && flow->nr_chunks >= VPBACK_READ_AHEAD))
		return NULL;	/* kicked when one comes back */
	/* What a silent peer may hold for ever takes nothing from what moves. */
	chunk = list == &flow->buffer ? vpback_pool_get_spare(&flow->dev->pool, flow, true) :
					vpback_pool_get(&flow->dev->pool, flow);
	if (!chunk) {
		flow->starved = true;
		return NULL;
	}
	chunk->transfer = transfer;
	list_add_tail(&chunk->node, list);
	if (list == &flow->chunks)
		flow->nr_chunks++;
	else
		flow->nr_buffer++;
	return chunk;
}

/* --- disks ----------------------------------------------------------------------- */

/* Ask for the next bytes of the stream, as many as a chunk takes. */
static void source_fill(struct vpback_flow *flow, struct vpback_transfer *transfer,
			struct vpback_chunk *chunk)
{
	u32 at = 0, read = 0;

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
			read += want;
			vpback_disk_submit(transfer->disk, REQ_OP_READ,
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
	vpback_credit_spend(&flow->dev->account, BIT(VPBACK_CREDIT_DISK), read);
	vpback_pipe_bio_done(chunk, 0);
}

/* --- sockets ------------------------------------------------------------------------ */

static u32 source_room(const struct vpback_chunk *chunk)
{
	return VPBACK_CHUNK_BYTES - chunk->offset - chunk->length;
}

/*
 * The chunk at the end of the list that takes more, or a fresh one.  Behind the bytes
 * of the last one its page is nobody's, even when a socket still needs those before.
 */
static struct vpback_chunk *source_open_chunk(struct vpback_flow *flow,
					      struct vpback_transfer *transfer,
					      struct list_head *list)
{
	struct vpback_chunk *chunk;

	chunk = list_empty(list) ? NULL : list_last_entry(list, struct vpback_chunk, node);
	if (chunk && list == &flow->chunks && chunk->transfer != transfer)
		chunk = NULL;
	if (chunk && !chunk->length && vpback_pool_chunk_idle(chunk))
		chunk->offset = 0;
	if (chunk && source_room(chunk))
		return chunk;
	return source_chunk(flow, transfer, list);
}

/* A chunk without bytes is no use to a flow that waits: others need it. */
static void source_drop_empty(struct vpback_flow *flow, struct vpback_chunk *chunk,
			      struct list_head *list)
{
	if (chunk->length || !vpback_pool_chunk_idle(chunk))
		return;
	if (list == &flow->chunks)
		flow->nr_chunks--;
	else
		flow->nr_buffer--;
	vpback_pipe_chunk_done(flow, chunk);
}

/* Bytes of a chunk on the flow's unread list, as many as are wanted; 0: no memory now. */
static u32 source_take_unread(struct vpback_flow *flow, struct vpback_transfer *transfer,
			      struct list_head *list, struct vpback_chunk *from)
{
	struct vpback_chunk *chunk;
	u32 n;

	if (from->length <= transfer->unread) {
		if (vpback_pipe_held(flow) >= VPBACK_MAX_CHUNKS)
			return 0;
		vpback_sock_charge(flow, -(int)from->length);
		from->transfer = transfer;
		list_move_tail(&from->node, list);
		if (list == &flow->chunks)
			flow->nr_chunks++;
		else
			flow->nr_buffer++;
		return from->length;
	}
	chunk = source_open_chunk(flow, transfer, list);
	if (!chunk)
		return 0;
	n = min_t(u64, source_room(chunk), transfer->unread);
	memcpy(page_address(chunk->page) + chunk->offset + chunk->length,
	       page_address(from->page) + from->offset, n);
	chunk->length += n;
	from->offset += n;
	from->length -= n;
	vpback_sock_charge(flow, -(int)n);
	return n;
}

/* Are there bytes which the sink has not been given yet? */
static bool source_waits(const struct vpback_flow *flow)
{
	return !list_empty(&flow->chunks) &&
	       list_last_entry(&flow->chunks, struct vpback_chunk, node)->length;
}

/* May what the socket has next go by the chunks?  Nothing waits before it. */
static bool source_may_pass(const struct vpback_flow *sink, const struct vpback_chunk *rest)
{
	return sink && source_room(rest) >= VPBACK_CHUNK_BYTES / 2;
}

/* What is there for a TRANSFER from the flow's socket.  As vpback_source_read. */
static int source_receive(struct vpback_flow *flow, struct vpback_transfer *transfer)
{
	bool buffer = transfer->to == XEN_VPIPE_END_BUFFER;
	struct vpback_flow *sink = buffer ? NULL : vpback_sink_of(flow, transfer);
	struct list_head *list = buffer ? &flow->buffer : &flow->chunks;
	struct vpback_chunk *chunk = NULL, *from;
	int ret, looked = 0;
	u32 room;

	while (transfer->unread && looked < (int)VPBACK_STEP_CHUNKS) {
		from = list_first_entry_or_null(&flow->unread, struct vpback_chunk, node);
		if (from) {
			ret = source_take_unread(flow, transfer, list, from);
			if (!ret)
				break;
			if (list_empty(&flow->unread))
				vpback_sock_open_window(flow);
		} else {
			/* Until the sink takes more, the source keeps it. */
			room = sink ? vpback_sock_room(sink) : U32_MAX;
			if (!room) {
				WRITE_ONCE(flow->want_data, false);
				break;
			}
			/* When what is there has been given, more may go by reference. */
			if (sink && source_waits(flow))
				break;
			chunk = source_open_chunk(flow, transfer, list);
			if (!chunk)
				break;
			cond_resched();
			room = min_t(u64, room, transfer->unread);
			ret = source_may_pass(sink, chunk) ?
			      vpback_frags_pass(flow, sink, transfer, chunk, room) : 0;
			if (!ret) {
				room = min(room, source_room(chunk));
				ret = vpback_sock_receive(flow, chunk, room);
				chunk->length += max(ret, 0);
			}
			if (ret > 0)
				vpback_credit_spend(&flow->dev->account, BIT(VPBACK_CREDIT_NET),
						    ret);
			if (ret == -EAGAIN)
				break;
			if (ret < 0) {
				looked = ret;
				break;
			}
			if (!ret) {	/* the stream has ended, and so does this */
				transfer->length -= transfer->unread;
				transfer->unread = 0;
				break;
			}
		}
		transfer->unread -= ret;
		if (buffer)
			transfer->moved += ret;
		looked += DIV_ROUND_UP(ret, VPBACK_CHUNK_BYTES);
	}
	if (chunk)
		source_drop_empty(flow, chunk, list);
	return looked;
}

/* --- what the step asks for ------------------------------------------------------------ */

/*
 * Ask the sources for what there is room for.  How many chunks, full or not, a socket gave
 * (from VPBACK_STEP_CHUNKS on there may be more), or why the flow's connection has ended.
 */
int vpback_source_read(struct vpback_flow *flow)
{
	struct vpback_transfer *transfer;
	struct vpback_chunk *chunk;
	struct blk_plug plug;
	bool first = false;

	transfer = source_next(flow, &first);
	if (transfer && transfer->from == XEN_VPIPE_END_SOCKET)
		return first ? source_receive(flow, transfer) : 0;
	WRITE_ONCE(flow->want_data, false);
	blk_start_plug(&plug);		/* the disk gets them as one batch */
	while (transfer && transfer->from == XEN_VPIPE_END_EXTENTS) {
		chunk = source_chunk(flow, transfer, &flow->chunks);
		if (!chunk)
			break;
		source_fill(flow, transfer, chunk);
		transfer = source_next(flow, &first);
	}
	blk_finish_plug(&plug);
	return 0;
}

/* --- unread bytes, on their way here and back ------------------------------------------- */

/* More of them, from the guest: before the first TRANSFER.  -ENOMEM. */
int vpback_source_put(struct vpback_flow *flow, const void *data, u32 len)
{
	struct vpback_chunk *chunk = NULL;
	u32 n;

	for (; len; len -= n, data += n) {
		if (!list_empty(&flow->unread))
			chunk = list_last_entry(&flow->unread, struct vpback_chunk, node);
		if (!chunk || !source_room(chunk)) {
			chunk = vpback_pool_get_spare(&flow->dev->pool, flow, false);
			if (!chunk)
				return -ENOMEM;
			list_add_tail(&chunk->node, &flow->unread);
		}
		n = min(len, source_room(chunk));
		memcpy(page_address(chunk->page) + chunk->offset + chunk->length, data, n);
		chunk->length += n;
		flow->nr_unread += n;
	}
	return 0;
}

/* The last `len` bytes of them did not come. */
void vpback_source_take_back(struct vpback_flow *flow, u32 len)
{
	struct vpback_chunk *chunk;
	u32 n;

	for (; len && !list_empty(&flow->unread); len -= n) {
		chunk = list_last_entry(&flow->unread, struct vpback_chunk, node);
		n = min(len, chunk->length);
		chunk->length -= n;
		flow->nr_unread -= n;
		if (!chunk->length)
			vpback_pipe_chunk_done(flow, chunk);
	}
}

/* Bytes that precede what the socket has received. */
u32 vpback_source_held(struct vpback_flow *flow)
{
	struct vpback_chunk *chunk;
	u32 held = 0;

	list_for_each_entry(chunk, &flow->buffer, node)
		held += chunk->length;
	list_for_each_entry(chunk, &flow->unread, node)
		held += chunk->length;
	return held;
}

/* Unread bytes of a detached flow, in order, each once: some, 0 at their end, or an error. */
int vpback_source_return(struct vpback_flow *flow, void *to, u32 len)
{
	struct list_head *list = list_empty(&flow->buffer) ? &flow->unread : &flow->buffer;
	struct vpback_chunk *chunk;

	chunk = list_first_entry_or_null(list, struct vpback_chunk, node);
	if (!chunk)
		return vpback_sock_read_unread(flow, to, len);
	len = min(len, chunk->length);
	memcpy(to, page_address(chunk->page) + chunk->offset, len);
	chunk->offset += len;
	chunk->length -= len;
	if (!chunk->length) {
		if (list == &flow->buffer)
			flow->nr_buffer--;
		vpback_pipe_chunk_done(flow, chunk);
	}
	return len;
}
