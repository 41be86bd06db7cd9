// SPDX-License-Identifier: GPL-2.0
/*
 * ring.c: one queue from a frontend: its commands are copied out of shared memory
 * once, validated (a TRANSFER by transfer.c), executed by a thread of the queue, and
 * answered; events go back through the event page (event.c).
 *
 * No command waits for a network peer.  ATTACH and RELEASE may sleep for memory,
 * RELEASE also for bios in flight: then the commands of this queue wait, and
 * those of no other domain.
 */
#include <linux/interrupt.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <xen/events.h>
#include <xen/grant_table.h>
#include <xen/page.h>

#include "tcpstate.h"
#include "vpback.h"

struct vpback_queue {
	struct vpback_device *dev;
	unsigned int index;

	struct xen_vpipe_back_ring ring;
	void *sring;
	struct xarray flows;		/* the thread's alone, but for: */
	struct mutex flows_lock;	/* no flow ends while _each or _cancel looks at it */

	unsigned int nr_pages;
	struct page **page;		/* the pool, mapped */
	grant_handle_t *handle;

	struct vpback_events events;

	struct task_struct *thread;
	u64 ran;			/* ns: of the thread's CPU time, what was charged */
	wait_queue_head_t wait;
	bool kicked;
	bool broken;			/* nothing is read or answered any more */
	int irq;
};

static void ring_break(struct vpback_queue *queue, const char *why)
{
	if (!xchg(&queue->broken, true))
		dev_err_ratelimited(&queue->dev->xbdev->dev, "domain %u: queue %u is broken: %s\n",
				    queue->dev->domid, queue->index, why);
}

/* --- events -------------------------------------------------------------------- */

static void ring_notify(struct vpback_queue *queue)
{
	vpback_stat_add(queue->dev, VPBACK_STAT_EVENTS, 1);
	notify_remote_via_irq(queue->irq);
}

/* What became of the event page: should the frontend know? */
static bool ring_has_events(struct vpback_queue *queue, int put)
{
	if (put < 0)
		ring_break(queue, "event consumer index out of range");
	return put > 0;
}

/* Tell the frontend, now or when there is room.  Process context. */
void vpback_ring_event(struct vpback_queue *queue, struct vpback_event *event)
{
	if (ring_has_events(queue, vpback_events_add(&queue->events, event)))
		ring_notify(queue);
}

/* The flow goes, and takes along the events that wait for room; it adds no other. */
void vpback_ring_forget(struct vpback_queue *queue, struct vpback_flow *flow)
{
	vpback_events_forget(&queue->events, flow->id);
}

/* --- commands ----------------------------------------------------------------------- */

/* A pool page, or NULL. */
void *vpback_ring_page(struct vpback_queue *queue, u16 page)
{
	return page < queue->nr_pages ? page_address(queue->page[page]) : NULL;
}

/* The queue's thread's: a flow by its number, or NULL. */
struct vpback_flow *vpback_ring_flow(struct vpback_queue *queue, u32 id)
{
	return xa_load(&queue->flows, id);
}

/* For the host's operator, with the device's lock: all flows, in order. */
void vpback_ring_each(struct vpback_queue *queue,
		      void (*fn)(struct vpback_flow *flow, unsigned int queue, void *data),
		      void *data)
{
	struct vpback_flow *flow;
	unsigned long index;

	mutex_lock(&queue->flows_lock);
	xa_for_each(&queue->flows, index, flow)
		fn(flow, queue->index, data);
	mutex_unlock(&queue->flows_lock);
}

/* Likewise: as if the frontend had asked for it.  -ENOENT. */
int vpback_ring_cancel(struct vpback_queue *queue, u32 id)
{
	struct vpback_flow *flow;

	mutex_lock(&queue->flows_lock);
	flow = xa_load(&queue->flows, id);
	if (flow)
		vpback_pipe_cancel(flow);
	mutex_unlock(&queue->flows_lock);
	return flow ? 0 : -ENOENT;
}

/* The frontend does not take its events. */
bool vpback_ring_congested(struct vpback_queue *queue)
{
	return vpback_events_congested(&queue->events);
}

/*
 * A place for a new flow, before there is one: frames may reach it at once, and what its
 * shadow has acknowledged cannot be undone.
 */
static int ring_reserve(struct vpback_queue *queue, u32 id)
{
	if (id >= vpback_max_flows)
		return -ENOSPC;
	if (xa_load(&queue->flows, id))
		return -EEXIST;
	return xa_reserve(&queue->flows, id, GFP_KERNEL);
}

/* The flow into its place; or none, with the error that it is. */
static int ring_store(struct vpback_queue *queue, u32 id, struct vpback_flow *flow)
{
	if (IS_ERR(flow)) {
		xa_release(&queue->flows, id);
		return PTR_ERR(flow);
	}
	xa_store(&queue->flows, id, flow, GFP_KERNEL);
	return 0;
}

static struct vpback_flow *ring_make_flow(struct vpback_queue *queue,
					  const struct xen_vpipe_request *req)
{
	struct xen_vpipe_tcp_state st;
	const void *page;
	int ret;

	page = vpback_ring_page(queue, req->u.attach.page);
	if (!page)
		return ERR_PTR(-EINVAL);
	memcpy(&st, page, sizeof(st));
	barrier();
	ret = vpback_tcpstate_check(&st);
	if (ret)
		return ERR_PTR(ret);
	return vpback_flow_create(queue, queue->dev, req->flow, &st);
}

static int ring_attach(struct vpback_queue *queue, const struct xen_vpipe_request *req)
{
	return ring_reserve(queue, req->flow) ?:
	       ring_store(queue, req->flow, ring_make_flow(queue, req));
}

static int ring_open(struct vpback_queue *queue, const struct xen_vpipe_request *req)
{
	if (memchr_inv(&req->u.open, 0, sizeof(req->u.open)))
		return -EINVAL;
	return ring_reserve(queue, req->flow) ?:
	       ring_store(queue, req->flow, vpback_flow_open(queue, queue->dev, req->flow));
}

/* Pages that hold `length` bytes, each full but the last: all are there? */
static bool ring_pages_good(struct vpback_queue *queue, const struct xen_vpipe_queue *args)
{
	u32 i;

	if (!args->length || args->length > XEN_VPIPE_QUEUE_PAGES * XEN_VPIPE_PAGE_SIZE)
		return false;
	for (i = 0; i < DIV_ROUND_UP(args->length, XEN_VPIPE_PAGE_SIZE); i++)
		if (!vpback_ring_page(queue, args->page[i]))
			return false;
	return true;
}

static int ring_queue(struct vpback_queue *queue, struct vpback_flow *flow,
		      const struct xen_vpipe_queue *args)
{
	u32 left = args->length, n, i;
	int ret = 0;

	if (!flow->link || flow->complete || !ring_pages_good(queue, args))
		return -EINVAL;
	if (flow->queue_status)
		return flow->queue_status;
	vpback_credit_force(&queue->dev->account, 0, left);
	for (i = 0; left && !ret; i++, left -= n) {
		n = min_t(u32, left, XEN_VPIPE_PAGE_SIZE);
		/* Bytes of the guest's own stream: copied once, whatever they are. */
		ret = vpback_shadow_queue(flow, vpback_ring_page(queue, args->page[i]), n);
	}
	return ret;
}

static int ring_unread(struct vpback_queue *queue, struct vpback_flow *flow,
		       const struct xen_vpipe_queue *args)
{
	u32 left = args->length, before = flow->nr_unread, n, i;
	int ret = 0;

	if (!flow->link || !flow->complete || !ring_pages_good(queue, args) ||
	    !vpback_pipe_fresh(flow) || left > XEN_VPIPE_MAX_UNREAD - before)
		return -EINVAL;
	for (i = 0; left && !ret; i++, left -= n) {
		n = min_t(u32, left, XEN_VPIPE_PAGE_SIZE);
		ret = vpback_source_put(flow, vpback_ring_page(queue, args->page[i]), n);
	}
	if (ret) {
		vpback_source_take_back(flow, flow->nr_unread - before);
		flow->complete = false;		/* nothing can be moved any more */
	}
	return ret;
}

static int ring_detach(struct vpback_flow *flow, const struct xen_vpipe_detach *args)
{
	if (args->flags & ~XEN_VPIPE_DETACH_FIN)
		return -EINVAL;
	return flow->queue_status ?: vpback_pipe_detach(flow, args->settle_ms, args->flags);
}

/* The next bytes that go home; some, or an error. */
static int ring_return_bytes(struct vpback_flow *flow, void *to, u32 len)
{
	u32 unread = flow->state.unread;

	if (flow->returned < unread)
		return vpback_source_return(flow, to, min(len, unread - flow->returned));
	return vpback_sock_read_queue(flow, flow->returned - unread, to, len);
}

static int ring_return(struct vpback_queue *queue, struct vpback_flow *flow,
		       const struct xen_vpipe_return *args, u32 *value)
{
	u32 left, n, i;
	void *page;
	int ret;

	if (!flow->link)
		return -EINVAL;
	if (!smp_load_acquire(&flow->detached))	/* before what is unread */
		return -EBUSY;
	if (!args->nr_pages || args->nr_pages > XEN_VPIPE_RETURN_PAGES ||
	    args->offset != flow->returned)
		return -EINVAL;
	page = vpback_ring_page(queue, args->page[0]);
	if (!page)
		return -EINVAL;
	memcpy(page, &flow->state, sizeof(flow->state));
	left = flow->state.unread + flow->state.write_seq - flow->state.snd_una - flow->returned;
	for (i = 1; left && i < args->nr_pages; i++) {
		page = vpback_ring_page(queue, args->page[i]);
		if (!page)
			return -EINVAL;
		for (n = 0; left && n < XEN_VPIPE_PAGE_SIZE; n += ret, left -= ret) {
			ret = ring_return_bytes(flow, page + n,
						min_t(u32, left, XEN_VPIPE_PAGE_SIZE - n));
			if (ret <= 0)
				return ret ?: -EIO;
			flow->returned += ret;
			*value += ret;
		}
	}
	return 0;
}

static int ring_release(struct vpback_queue *queue, struct vpback_flow *flow,
			const struct xen_vpipe_release *args)
{
	if (args->flags & ~XEN_VPIPE_RELEASE_LOST)
		return -EINVAL;
	mutex_lock(&queue->flows_lock);
	xa_erase(&queue->flows, flow->id);
	mutex_unlock(&queue->flows_lock);
	flow->lost = args->flags & XEN_VPIPE_RELEASE_LOST;
	vpback_flow_destroy(flow, true);
	return 0;
}

static int ring_execute(struct vpback_queue *queue, const struct xen_vpipe_request *req,
			u32 *value)
{
	struct vpback_flow *flow;

	if (req->reserved || req->reserved2)
		return -EINVAL;
	if (req->op == XEN_VPIPE_OP_ATTACH)
		return ring_attach(queue, req);
	if (req->op == XEN_VPIPE_OP_OPEN)
		return ring_open(queue, req);
	flow = xa_load(&queue->flows, req->flow);
	if (!flow)
		return -ENOENT;
	switch (req->op) {
	case XEN_VPIPE_OP_QUEUE:
		return ring_queue(queue, flow, &req->u.queue);
	case XEN_VPIPE_OP_UNREAD:
		return ring_unread(queue, flow, &req->u.queue);
	case XEN_VPIPE_OP_TRANSFER:
		return vpback_transfer_request(queue, flow, &req->u.transfer);
	case XEN_VPIPE_OP_CANCEL:
		vpback_pipe_cancel(flow);
		return 0;
	case XEN_VPIPE_OP_DETACH:
		return ring_detach(flow, &req->u.detach);
	case XEN_VPIPE_OP_RETURN:
		return ring_return(queue, flow, &req->u.ret, value);
	case XEN_VPIPE_OP_RELEASE:
		return ring_release(queue, flow, &req->u.release);
	default:
		return -EOPNOTSUPP;
	}
}

/* What no honest frontend would ask for. */
static bool ring_dishonest(int status)
{
	return status == -EINVAL || status == -ERANGE || status == -EPERM ||
	       status == -EEXIST || status == -EOPNOTSUPP || status == -ENODEV;
}

/* Execute it and have its response ready: whose status is returned. */
static int ring_dispatch(struct vpback_queue *queue, const struct xen_vpipe_request *req)
{
	struct vpback_device *dev = queue->dev;
	struct xen_vpipe_response *rsp;
	u32 value = 0;
	int status;

	vpback_stat_add(dev, VPBACK_STAT_REQUESTS, 1);
	status = ring_execute(queue, req, &value);
	if (ring_dishonest(status)) {
		vpback_stat_add(dev, VPBACK_STAT_REFUSED, 1);
		if (__ratelimit(&dev->complaints))
			dev_warn(&dev->xbdev->dev, "domain %u: refused command %u: %d\n",
				 dev->domid, req->op, status);
	}
	rsp = RING_GET_RESPONSE(&queue->ring, queue->ring.rsp_prod_pvt);	/* written only */
	rsp->id = req->id;
	rsp->op = req->op;
	rsp->reserved = 0;
	rsp->status = status;
	rsp->value = value;
	queue->ring.rsp_prod_pvt++;
	return status;
}

/*
 * Commands cost their domain credits, by the time they took, so that a flood of them takes
 * no more from the others than the domain's share. The balance is their own: what the domain
 * moves does not keep its connections from coming home.
 */
static void ring_charge(struct vpback_queue *queue)
{
	u64 ran = READ_ONCE(current->se.sum_exec_runtime);	/* up to date at each tick */

	if (ran != queue->ran)
		vpback_credit_spend_time(&queue->dev->account, ran - queue->ran);
	queue->ran = ran;
}

static void ring_await_credit(struct vpback_queue *queue)
{
	while (!vpback_credit_ask_command(&queue->dev->account) && !kthread_should_stop())
		schedule_timeout_idle(1);
}

/* All commands that are there; true when there was anything to do. */
static bool ring_work(struct vpback_queue *queue)
{
	struct xen_vpipe_request req;
	bool any = false, refused = false, events;
	int more, notify;
	RING_IDX prod;

	do {
		prod = queue->ring.sring->req_prod;
		rmb();	/* requests are written before their index */
		if (RING_REQUEST_PROD_OVERFLOW(&queue->ring, prod)) {
			ring_break(queue, "request index out of range");
			return any;
		}
		while (queue->ring.req_cons != prod && !kthread_should_stop()) {
			if (RING_REQUEST_CONS_OVERFLOW(&queue->ring, queue->ring.req_cons))
				break;
			ring_await_credit(queue);
			RING_COPY_REQUEST(&queue->ring, queue->ring.req_cons, &req);
			queue->ring.req_cons++;
			refused = ring_dispatch(queue, &req) || refused;
			ring_charge(queue);
			any = true;
			cond_resched();
		}
		RING_PUSH_RESPONSES_AND_CHECK_NOTIFY(&queue->ring, notify);
		events = ring_has_events(queue, vpback_events_flush(&queue->events));
		/* A refusal is told also when the frontend has not asked (rsp_event). */
		if (notify || events || refused) {
			ring_notify(queue);
			any = true;
			refused = false;
		}
		RING_FINAL_CHECK_FOR_REQUESTS(&queue->ring, more);
	} while (more && !kthread_should_stop());
	return any;
}

static irqreturn_t ring_interrupt(int irq, void *data)
{
	struct vpback_queue *queue = data;

	WRITE_ONCE(queue->kicked, true);
	wake_up(&queue->wait);
	return IRQ_HANDLED;	/* acknowledged by the thread: it comes no faster than we work */
}

static int ring_thread(void *data)
{
	struct vpback_queue *queue = data;

	while (!kthread_should_stop()) {
		wait_event_idle(queue->wait, READ_ONCE(queue->kicked) || kthread_should_stop());
		if (!xchg(&queue->kicked, false))
			continue;
		if (READ_ONCE(queue->broken))
			continue;	/* no more interrupts either */
		xen_irq_lateeoi(queue->irq, ring_work(queue) ? 0 : XEN_EOI_FLAG_SPURIOUS);
	}
	return 0;
}

/* --- life ---------------------------------------------------------------------------- */

static void ring_unmap_pool(struct vpback_queue *queue)
{
	struct gnttab_unmap_grant_ref *unmap;
	struct page **page;
	unsigned int i, n = 0;

	if (!queue->page)
		goto out;
	unmap = kvcalloc(queue->nr_pages, sizeof(*unmap), GFP_KERNEL | __GFP_NOFAIL);
	page = kvcalloc(queue->nr_pages, sizeof(*page), GFP_KERNEL | __GFP_NOFAIL);
	for (i = 0; i < queue->nr_pages; i++) {
		if (queue->handle[i] == INVALID_GRANT_HANDLE)
			continue;
		gnttab_set_unmap_op(&unmap[n], (unsigned long)page_address(queue->page[i]),
				    GNTMAP_host_map, queue->handle[i]);
		page[n++] = queue->page[i];
	}
	if (n)
		WARN_ON_ONCE(gnttab_unmap_refs(unmap, NULL, page, n));
	kvfree(page);
	kvfree(unmap);
out:
	kvfree(queue->handle);
	queue->handle = NULL;
}

static int ring_map_pool(struct vpback_queue *queue, const u32 *refs, unsigned int nr)
{
	struct gnttab_map_grant_ref *map;
	unsigned int i;
	int ret;

	queue->page = kvcalloc(nr, sizeof(*queue->page), GFP_KERNEL);
	queue->handle = kvcalloc(nr, sizeof(*queue->handle), GFP_KERNEL);
	map = kvcalloc(nr, sizeof(*map), GFP_KERNEL);
	ret = queue->page && queue->handle && map ? gnttab_alloc_pages(nr, queue->page) : -ENOMEM;
	if (ret) {
		kvfree(queue->page);
		queue->page = NULL;
		goto out;
	}
	queue->nr_pages = nr;
	for (i = 0; i < nr; i++) {
		gnttab_set_map_op(&map[i], (unsigned long)page_address(queue->page[i]),
				  GNTMAP_host_map, refs[i], queue->dev->domid);
		map[i].status = GNTST_general_error;	/* unless the hypervisor says better */
	}
	ret = gnttab_map_refs(map, NULL, queue->page, nr);
	for (i = 0; i < nr; i++) {
		queue->handle[i] = map[i].status ? INVALID_GRANT_HANDLE : map[i].handle;
		if (map[i].status)
			ret = -EINVAL;
	}
out:
	kvfree(map);
	return ret;
}

/* The frontend has gone, or goes: end all flows, unmap everything.  May be partial. */
void vpback_ring_disconnect(struct vpback_queue *queue)
{
	struct vpback_flow *flow;
	struct page **page = queue->page;
	unsigned int nr_pages = queue->nr_pages;
	unsigned long index;

	if (queue->thread)
		kthread_stop(queue->thread);
	xa_for_each(&queue->flows, index, flow)
		vpback_flow_destroy(flow, false);
	xa_destroy(&queue->flows);
	vpback_events_drop(&queue->events);
	if (queue->irq > 0)
		unbind_from_irqhandler(queue->irq, queue);
	ring_unmap_pool(queue);
	if (page)
		gnttab_free_pages(nr_pages, page);
	kvfree(page);
	if (queue->events.page)
		xenbus_unmap_ring_vfree(queue->dev->xbdev, queue->events.page);
	if (queue->sring)
		xenbus_unmap_ring_vfree(queue->dev->xbdev, queue->sring);
	kfree(queue);
}

struct ring_nodes {
	unsigned int order, event_ref, pool_ref, pool_pages, evtchn;
	grant_ref_t ring_ref[1 << XEN_VPIPE_MAX_RING_PAGE_ORDER];
};

static int ring_read_nodes(struct vpback_queue *queue, struct ring_nodes *nodes)
{
	char path[256], node[20];
	unsigned int i;
	int ret;

	snprintf(path, sizeof(path), "%s/queue-%u", queue->dev->xbdev->otherend, queue->index);
	ret = xenbus_gather(XBT_NIL, path,
			    "ring-page-order", "%u", &nodes->order,
			    "event-ref", "%u", &nodes->event_ref,
			    "pool-ref", "%u", &nodes->pool_ref,
			    "pool-pages", "%u", &nodes->pool_pages,
			    "event-channel", "%u", &nodes->evtchn, NULL);
	if (ret)
		return ret;
	if (nodes->order > XEN_VPIPE_MAX_RING_PAGE_ORDER || !nodes->pool_pages ||
	    nodes->pool_pages > XEN_VPIPE_MAX_POOL_PAGES)
		return -EINVAL;
	for (i = 0; i < 1U << nodes->order; i++) {
		snprintf(node, sizeof(node), "ring-ref%u", i);
		if (xenbus_scanf(XBT_NIL, path, node, "%u", &nodes->ring_ref[i]) != 1)
			return -EINVAL;
	}
	return 0;
}

static int ring_map(struct vpback_queue *queue, struct ring_nodes *nodes)
{
	struct xenbus_device *xbdev = queue->dev->xbdev;
	void *directory;
	u32 *refs;
	int ret;

	ret = xenbus_map_ring_valloc(xbdev, nodes->ring_ref, 1U << nodes->order, &queue->sring);
	if (ret)
		return ret;
	BACK_RING_INIT(&queue->ring, (struct xen_vpipe_sring *)queue->sring,
		       XEN_PAGE_SIZE << nodes->order);
	ret = xenbus_map_ring_valloc(xbdev, &nodes->event_ref, 1, (void **)&queue->events.page);
	if (ret)
		return ret;
	ret = xenbus_map_ring_valloc(xbdev, &nodes->pool_ref, 1, &directory);
	if (ret)
		return ret;
	refs = kmemdup(directory, nodes->pool_pages * sizeof(*refs), GFP_KERNEL);
	xenbus_unmap_ring_vfree(xbdev, directory);
	if (!refs)
		return -ENOMEM;
	ret = ring_map_pool(queue, refs, nodes->pool_pages);
	kfree(refs);
	return ret;
}

/* Serve the queue that the frontend has published.  ERR_PTR.  May sleep. */
struct vpback_queue *vpback_ring_connect(struct vpback_device *dev, unsigned int index)
{
	struct vpback_queue *queue = kzalloc(sizeof(*queue), GFP_KERNEL);
	struct task_struct *thread;
	struct ring_nodes nodes;
	int ret;

	if (!queue)
		return ERR_PTR(-ENOMEM);
	queue->dev = dev;
	queue->index = index;
	xa_init(&queue->flows);
	mutex_init(&queue->flows_lock);
	vpback_events_init(&queue->events);
	init_waitqueue_head(&queue->wait);

	ret = ring_read_nodes(queue, &nodes) ?: ring_map(queue, &nodes);
	if (ret)
		goto err;
	ret = bind_interdomain_evtchn_to_irqhandler_lateeoi(dev->xbdev, nodes.evtchn,
							    ring_interrupt, 0, "vpipe-back",
							    queue);
	if (ret < 0)
		goto err;
	queue->irq = ret;
	queue->kicked = true;		/* there may be commands already */
	thread = kthread_run(ring_thread, queue, "vpback/%u-q%u", dev->domid, index);
	if (IS_ERR(thread)) {
		ret = PTR_ERR(thread);
		goto err;
	}
	queue->thread = thread;
	return queue;
err:
	vpback_ring_disconnect(queue);
	return ERR_PTR(ret);
}
