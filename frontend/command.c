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

static struct vpfront_leg *command_leg(struct vpfront_pipe *pipe,
				       const struct xen_vpipe_request *req)
{
	return &pipe->leg[pipe->nr_legs > 1 && req->flow == pipe->leg[1].flow];
}

static int *command_status_of(struct vpfront_pipe *pipe, const struct xen_vpipe_request *req)
{
	struct vpfront_leg *leg = command_leg(pipe, req);

	switch (req->op) {
	case XEN_VPIPE_OP_ATTACH:
	case XEN_VPIPE_OP_OPEN:
		return &leg->attach_status;
	case XEN_VPIPE_OP_QUEUE:
		return &leg->queue_status;
	case XEN_VPIPE_OP_UNREAD:
		return &leg->unread_status;
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
		int *status = command_status_of(pipe, &call->req);

		if (ret && status && !*status)
			*status = ret;
		if (!ret && call->req.op == XEN_VPIPE_OP_UNREAD)
			command_leg(pipe, &call->req)->unread_sent += call->req.u.queue.length;
		if (ret && call->req.op == XEN_VPIPE_OP_TRANSFER)
			command_unpin_refused(pipe, call->req.u.transfer.cookie);
		list_del(&call->node);
		vpfront_ring_call_free(pipe->queue, call);
	}
}

static struct vpfront_call *command_alloc(struct vpfront_pipe *pipe, struct vpfront_leg *leg,
					  u16 op, unsigned int nr_pages)
{
	struct vpfront_call *call;

	call = vpfront_ring_call_alloc(pipe->queue, op, leg->flow, nr_pages, false);
	if (call)
		return call;
	vpfront_command_collect(pipe);		/* hold nothing while waiting */
	return vpfront_ring_call_alloc(pipe->queue, op, leg->flow, nr_pages, true);
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

/* Hand over the connection, or, without one, make a flow for a copy. */
int vpfront_command_attach(struct vpfront_pipe *pipe, struct vpfront_leg *leg)
{
	struct vpfront_call *call;

	if (!leg->sock.socket)
		return vpfront_command_simple(pipe, leg, XEN_VPIPE_OP_OPEN);
	call = command_alloc(pipe, leg, XEN_VPIPE_OP_ATTACH, 1);
	if (!call)
		return -EIO;
	call->req.u.attach.page = call->page[0];
	memcpy(vpfront_ring_page(pipe->queue, call->page[0]), &leg->sock.state,
	       sizeof(leg->sock.state));
	return command_push(pipe, call);
}

/* The send queue, sent and unsent alike (QUEUE), or what was not read (UNREAD). */
int vpfront_command_queue(struct vpfront_pipe *pipe, struct vpfront_leg *leg, u16 op)
{
	struct vpfront_sock *vs = &leg->sock;
	bool send = op == XEN_VPIPE_OP_QUEUE;
	u32 total = send ? vs->state.write_seq - vs->state.snd_una : vs->unread, at, i;
	int ret;

	for (at = 0; at < total; ) {
		u32 left = min_t(u32, total - at, XEN_VPIPE_QUEUE_PAGES * XEN_VPIPE_PAGE_SIZE);
		u32 nr = DIV_ROUND_UP(left, XEN_VPIPE_PAGE_SIZE);
		struct vpfront_call *call = command_alloc(pipe, leg, op, nr);

		if (!call)
			return -EIO;
		call->req.u.queue.length = left;
		for (i = 0; i < nr; i++) {
			void *to = vpfront_ring_page(pipe->queue, call->page[i]);
			u32 n = min_t(u32, left, XEN_VPIPE_PAGE_SIZE);

			call->req.u.queue.page[i] = call->page[i];
			if ((send ? vpfront_sock_copy_queue(vs, at, to, n) :
				    vpfront_sock_copy_unread(vs, at, to, n)) != n) {
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

static void command_end_extents(struct vpfront_pipe *pipe, struct vpfront_call *call,
				struct xen_vpipe_end *end, u32 vdev,
				const struct vpfront_segment *seg)
{
	end->type = XEN_VPIPE_END_EXTENTS;
	end->id = vdev;
	end->page = call->page[0];
	end->nr = seg->nr;
	end->skip = seg->skip;
	memcpy(vpfront_ring_page(pipe->queue, call->page[0]), seg->extent,
	       seg->nr * sizeof(*seg->extent));
}

/* A piece of the source: into the sink socket, or the backend's buffer for a file. */
int vpfront_command_transfer(struct vpfront_pipe *pipe, struct vpfront_segment *seg)
{
	bool from_socket = vpfront_pipe_from_socket(pipe);
	struct vpfront_leg *leg = &pipe->leg[0];
	struct vpfront_call *call = command_alloc(pipe, leg, XEN_VPIPE_OP_TRANSFER, !from_socket);
	struct xen_vpipe_transfer *transfer;

	if (!call)
		return -EIO;
	transfer = &call->req.u.transfer;
	transfer->cookie = seg->cookie;
	transfer->length = seg->length;
	if (from_socket) {
		transfer->source.type = XEN_VPIPE_END_SOCKET;
		transfer->source.id = leg->flow;
	} else {
		command_end_extents(pipe, call, &transfer->source, pipe->file.vdev, seg);
	}
	if (vpfront_pipe_to_socket(pipe)) {
		transfer->sink.type = XEN_VPIPE_END_SOCKET;
		transfer->sink.id = pipe->leg[pipe->nr_legs - 1].flow;
	} else {
		transfer->sink.type = XEN_VPIPE_END_BUFFER;
		transfer->sink.id = leg->flow;
	}
	return command_push(pipe, call);
}

/*
 * From the backend's buffer to the disk.  Not by the operation's own work, which waits
 * in the filesystem meanwhile: so the answer is awaited here.  *refused: the backend
 * has said that it does not do it; any other failure leaves that open.
 */
int vpfront_command_write(struct vpfront_pipe *pipe, struct vpfront_segment *batch, bool fua,
			  bool *refused)
{
	struct vpfront_leg *leg = &pipe->leg[0];
	struct xen_vpipe_transfer *transfer;
	struct vpfront_call *call;
	int ret;

	call = vpfront_ring_call_alloc(pipe->queue, XEN_VPIPE_OP_TRANSFER, leg->flow, 1, true);
	if (!call)
		return -EIO;
	transfer = &call->req.u.transfer;
	transfer->cookie = batch->cookie;
	transfer->length = batch->length;
	transfer->source.type = XEN_VPIPE_END_BUFFER;
	transfer->source.id = leg->flow;
	command_end_extents(pipe, call, &transfer->sink, pipe->sink.file.vdev, batch);
	if (fua)
		transfer->sink.type |= XEN_VPIPE_END_FUA;
	ret = vpfront_ring_push(pipe->queue, call);
	if (!ret) {
		vpfront_ring_kick(pipe->queue);
		ret = vpfront_ring_wait(pipe->queue, call);
		*refused = call->answered && ret;
	}
	vpfront_ring_call_free(pipe->queue, call);
	return ret;
}

int vpfront_command_simple(struct vpfront_pipe *pipe, struct vpfront_leg *leg, u16 op)
{
	struct vpfront_call *call = command_alloc(pipe, leg, op, 0);

	if (!call)
		return -EIO;
	if (op == XEN_VPIPE_OP_CANCEL)
		call->req.u.cancel.linger_ms = leg->linger_sent;
	return command_push(pipe, call);
}

/* What comes back must continue what was given away. */
static bool command_state_plausible(struct vpfront_pipe *pipe, struct vpfront_leg *leg,
				    const struct xen_vpipe_tcp_state *st)
{
	const struct xen_vpipe_tcp_state *was = &leg->sock.state;
	bool source = leg->sock.source;
	u32 sent = source ? 0 : pipe->moved;
	u32 received = st->unread - leg->unread_kept;

	if (source)		/* counted from the first byte that was not read */
		received += (vpfront_pipe_to_socket(pipe) ? pipe->moved : pipe->taken) -
			    leg->sock.unread;
	if (st->state == XEN_VPIPE_TCP_CLOSED)
		return st->unread <= MAX_UNREAD && st->error < MAX_ERRNO;
	return (st->state == XEN_VPIPE_TCP_ESTABLISHED ||
		st->state == XEN_VPIPE_TCP_CLOSE_WAIT) &&
	       st->snd_una == st->write_seq && st->snd_nxt == st->write_seq &&
	       st->write_seq - was->write_seq == sent &&
	       st->unread <= MAX_UNREAD && st->rcv_nxt - was->rcv_nxt == received &&
	       st->max_window >= st->snd_wnd &&
	       !(was->state == XEN_VPIPE_TCP_CLOSE_WAIT &&
		 (received || st->state != XEN_VPIPE_TCP_CLOSE_WAIT));
}

/* One RETURN: the state into *st, up to 19 pages of unread bytes into the socket. */
int vpfront_command_return(struct vpfront_pipe *pipe, struct vpfront_leg *leg, u32 offset,
			   struct xen_vpipe_tcp_state *st, u32 *bytes)
{
	struct vpfront_call *call;
	u32 i, left;
	int ret;

	call = command_alloc(pipe, leg, XEN_VPIPE_OP_RETURN, XEN_VPIPE_RETURN_PAGES);
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
		ret = command_state_plausible(pipe, leg, st) ? 0 : -EPROTO;
		if (ret)
			goto out;
		vpfront_sock_thaw_begin(&leg->sock, st);
	}
	*bytes = call->value;
	if (*bytes > st->unread - offset ||
	    *bytes > (XEN_VPIPE_RETURN_PAGES - 1) * XEN_VPIPE_PAGE_SIZE) {
		ret = -EPROTO;
		goto out;
	}
	for (i = 1, left = *bytes; left && !ret; i++) {
		u32 n = min_t(u32, left, XEN_VPIPE_PAGE_SIZE);
		u32 skip = offset < leg->unread_kept ? min(leg->unread_kept - offset, n) : 0;

		if (n > skip)
			ret = vpfront_sock_thaw_data(&leg->sock,
						     vpfront_ring_page(pipe->queue, call->page[i]) +
						     skip, n - skip);
		left -= n;
		offset += n;
	}
out:
	vpfront_ring_call_free(pipe->queue, call);
	return ret;
}
