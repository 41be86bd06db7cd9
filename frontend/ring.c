// SPDX-License-Identifier: GPL-2.0
/*
 * ring.c: one queue to the backend: the command ring, the event page and the pool
 * of pages that commands point at.  All pages are granted once, when the queue is
 * made, and revoked when it goes.
 *
 * The backend is not trusted: each response and event is copied once and checked
 * against what was asked; whatever does not fit breaks the queue for good.
 */
#include <linux/bitmap.h>
#include <linux/interrupt.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <xen/events.h>
#include <xen/page.h>

#include "vpfront.h"

struct vpfront_queue {
	struct vpfront_device *dev;
	unsigned int index;
	bool broken;			/* nothing is sent or believed any more */
	unsigned int listeners;		/* who wait for an answer, a slot or a page; the lock's */
	bool taken;			/* answers, by a listener: the interrupt is no stray one */

	/*
	 * Serialises: the producer side of the ring, the calls on it, the bitmaps,
	 * the flow table, the consumer side of ring and event page.
	 */
	spinlock_t lock;
	wait_queue_head_t wait;		/* for answers, ring slots and pool pages */

	struct xen_vpipe_front_ring ring;
	void *sring;
	unsigned int ring_order;
	grant_ref_t ring_ref[1 << XEN_VPIPE_MAX_RING_PAGE_ORDER];
	unsigned int nr_calls;		/* size of the ring */
	struct vpfront_call **call;	/* by request id */

	void *event_page;
	grant_ref_t event_ref;
	u32 event_cons;

	void *directory;
	grant_ref_t directory_ref;
	unsigned int nr_pages;
	struct page **page;
	grant_ref_t *page_ref;
	unsigned long *page_used;

	struct xarray flows;		/* u32 -> struct vpfront_flow */
	evtchn_port_t evtchn;
	int irq;
};

/* The backend is gone: nothing more will be answered. */
void vpfront_ring_break(struct vpfront_queue *queue)
{
	WRITE_ONCE(queue->broken, true);
	wake_up_all(&queue->wait);
}

/* Wake all flows of the queue and their operations, for instance to see that it is broken. */
void vpfront_ring_kick_flows(struct vpfront_queue *queue)
{
	struct vpfront_flow *flow;
	unsigned long id;

	spin_lock_irq(&queue->lock);
	xa_for_each(&queue->flows, id, flow) {
		vpfront_flow_kick(flow);
		if (flow->pipe)
			vpfront_pipe_kick(flow->pipe);
	}
	spin_unlock_irq(&queue->lock);
}

/* Wake the operation that has the flow. */
void vpfront_ring_kick_pipe(struct vpfront_queue *queue, struct vpfront_flow *flow)
{
	spin_lock_irq(&queue->lock);
	if (flow->pipe)
		vpfront_pipe_kick(flow->pipe);
	spin_unlock_irq(&queue->lock);
}

/* --- responses and events ------------------------------------------------ */

static void ring_free_call(struct vpfront_queue *queue, struct vpfront_call *call)
{
	unsigned int i;

	for (i = 0; i < call->nr_pages; i++)
		__clear_bit(call->page[i], queue->page_used);
	kfree(call);
}

static void ring_answer(struct vpfront_queue *queue, struct vpfront_call *call,
			const struct xen_vpipe_response *rsp)
{
	struct vpfront_flow *flow;

	if (!call->posted) {
		call->status = rsp->status;
		call->value = rsp->value;
		smp_store_release(&call->answered, true);	/* after status, value */
		return;
	}
	flow = rsp->status ? xa_load(&queue->flows, call->req.flow) : NULL;
	if (flow && flow->pipe)
		vpfront_pipe_refused(flow->pipe, call->req.u.transfer.cookie, rsp->status);
	ring_free_call(queue, call);
}

/*
 * The backend tells of an answer only while somebody listens, and of a refusal: what was
 * accepted ends by an event, with which its answer is found here.
 */
static const char *ring_take_responses(struct vpfront_queue *queue)
{
	struct xen_vpipe_response rsp;
	struct vpfront_call *call;
	RING_IDX cons, prod;
	int more = 0;

	do {
		prod = queue->ring.sring->rsp_prod;
		rmb();	/* responses are written before their index */
		if (prod - queue->ring.rsp_cons > RING_SIZE(&queue->ring) ||
		    queue->ring.req_prod_pvt - prod > RING_SIZE(&queue->ring))
			return "response index out of range";
		for (cons = queue->ring.rsp_cons; cons != prod; cons++) {
			RING_COPY_RESPONSE(&queue->ring, cons, &rsp);
			call = rsp.id < queue->nr_calls ? queue->call[rsp.id] : NULL;
			if (!call || call->req.op != rsp.op)
				return "response to a request that was not made";
			queue->call[rsp.id] = NULL;
			ring_answer(queue, call, &rsp);
		}
		queue->ring.rsp_cons = cons;
		if (queue->listeners)
			RING_FINAL_CHECK_FOR_RESPONSES(&queue->ring, more);
	} while (more);
	return NULL;
}

static const char *ring_take_events(struct vpfront_queue *queue, bool *notify)
{
	struct xen_vpipe_event_page *page = queue->event_page;
	struct xen_vpipe_event evt;
	struct vpfront_flow *flow;
	/* More no honest backend has to tell while we look: each of a flow's, several times. */
	unsigned int left = 16 * (XEN_VPIPE_EVENTS + queue->dev->max_flows);
	u32 prod;

	while (left > XEN_VPIPE_EVENTS) {
		prod = READ_ONCE(page->prod);
		rmb();	/* events are written before their index */
		if (prod == queue->event_cons)
			return NULL;
		if (prod - queue->event_cons > XEN_VPIPE_EVENTS)
			return "event index out of range";
		left -= prod - queue->event_cons;
		while (queue->event_cons != prod) {
			memcpy(&evt, &page->event[queue->event_cons % XEN_VPIPE_EVENTS],
			       sizeof(evt));
			barrier();
			queue->event_cons++;
			flow = xa_load(&queue->flows, evt.flow);
			if (!flow)
				return "event for a flow that does not exist";
			vpfront_flow_event(flow, &evt);
		}
		WRITE_ONCE(page->cons, queue->event_cons);
		mb();	/* cons before full: the backend does it the other way round */
		if (READ_ONCE(page->full)) {
			WRITE_ONCE(page->full, 0);
			*notify = true;
		}
	}
	return "storm of events";
}

/* The backend broke the protocol. */
static void ring_wrong(struct vpfront_queue *queue, const char *wrong)
{
	/* Kicking all flows wants a lock that interrupts are kept out of. */
	if (!xchg(&queue->broken, true))
		pr_err("vpipe-front: queue %u is broken: %s\n", queue->index, wrong);
	WRITE_ONCE(queue->dev->broken, true);
	schedule_work(&queue->dev->close_work);
}

static irqreturn_t ring_interrupt(int irq, void *data)
{
	struct vpfront_queue *queue = data;
	unsigned int eoi = XEN_EOI_FLAG_SPURIOUS;
	const char *wrong = NULL;
	unsigned long flags;
	bool notify = false;

	spin_lock_irqsave(&queue->lock, flags);
	if (!READ_ONCE(queue->broken)) {
		if (queue->taken ||
		    queue->ring.rsp_cons != READ_ONCE(queue->ring.sring->rsp_prod) ||
		    queue->event_cons !=
		    READ_ONCE(((struct xen_vpipe_event_page *)queue->event_page)->prod))
			eoi = 0;
		queue->taken = false;
		wrong = ring_take_responses(queue) ?: ring_take_events(queue, &notify);
	}
	spin_unlock_irqrestore(&queue->lock, flags);
	wake_up_all(&queue->wait);
	if (notify)
		notify_remote_via_irq(queue->irq);
	if (wrong)
		ring_wrong(queue, wrong);
	xen_irq_lateeoi(irq, eoi);
	return IRQ_HANDLED;
}

/* From here to _unlisten every answer wakes those who wait; the ones that are there count. */
static void ring_listen(struct vpfront_queue *queue)
{
	const char *wrong = NULL;
	RING_IDX before;

	spin_lock_irq(&queue->lock);
	queue->listeners++;
	before = queue->ring.rsp_cons;
	if (!READ_ONCE(queue->broken))
		wrong = ring_take_responses(queue);
	if (queue->ring.rsp_cons != before)
		queue->taken = true;
	spin_unlock_irq(&queue->lock);
	wake_up_all(&queue->wait);
	if (wrong)
		ring_wrong(queue, wrong);
}

static void ring_unlisten(struct vpfront_queue *queue)
{
	spin_lock_irq(&queue->lock);
	queue->listeners--;
	spin_unlock_irq(&queue->lock);
}

/* --- commands -------------------------------------------------------------- */

/* Pool pages for a command: all that it wants, or none. */
static bool ring_take_pages(struct vpfront_queue *queue, struct vpfront_call *call, unsigned int nr)
{
	bool taken = false;

	spin_lock_irq(&queue->lock);
	if (bitmap_weight(queue->page_used, queue->nr_pages) + nr <= queue->nr_pages) {
		while (call->nr_pages < nr) {
			unsigned int page = find_first_zero_bit(queue->page_used,
								queue->nr_pages);

			__set_bit(page, queue->page_used);
			call->page[call->nr_pages++] = page;
		}
		taken = true;
	}
	spin_unlock_irq(&queue->lock);
	return taken;
}

/*
 * A command with nr_pages pool pages.  Commands are answered without waiting for
 * disks or peers, so pages come free soon; but a caller that holds answered
 * commands must free them before it waits for more.  NULL: none free (or, with
 * `wait`, the queue is broken).
 */
struct vpfront_call *vpfront_ring_call_alloc(struct vpfront_queue *queue, u16 op, u32 flow,
					     unsigned int nr_pages, bool wait)
{
	struct vpfront_call *call = kzalloc(sizeof(*call), GFP_KERNEL | __GFP_NOFAIL);

	INIT_LIST_HEAD(&call->node);
	call->req.op = op;
	call->req.flow = flow;
	if (!ring_take_pages(queue, call, nr_pages) && wait) {
		ring_listen(queue);
		wait_event(queue->wait,
			   READ_ONCE(queue->broken) || ring_take_pages(queue, call, nr_pages));
		ring_unlisten(queue);
	}
	if (call->nr_pages < nr_pages) {
		kfree(call);
		return NULL;
	}
	return call;
}

/* Only once it was answered, or was never pushed, or the queue is broken. */
void vpfront_ring_call_free(struct vpfront_queue *queue, struct vpfront_call *call)
{
	unsigned int i;

	spin_lock_irq(&queue->lock);
	for (i = 0; i < queue->nr_calls; i++)
		if (queue->call[i] == call)
			queue->call[i] = NULL;
	ring_free_call(queue, call);
	spin_unlock_irq(&queue->lock);
	wake_up_all(&queue->wait);
}

void *vpfront_ring_page(struct vpfront_queue *queue, u16 page)
{
	return page_address(queue->page[page]);
}

static bool ring_put_request(struct vpfront_queue *queue, struct vpfront_call *call)
{
	unsigned int id;
	bool put = false;

	spin_lock_irq(&queue->lock);
	if (!RING_FULL(&queue->ring)) {
		for (id = 0; id < queue->nr_calls && queue->call[id]; id++)
			;
		if (id < queue->nr_calls) {
			struct xen_vpipe_request *req =
				RING_GET_REQUEST(&queue->ring, queue->ring.req_prod_pvt);

			call->req.id = id;
			queue->call[id] = call;
			*req = call->req;
			queue->ring.req_prod_pvt++;
			put = true;
		}
	}
	spin_unlock_irq(&queue->lock);
	return put;
}

static int ring_push(struct vpfront_queue *queue, struct vpfront_call *call, bool wait)
{
	bool put = !READ_ONCE(queue->broken) && ring_put_request(queue, call);

	if (put)
		return 0;
	if (!wait)
		return -EAGAIN;
	vpfront_ring_kick(queue);	/* what waits there must go first */
	ring_listen(queue);
	wait_event(queue->wait,
		   READ_ONCE(queue->broken) || (put = ring_put_request(queue, call)));
	ring_unlisten(queue);
	return put ? 0 : -EIO;
}

/*
 * Put a command on the ring; the backend is told by _kick.  -EIO: broken, and the command
 * is not there.
 */
int vpfront_ring_push(struct vpfront_queue *queue, struct vpfront_call *call)
{
	return ring_push(queue, call, true);
}

/*
 * Likewise a TRANSFER whose answer nobody waits for: it is the ring's from here on.  When
 * it is refused, vpfront_pipe_refused() is told, of the operation that has the flow.
 * Without `wait`, -EAGAIN when the ring is full, or broken.
 */
int vpfront_ring_post(struct vpfront_queue *queue, struct vpfront_call *call, bool wait)
{
	call->posted = true;
	return ring_push(queue, call, wait);
}

void vpfront_ring_kick(struct vpfront_queue *queue)
{
	int notify;

	spin_lock_irq(&queue->lock);
	RING_PUSH_REQUESTS_AND_CHECK_NOTIFY(&queue->ring, notify);
	spin_unlock_irq(&queue->lock);
	if (notify)
		notify_remote_via_irq(queue->irq);
}

/* The answer's status; -EIO when the queue broke first. */
int vpfront_ring_wait(struct vpfront_queue *queue, struct vpfront_call *call)
{
	ring_listen(queue);
	/* Pairs with the release in ring_answer: status and value are there. */
	wait_event(queue->wait, smp_load_acquire(&call->answered) || READ_ONCE(queue->broken));
	ring_unlisten(queue);
	return call->answered ? call->status : -EIO;
}

/* --- flows ------------------------------------------------------------------ */

/* A number for the flow, which is the operation's and from here on gets events. */
int vpfront_ring_flow_get(struct vpfront_queue *queue, struct vpfront_flow *flow,
			  struct vpfront_pipe *pipe, u32 *id)
{
	int ret;

	kref_get(&pipe->ref);
	flow->pipe = pipe;
	ret = xa_alloc_irq(&queue->flows, id, flow, XA_LIMIT(0, queue->dev->max_flows - 1),
			   GFP_KERNEL);
	if (ret) {
		flow->pipe = NULL;
		vpfront_pipe_put(pipe);
	}
	return ret;
}

/*
 * Its events concern this operation now, or none (NULL).  Returns the one before, whose
 * reference is the caller's.
 */
struct vpfront_pipe *vpfront_ring_flow_bind(struct vpfront_queue *queue,
					    struct vpfront_flow *flow, struct vpfront_pipe *pipe)
{
	struct vpfront_pipe *was;

	if (pipe)
		kref_get(&pipe->ref);
	spin_lock_irq(&queue->lock);
	was = flow->pipe;
	flow->pipe = pipe;
	spin_unlock_irq(&queue->lock);
	return was;
}

/* After this no event reaches it.  Returns its operation, as _bind does. */
struct vpfront_pipe *vpfront_ring_flow_put(struct vpfront_queue *queue, struct vpfront_flow *flow)
{
	struct vpfront_pipe *was;

	spin_lock_irq(&queue->lock);
	xa_erase(&queue->flows, flow->id);
	was = flow->pipe;
	flow->pipe = NULL;
	spin_unlock_irq(&queue->lock);
	return was;
}

/* --- life ------------------------------------------------------------------- */

static void ring_free_pages(struct vpfront_queue *queue)
{
	unsigned int i;

	for (i = 0; queue->page && i < queue->nr_pages; i++) {
		if (!queue->page[i])
			continue;
		if (queue->page_ref[i] != INVALID_GRANT_REF)
			gnttab_end_foreign_access(queue->page_ref[i], queue->page[i]);
		else
			__free_page(queue->page[i]);
	}
	kfree(queue->page);
	kfree(queue->page_ref);
	bitmap_free(queue->page_used);
}

static int ring_alloc_pages(struct vpfront_queue *queue, unsigned int nr)
{
	u32 *directory = queue->directory;
	unsigned int i;
	int ref;

	queue->page = kcalloc(nr, sizeof(*queue->page), GFP_KERNEL);
	queue->page_ref = kcalloc(nr, sizeof(*queue->page_ref), GFP_KERNEL);
	queue->page_used = bitmap_zalloc(nr, GFP_KERNEL);
	if (!queue->page || !queue->page_ref || !queue->page_used)
		return -ENOMEM;
	queue->nr_pages = nr;
	for (i = 0; i < nr; i++)
		queue->page_ref[i] = INVALID_GRANT_REF;
	for (i = 0; i < nr; i++) {
		/* Zeroed: what the backend may read must not be somebody's data. */
		queue->page[i] = alloc_page(GFP_KERNEL | __GFP_ZERO);
		if (!queue->page[i])
			return -ENOMEM;
		ref = gnttab_grant_foreign_access(queue->dev->xbdev->otherend_id,
						  xen_page_to_gfn(queue->page[i]), 0);
		if (ref < 0)
			return ref;
		queue->page_ref[i] = ref;
		directory[i] = ref;
	}
	return 0;
}

/* No interrupt of this queue comes any more. */
void vpfront_ring_quiesce(struct vpfront_queue *queue)
{
	disable_irq(queue->irq);
}

void vpfront_ring_destroy(struct vpfront_queue *queue)
{
	unsigned int i;

	if (queue->irq > 0)
		unbind_from_irqhandler(queue->irq, queue);
	else if (queue->evtchn)
		xenbus_free_evtchn(queue->dev->xbdev, queue->evtchn);
	ring_free_pages(queue);
	xenbus_teardown_ring(&queue->directory, 1, &queue->directory_ref);
	xenbus_teardown_ring(&queue->event_page, 1, &queue->event_ref);
	xenbus_teardown_ring(&queue->sring, 1 << queue->ring_order, queue->ring_ref);
	for (i = 0; queue->call && i < queue->nr_calls; i++)
		kfree(queue->call[i]);	/* posted; the others are all answered or given up */
	kfree(queue->call);
	xa_destroy(&queue->flows);
	kfree(queue);
}

struct vpfront_queue *vpfront_ring_create(struct vpfront_device *dev, unsigned int index,
					  unsigned int ring_order, unsigned int pool_pages)
{
	struct vpfront_queue *queue = kzalloc(sizeof(*queue), GFP_KERNEL);
	int ret = -ENOMEM, i;

	if (!queue)
		return ERR_PTR(ret);
	queue->dev = dev;
	queue->index = index;
	queue->ring_order = ring_order;
	spin_lock_init(&queue->lock);
	init_waitqueue_head(&queue->wait);
	xa_init_flags(&queue->flows, XA_FLAGS_ALLOC | XA_FLAGS_LOCK_IRQ);
	queue->event_ref = INVALID_GRANT_REF;
	queue->directory_ref = INVALID_GRANT_REF;
	for (i = 0; i < ARRAY_SIZE(queue->ring_ref); i++)
		queue->ring_ref[i] = INVALID_GRANT_REF;

	ret = xenbus_setup_ring(dev->xbdev, GFP_KERNEL, &queue->sring, 1 << ring_order,
				queue->ring_ref) ?:
	      xenbus_setup_ring(dev->xbdev, GFP_KERNEL, &queue->event_page, 1,
				&queue->event_ref) ?:
	      xenbus_setup_ring(dev->xbdev, GFP_KERNEL, &queue->directory, 1,
				&queue->directory_ref);
	if (ret)
		goto err;
	XEN_FRONT_RING_INIT(&queue->ring, (struct xen_vpipe_sring *)queue->sring,
			    XEN_PAGE_SIZE << ring_order);
	queue->nr_calls = RING_SIZE(&queue->ring);
	queue->call = kcalloc(queue->nr_calls, sizeof(*queue->call), GFP_KERNEL);
	ret = queue->call ? ring_alloc_pages(queue, pool_pages) : -ENOMEM;
	if (ret)
		goto err;
	ret = xenbus_alloc_evtchn(dev->xbdev, &queue->evtchn);
	if (ret)
		goto err;
	ret = bind_evtchn_to_irqhandler_lateeoi(queue->evtchn, ring_interrupt, 0,
						"vpipe-front", queue);
	if (ret < 0)
		goto err;
	queue->irq = ret;
	return queue;
err:
	vpfront_ring_destroy(queue);
	return ERR_PTR(ret);
}

/* Tell the backend, in xenstore, how to reach this queue. */
int vpfront_ring_publish(struct vpfront_queue *queue, struct xenbus_transaction xbt)
{
	char path[256], node[16];
	unsigned int i;
	int ret;

	snprintf(path, sizeof(path), "%s/queue-%u", queue->dev->xbdev->nodename, queue->index);
	for (i = 0, ret = 0; !ret && i < 1U << queue->ring_order; i++) {
		snprintf(node, sizeof(node), "ring-ref%u", i);
		ret = xenbus_printf(xbt, path, node, "%u", queue->ring_ref[i]);
	}
	return ret ?:
	       xenbus_printf(xbt, path, "ring-page-order", "%u", queue->ring_order) ?:
	       xenbus_printf(xbt, path, "event-ref", "%u", queue->event_ref) ?:
	       xenbus_printf(xbt, path, "pool-ref", "%u", queue->directory_ref) ?:
	       xenbus_printf(xbt, path, "pool-pages", "%u", queue->nr_pages) ?:
	       xenbus_printf(xbt, path, "event-channel", "%u", queue->evtchn);
}
