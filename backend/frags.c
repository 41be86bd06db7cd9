// SPDX-License-Identifier: GPL-2.0
/*
 * frags.c: from one shadow socket to another without a copy.  What the source has
 * received lies in pages of the network card's driver; the sink's frames refer to the
 * same pages.  Linear parts that are not in a page of their own are copied.
 *
 * References are ours only within a round: the sink takes its own, and what it does
 * not take is copied.  The two sockets are never locked at the same time.
 */
#include <linux/bvec.h>
#include <linux/mm.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <net/tcp.h>

#include "vpback.h"

/* A fragment may keep so many times its bytes of memory: what is sparser is copied. */
#define MAX_TRUESIZE	2U

#ifdef VPIPE_COMPAT_SENDPAGE
int vpback_frags_pass(struct vpback_flow *flow, struct vpback_flow *sink,
		      struct vpback_transfer *transfer, struct vpback_chunk *rest, u32 len)
{
	return 0;
}
#else

/*
 * Of a round.  The source's peer has an acknowledgement of each round: the larger the
 * fewer.
 */
#define MAX_CHUNKS	4U
#define MAX_FRAGS	(64U * MAX_CHUNKS)	/* as many bytes in frames of 1500 */

struct frags {
	struct sock *sk;		/* the source */
	u32 skip;			/* bytes of the skb before those that are wanted */
	u32 left;			/* bytes still wanted of it */
	u32 bytes;			/* in vec */
	u32 copied;			/* ... of them, in pages of our own */
	unsigned int nr;
	struct bio_vec *vec;		/* MAX_FRAGS; each with a reference */
};

/* A run of bytes in a page.  False: there is no room for more. */
static bool frags_add(struct frags *frags, struct page *page, u32 offset, u32 len)
{
	struct bio_vec *last = frags->nr ? &frags->vec[frags->nr - 1] : NULL;

	if (last && last->bv_page == page && last->bv_offset + last->bv_len == offset) {
		last->bv_len += len;
	} else {
		if (frags->nr == MAX_FRAGS)
			return false;
		get_page(page);
		bvec_set_page(&frags->vec[frags->nr++], page, len, offset);
	}
	frags->bytes += len;
	frags->left -= len;
	return true;
}

/* Bytes that nobody else may keep, into pages of the source socket's. */
static bool frags_copy(struct frags *frags, const void *data, u32 len)
{
	struct page_frag *to = sk_page_frag(frags->sk);
	u32 n;

	for (; len; len -= n, data += n) {
		if (!sk_page_frag_refill(frags->sk, to))
			return false;
		n = min(len, to->size - to->offset);
		if (!frags_add(frags, to->page, to->offset, n))
			return false;
		memcpy(page_address(to->page) + to->offset, data, n);
		to->offset += n;
		frags->copied += n;
	}
	return true;
}

/* How many of the next `size` bytes of the skb are wanted; what precedes them is skipped. */
static u32 frags_wanted(struct frags *frags, u32 size, u32 *skip)
{
	*skip = min(frags->skip, size);
	frags->skip -= *skip;
	return min(frags->left, size - *skip);
}

/* False: all that is wanted is there, or as much of it as there is room for. */
static bool frags_walk(struct frags *frags, struct sk_buff *skb)
{
	struct sk_buff *part;
	u32 n, skip;
	int i;

	n = frags_wanted(frags, skb_headlen(skb), &skip);
	if (n && skb_head_is_locked(skb)) {
		if (!frags_copy(frags, skb->data + skip, n))
			return false;
	} else if (n && !frags_add(frags, virt_to_page(skb->data + skip),
				   offset_in_page(skb->data + skip), n)) {
		return false;
	}
	if (!skb_frags_readable(skb))
		return false;
	for (i = 0; i < skb_shinfo(skb)->nr_frags && frags->left; i++) {
		const skb_frag_t *frag = &skb_shinfo(skb)->frags[i];

		n = frags_wanted(frags, skb_frag_size(frag), &skip);
		if (n && !frags_add(frags, skb_frag_page(frag), skb_frag_off(frag) + skip, n))
			return false;
	}
	skb_walk_frags(skb, part)
		if (frags->left && !frags_walk(frags, part))
			return false;
	return frags->left;
}

/* tcp_read_sock() has these bytes next.  How many were taken; fewer: it ends. */
static int frags_actor(read_descriptor_t *desc, struct sk_buff *skb, unsigned int offset,
		       size_t len)
{
	struct frags *frags = desc->arg.data;
	u32 before = frags->bytes, taken;

	if (skb->truesize > MAX_TRUESIZE * skb->len)
		return 0;
	frags->skip = offset;
	frags->left = min(len, desc->count);
	frags_walk(frags, skb);
	taken = frags->bytes - before;
	desc->count -= taken;
	return taken;
}

/* What the sink did not take, behind the chunk's offset. */
static void frags_keep(struct vpback_chunk *chunk, struct iov_iter *iter)
{
	u32 n = min_t(size_t, VPBACK_CHUNK_BYTES - chunk->offset, iov_iter_count(iter));

	if (copy_from_iter(page_address(chunk->page) + chunk->offset, n, iter) != n)
		WARN_ON_ONCE(1);
	chunk->length = n;
}

/* From the source: up to `len` bytes.  Are there more behind them? */
static bool frags_take(struct frags *frags, u32 len)
{
	read_descriptor_t desc = { .arg.data = frags, .count = len };
	bool more;

	lock_sock(frags->sk);
	tcp_read_sock(frags->sk, &desc, frags_actor);
	more = tcp_inq(frags->sk);
	release_sock(frags->sk);
	return more;
}

/* To the sink, what was taken.  How many bytes it has taken. */
static u32 frags_give(struct frags *frags, struct vpback_flow *sink, bool more)
{
	int sent = max(vpback_sock_send(sink, frags->vec, frags->nr, frags->bytes, more), 0);

	vpback_credit_spend(&sink->dev->account,
			    BIT(VPBACK_CREDIT_NET) | BIT(VPBACK_CREDIT_WORK), sent);
	vpback_frags_charge(sink);
	if (sent > frags->copied)
		vpback_stat_add(sink->dev, VPBACK_STAT_REFERENCED, sent - frags->copied);
	return sent;
}

/* What the sink did not take, into `rest` and into some of the spare chunks, behind it. */
static void frags_keep_rest(struct frags *frags, u32 sent, struct vpback_flow *flow,
			    struct vpback_chunk *rest, struct list_head *spare)
{
	struct vpback_chunk *chunk = rest, *next;
	struct iov_iter iter;

	iov_iter_bvec(&iter, ITER_SOURCE, frags->vec, frags->nr, frags->bytes);
	iov_iter_advance(&iter, sent);
	frags_keep(rest, &iter);
	while (iov_iter_count(&iter)) {
		next = list_first_entry(spare, struct vpback_chunk, node);
		frags_keep(next, &iter);
		next->transfer = chunk->transfer;
		list_move(&next->node, &chunk->node);
		flow->nr_chunks++;
		chunk = next;
	}
}

/*
 * Up to `len` bytes from the flow's socket to that of `sink`; what that one did not take is
 * in `rest`, which is empty and the last of the flow's chunks, and in chunks behind it.
 * Bytes taken from the source; 0: none are there that can be had so.
 */
int vpback_frags_pass(struct vpback_flow *flow, struct vpback_flow *sink,
		      struct vpback_transfer *transfer, struct vpback_chunk *rest, u32 len)
{
	struct frags frags = { .sk = flow->socket->sk };
	struct vpback_pool *pool = &flow->dev->pool;
	u32 room = VPBACK_CHUNK_BYTES - rest->offset, sent;
	struct vpback_chunk *chunk, *next;
	LIST_HEAD(spare);
	unsigned int i;
	bool more;

	if (skb_queue_empty_lockless(&frags.sk->sk_receive_queue) || vpback_pool_full(pool))
		return 0;
	frags.vec = kmalloc_array(MAX_FRAGS, sizeof(*frags.vec), GFP_KERNEL);
	if (!frags.vec)
		return 0;
	for (i = 1; i < MAX_CHUNKS && room < len; i++) {
		chunk = vpback_pool_get_spare(pool, flow, false);
		if (!chunk)
			break;
		list_add(&chunk->node, &spare);
		room += VPBACK_CHUNK_BYTES;
	}
	more = frags_take(&frags, min(len, room));
	if (frags.bytes) {
		WRITE_ONCE(flow->want_data, false);
		sent = frags_give(&frags, sink, more && transfer->unread > frags.bytes);
		transfer->moved += sent;
		frags_keep_rest(&frags, sent, flow, rest, &spare);
	}
	list_for_each_entry_safe(chunk, next, &spare, node)
		vpback_pool_put(pool, chunk);
	for (i = 0; i < frags.nr; i++)
		put_page(frags.vec[i].bv_page);
	kfree(frags.vec);
	return frags.bytes;
}
#endif

/* What the flow's socket still needs counts against the pool, for what it may keep. */
void vpback_frags_charge(struct vpback_flow *flow)
{
	u64 kept = (u64)READ_ONCE(flow->socket->sk->sk_wmem_queued) * MAX_TRUESIZE;

	vpback_pool_charge(&flow->dev->pool, flow, DIV_ROUND_UP(kept, VPBACK_CHUNK_BYTES));
}
