// SPDX-License-Identifier: GPL-2.0
/*
 * command.c: what an operation tells the backend, and what it is answered.  Commands
 * are pushed without waiting, so that several share one notification; their answers
 * are looked at later, all together.
 */
#include <linux/slab.h>

#include "vpfront.h"

/* The receive window cannot have let in more than this. */
#define MAX_UNREAD		(64U << 20)

static int *command_status_of(struct vpfront_pipe *pipe, u16 op)
{
	switch (op) {
	case XEN_VPIPE_OP_ATTACH:
		return &pipe->attach_status;
	case XEN_VPIPE_OP_QUEUE:
		return &pipe->queue_status;
	case XEN_VPIPE_OP_TRANSFER:
		return &pipe->transfer_status;
	default:
		return NULL;
	}
}

/* A refused TRANSFER has no event. */
static void command_unpin_refused(struct vpfront_pipe *pipe, u64 cookie)
{
	unsigned int i;

	for (i = 0; i < VPFRONT_SEGMENTS; i++) {
		struct vpfront_segment *seg = &pipe->segment[i];

		if (seg->cookie == cookie && xchg(&seg->busy, 0))
			vpfront_file_unpin(seg);
	}
}

/* Look at all answers; the first failure of each kind of command is kept. */
void vpfront_command_collect(struct vpfront_pipe *pipe)
{
	struct vpfront_call *call, *next;

	vpfront_ring_kick(pipe->queue);
	list_for_each_entry_safe(call, next, &pipe->calls, node) {
		int ret = vpfront_ring_wait(pipe->queue, call);
		int *status = command_status_of(pipe, call->req.op);

		if (ret && status && !*status)
			*status = ret;
		if (ret && call->req.op == XEN_VPIPE_OP_TRANSFER)
			command_unpin_refused(pipe, call->req.u.transfer.cookie);
		list_del(&call->node);
		vpfront_ring_call_free(pipe->queue, call);
	}
}

static struct vpfront_call *command_alloc(struct vpfront_pipe *pipe, u16 op, unsigned int nr_pages)
{
	struct vpfront_call *call;

	call = vpfront_ring_call_alloc(pipe->queue, op, pipe->flow, nr_pages, false);
	if (call)
		return call;
	vpfront_command_collect(pipe);		/* hold nothing while waiting */
	return vpfront_ring_call_alloc(pipe->queue, op, pipe->flow, nr_pages, true);
}

static int command_push(struct vpfront_pipe *pipe, struct vpfront_call *call)
{
	int ret = vpfront_ring_push(pipe->queue, call);

	if (ret)
		vpfront_ring_call_free(pipe->queue, call);
	else
		list_add_tail(&call->node, &pipe->calls);
	return ret;
}

int vpfront_command_attach(struct vpfront_pipe *pipe)
{
	struct vpfront_call *call = command_alloc(pipe, XEN_VPIPE_OP_ATTACH, 1);

	if (!call)
		return -EIO;
	call->req.u.attach.page = call->page[0];
	memcpy(vpfront_ring_page(pipe->queue, call->page[0]), &pipe->sock.state,
	       sizeof(pipe->sock.state));
	return command_push(pipe, call);
}

/* The send queue, sent and unsent alike. */
int vpfront_command_queue(struct vpfront_pipe *pipe)
{
	u32 total = pipe->sock.state.write_seq - pipe->sock.state.snd_una, at, i;
	int ret;

	for (at = 0; at < total; ) {
		u32 left = min_t(u32, total - at, XEN_VPIPE_QUEUE_PAGES * XEN_VPIPE_PAGE_SIZE);
		u32 nr = DIV_ROUND_UP(left, XEN_VPIPE_PAGE_SIZE);
		struct vpfront_call *call = command_alloc(pipe, XEN_VPIPE_OP_QUEUE, nr);

		if (!call)
			return -EIO;
		call->req.u.queue.length = left;
		for (i = 0; i < nr; i++) {
			u32 n = min_t(u32, left, XEN_VPIPE_PAGE_SIZE);

			call->req.u.queue.page[i] = call->page[i];
			if (vpfront_sock_copy_queue(&pipe->sock, at,
						    vpfront_ring_page(pipe->queue, call->page[i]),
						    n) != n) {
				vpfront_ring_call_free(pipe->queue, call);
				return -EPROTO;
			}
			at += n;
			left -= n;
		}
		ret = command_push(pipe, call);
		if (ret)
			return ret;
	}
	return 0;
}

int vpfront_command_transfer(struct vpfront_pipe *pipe, struct vpfront_segment *seg)
{
	struct vpfront_call *call = command_alloc(pipe, XEN_VPIPE_OP_TRANSFER, 1);
	struct xen_vpipe_transfer *transfer;

	if (!call)
		return -EIO;
	transfer = &call->req.u.transfer;
	transfer->cookie = seg->cookie;
	transfer->length = seg->length;
	transfer->source.type = XEN_VPIPE_END_EXTENTS;
	transfer->source.id = pipe->file.vdev;
	transfer->source.page = call->page[0];
	transfer->source.nr = seg->nr;
	transfer->source.skip = seg->skip;
	transfer->sink.type = XEN_VPIPE_END_SOCKET;
	transfer->sink.id = pipe->flow;
	memcpy(vpfront_ring_page(pipe->queue, call->page[0]), seg->extent,
	       seg->nr * sizeof(*seg->extent));
	return command_push(pipe, call);
}

int vpfront_command_simple(struct vpfront_pipe *pipe, u16 op)
{
	struct vpfront_call *call = command_alloc(pipe, op, 0);

	if (!call)
		return -EIO;
	if (op == XEN_VPIPE_OP_CANCEL)
		call->req.u.cancel.linger_ms = pipe->linger_sent;
	return command_push(pipe, call);
}

/* What comes back must continue what was given away. */
static bool command_state_plausible(struct vpfront_pipe *pipe, const struct xen_vpipe_tcp_state *st)
{
	const struct xen_vpipe_tcp_state *was = &pipe->sock.state;

	if (st->state == XEN_VPIPE_TCP_CLOSED)
		return st->unread <= MAX_UNREAD && st->error < MAX_ERRNO;
	return (st->state == XEN_VPIPE_TCP_ESTABLISHED ||
		st->state == XEN_VPIPE_TCP_CLOSE_WAIT) &&
	       st->snd_una == st->write_seq && st->snd_nxt == st->write_seq &&
	       st->write_seq - was->write_seq == (u32)pipe->moved &&
	       st->unread <= MAX_UNREAD && st->rcv_nxt - was->rcv_nxt == st->unread &&
	       st->max_window >= st->snd_wnd &&
	       !(was->state == XEN_VPIPE_TCP_CLOSE_WAIT &&
		 (st->unread || st->state != XEN_VPIPE_TCP_CLOSE_WAIT));
}

/* One RETURN: the state into *st, up to 19 pages of unread bytes into the socket. */
int vpfront_command_return(struct vpfront_pipe *pipe, u32 offset, struct xen_vpipe_tcp_state *st,
			   u32 *bytes)
{
	struct vpfront_call *call;
	u32 i, left;
	int ret;

	call = command_alloc(pipe, XEN_VPIPE_OP_RETURN, XEN_VPIPE_RETURN_PAGES);
	if (!call)
		return -EIO;
	call->req.u.ret.offset = offset;
	call->req.u.ret.nr_pages = XEN_VPIPE_RETURN_PAGES;
	for (i = 0; i < XEN_VPIPE_RETURN_PAGES; i++)
		call->req.u.ret.page[i] = call->page[i];
	ret = vpfront_ring_push(pipe->queue, call);
	if (!ret) {
		vpfront_ring_kick(pipe->queue);
		ret = vpfront_ring_wait(pipe->queue, call);
	}
	if (ret)
		goto out;
	if (!offset) {
		memcpy(st, vpfront_ring_page(pipe->queue, call->page[0]), sizeof(*st));
		ret = command_state_plausible(pipe, st) ? 0 : -EPROTO;
		if (ret)
			goto out;
		vpfront_sock_thaw_begin(&pipe->sock, st);
	}
	*bytes = call->value;
	if (*bytes > st->unread - offset ||
	    *bytes > (XEN_VPIPE_RETURN_PAGES - 1) * XEN_VPIPE_PAGE_SIZE) {
		ret = -EPROTO;
		goto out;
	}
	for (i = 1, left = *bytes; left && !ret; i++) {
		u32 n = min_t(u32, left, XEN_VPIPE_PAGE_SIZE);

		ret = vpfront_sock_thaw_data(&pipe->sock,
					     vpfront_ring_page(pipe->queue, call->page[i]), n);
		left -= n;
	}
out:
	vpfront_ring_call_free(pipe->queue, call);
	return ret;
}
