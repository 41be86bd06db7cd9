// SPDX-License-Identifier: GPL-2.0
/*
 * pool.c: the pages of a domain in which data is on its way.  Their number is
 * bounded; a flow that finds the pool empty is kicked when something comes back.
 *
 * A chunk given to a socket is referenced by the frames that carry it, until they
 * were acknowledged and freed: it may be used again only when the page's count is
 * back to our own reference.  Two chunks may be parts of one page (vpback_pool_split):
 * the last of them brings it back.
 */
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "vpback.h"

#define KEEP_FREE	64U	/* chunks that stay allocated for the next flow */

/* 0: as the module's parameter says. */
void vpback_pool_set_max(struct vpback_pool *pool, unsigned int chunks)
{
	chunks = chunks ?: ((u64)vpback_pool_mib << 20) / VPBACK_CHUNK_BYTES;
	WRITE_ONCE(pool->max, max(chunks, 16U));
}

void vpback_pool_init(struct vpback_pool *pool)
{
	spin_lock_init(&pool->lock);
	INIT_LIST_HEAD(&pool->free);
	INIT_LIST_HEAD(&pool->waiters);
	INIT_LIST_HEAD(&pool->spare_waiters);
	pool->nr_free = 0;
	pool->nr_used = 0;
}

static void pool_chunk_free(struct vpback_chunk *chunk)
{
	put_page(chunk->page);		/* the network may hold the last reference */
	kfree(chunk);
}

void vpback_pool_exit(struct vpback_pool *pool)
{
	struct vpback_chunk *chunk, *next;

	list_for_each_entry_safe(chunk, next, &pool->free, node)
		pool_chunk_free(chunk);
	WARN_ON_ONCE(pool->nr_used);
}

static struct vpback_chunk *pool_chunk_alloc(void)
{
	struct vpback_chunk *chunk = kzalloc(sizeof(*chunk), GFP_KERNEL);

	if (!chunk)
		return NULL;
	chunk->page = alloc_pages(GFP_KERNEL | __GFP_COMP | __GFP_NOWARN | __GFP_NORETRY,
				  VPBACK_CHUNK_ORDER);
	if (!chunk->page) {
		kfree(chunk);
		return NULL;
	}
	return chunk;
}

/* One of the first `max`; with `waiters` the flow is kicked when there is one again. */
static struct vpback_chunk *pool_take(struct vpback_pool *pool, struct vpback_flow *flow,
				      unsigned int max, struct list_head *waiters)
{
	struct vpback_chunk *chunk = NULL;
	bool alloc = false;

	spin_lock_irq(&pool->lock);
	if (pool->nr_used < max && pool->nr_free) {
		chunk = list_first_entry(&pool->free, struct vpback_chunk, node);
		list_del(&chunk->node);
		pool->nr_free--;
		pool->nr_used++;
	} else if (pool->nr_used < max) {
		pool->nr_used++;
		alloc = true;
	}
	spin_unlock_irq(&pool->lock);
	if (alloc)
		chunk = pool_chunk_alloc();
	if (!chunk) {
		spin_lock_irq(&pool->lock);
		if (alloc)
			pool->nr_used--;
		if (waiters && list_empty(&flow->pool_node))
			list_add_tail(&flow->pool_node, waiters);
		spin_unlock_irq(&pool->lock);
		return NULL;
	}
	chunk->flow = flow;
	chunk->transfer = NULL;
	chunk->offset = 0;
	chunk->length = 0;
	chunk->error = 0;
	atomic_set(&chunk->pending, 0);
	return chunk;
}

/* May sleep for memory.  NULL: the flow is kicked when there is one. */
struct vpback_chunk *vpback_pool_get(struct vpback_pool *pool, struct vpback_flow *flow)
{
	return pool_take(pool, flow, READ_ONCE(pool->max), &pool->waiters);
}

/*
 * For what a guest puts down here and may leave: half of the pool, so that it takes
 * nothing from what moves.  NULL: there is none; with `wait` the flow is kicked when
 * there is.
 */
struct vpback_chunk *vpback_pool_get_spare(struct vpback_pool *pool, struct vpback_flow *flow,
					   bool wait)
{
	return pool_take(pool, flow, READ_ONCE(pool->max) / 2,
			 wait ? &pool->spare_waiters : NULL);
}

static void pool_kick_first(struct list_head *waiters)
{
	struct vpback_flow *waiter;

	waiter = list_first_entry_or_null(waiters, struct vpback_flow, pool_node);
	if (waiter) {
		list_del_init(&waiter->pool_node);
		vpback_pipe_kick(waiter);
	}
}

/* Under the lock: _forget is what keeps a dying flow out of here. */
static void pool_kick_waiters(struct vpback_pool *pool)
{
	pool_kick_first(&pool->waiters);
	if (pool->nr_used < READ_ONCE(pool->max) / 2)
		pool_kick_first(&pool->spare_waiters);
}

/*
 * The bytes of a chunk from `at` on as a chunk of their own, in the same page: it
 * takes no page from the pool, and so cannot wait for one.  NULL: no memory.
 */
struct vpback_chunk *vpback_pool_split(struct vpback_pool *pool, struct vpback_chunk *chunk,
				       u32 at)
{
	struct vpback_chunk *rest = kzalloc(sizeof(*rest), GFP_KERNEL);

	if (!rest)
		return NULL;
	get_page(chunk->page);
	rest->page = chunk->page;
	rest->flow = chunk->flow;
	rest->offset = chunk->offset + at;
	rest->length = chunk->length - at;
	chunk->length = at;
	spin_lock_irq(&pool->lock);
	pool->nr_used++;
	spin_unlock_irq(&pool->lock);
	return rest;
}

/* As much is on its way as may be. */
bool vpback_pool_full(struct vpback_pool *pool)
{
	return READ_ONCE(pool->nr_used) >= READ_ONCE(pool->max);
}

/* What the flow's socket keeps in pages that are not the pool's counts as so many chunks. */
void vpback_pool_charge(struct vpback_pool *pool, struct vpback_flow *flow, unsigned int chunks)
{
	spin_lock_irq(&pool->lock);
	pool->nr_used += chunks - flow->charged;
	if (chunks < flow->charged)
		pool_kick_waiters(pool);
	WRITE_ONCE(flow->charged, chunks);
	spin_unlock_irq(&pool->lock);
}

/* Nobody but us refers to its page. */
bool vpback_pool_chunk_idle(const struct vpback_chunk *chunk)
{
	return page_ref_count(chunk->page) == 1;
}

/* Back from a flow; a page that the network still sends is left to it. */
void vpback_pool_put(struct vpback_pool *pool, struct vpback_chunk *chunk)
{
	bool keep;

	spin_lock_irq(&pool->lock);
	pool->nr_used--;
	keep = vpback_pool_chunk_idle(chunk) && pool->nr_free < KEEP_FREE;
	if (keep) {
		list_add(&chunk->node, &pool->free);
		pool->nr_free++;
	}
	pool_kick_waiters(pool);
	spin_unlock_irq(&pool->lock);
	if (!keep)
		pool_chunk_free(chunk);
}

/* The flow goes: it waits for nothing, and its socket keeps nothing. */
void vpback_pool_forget(struct vpback_pool *pool, struct vpback_flow *flow)
{
	vpback_pool_charge(pool, flow, 0);
	spin_lock_irq(&pool->lock);
	list_del_init(&flow->pool_node);
	spin_unlock_irq(&pool->lock);
}
