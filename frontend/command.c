// SPDX-License-Identifier: GPL-2.0
/*
 * command.c: what an operation tells the backend, and what it is answered.  Commands
 * are pushed without waiting, so that several share one notification; their answers
 * are looked at later, all together.  That of a TRANSFER is looked at by nobody: it ends
 * by an event, or, refused, by vpfront_pipe_refused().
 */
#include <linux/slab.h>

#include "trace.h"
#include <vpipe/tcp_carry.h>

/* The receive window cannot have let in more than this. */
#define MAX_UNREAD		(64U << 20)

/* Nor a send buffer. */
#define MAX_QUEUE		(64U << 20)

static int *command_status_of(struct vpfront_flow *flow, u16 op)
{
	switch (op) {
	case XEN_VPIPE_OP_ATTACH:
	case XEN_VPIPE_OP_OPEN:
		return &flow->attach_status;
	case XEN_VPIPE_OP_QUEUE:
		return &flow->queue_status;
	case XEN_VPIPE_OP_UNREAD:
		return &flow->unread_status;
	default:
		return NULL;
	}
}

/* Look at all answers; the first failure of each kind of command is kept. */
void vpfront_command_collect(struct vpfront_flow *flow)
{
	struct vpfront_call *call, *next;

	vpfront_ring_kick(flow->queue);
	list_for_each_entry_safe(call, next, &flow->calls, node) {
		int ret = vpfront_ring_wait(flow->queue, call);
		int *status = command_status_of(flow, call->req.op);

		if (ret && status && !*status)
			*status = ret;
		if (!ret && call->req.op == XEN_VPIPE_OP_ATTACH)
			vpfront_strays_go(&flow->sock);
		if (!ret && call->req.op == XEN_VPIPE_OP_UNREAD)
			flow->unread_sent += call->req.u.queue.length;
		list_del(&call->node);
		vpfront_ring_call_free(flow->queue, call);
	}
}

/* Of all flows of an operation, which may have commands on one another's behalf. */
void vpfront_command_collect_all(struct vpfront_pipe *pipe)
{
	unsigned int i;

	for (i = 0; i < pipe->nr_flows; i++)
		vpfront_command_collect(pipe->flow[i]);
}

static struct vpfront_call *command_alloc(struct vpfront_flow *flow, u16 op,
					  unsigned int nr_pages, bool wait)
{
	struct vpfront_call *call;

	call = vpfront_ring_call_alloc(flow->queue, op, flow->id, nr_pages, false);
	if (call || !wait)
		return call;
	/* Hold nothing while waiting; a flow that comes home alone holds only its own. */
	if (READ_ONCE(flow->state) == VPFRONT_FLOW_BUSY)
		vpfront_command_collect_all(flow->pipe);
	else
		vpfront_command_collect(flow);
	return vpfront_ring_call_alloc(flow->queue, op, flow->id, nr_pages, true);
}

static int command_post(struct vpfront_flow *flow, struct vpfront_call *call, bool wait)
{
	int ret = vpfront_ring_post(flow->queue, call, wait);

	if (ret)
		vpfront_ring_call_free(flow->queue, call);
	return ret;
}

static int command_push(struct vpfront_flow *flow, struct vpfront_call *call)
{
	int ret = vpfront_ring_push(flow->queue, call);

	if (ret)
		vpfront_ring_call_free(flow->queue, call);
	else
		list_add_tail(&call->node, &flow->calls);
	return ret;
}

/* Hand over the connection, or, without one, make a flow for a copy. */
int vpfront_command_attach(struct vpfront_flow *flow)
{
	struct vpfront_call *call;

	if (!flow->sock.sk)
		return vpfront_command_simple(flow, XEN_VPIPE_OP_OPEN);
	call = command_alloc(flow, XEN_VPIPE_OP_ATTACH, 1, true);
	if (!call)
		return -EIO;
	call->req.u.attach.page = call->page[0];
	memcpy(vpfront_ring_page(flow->queue, call->page[0]), &flow->sock.state,
	       sizeof(flow->sock.state));
	return command_push(flow, call);
}

/* The send queue, sent and unsent alike (QUEUE), or what was not read (UNREAD). */
int vpfront_command_queue(struct vpfront_flow *flow, u16 op)
{
	struct vpfront_sock *vs = &flow->sock;
	bool send = op == XEN_VPIPE_OP_QUEUE;
	u32 total = send ? vs->state.write_seq - vs->state.snd_una : vs->unread, at, i;
	int ret;

	for (at = 0; at < total; ) {
		u32 left = min_t(u32, total - at, XEN_VPIPE_QUEUE_PAGES * XEN_VPIPE_PAGE_SIZE);
		u32 nr = DIV_ROUND_UP(left, XEN_VPIPE_PAGE_SIZE);
		struct vpfront_call *call = command_alloc(flow, op, nr, true);

		if (!call)
			return -EIO;
		call->req.u.queue.length = left;
		for (i = 0; i < nr; i++) {
			void *to = vpfront_ring_page(flow->queue, call->page[i]);
			u32 n = min_t(u32, left, XEN_VPIPE_PAGE_SIZE);

			call->req.u.queue.page[i] = call->page[i];
			if ((send ? vpfront_sock_copy_queue(vs, at, to, n) :
				    vpfront_sock_copy_unread(vs, at, to, n)) != n) {
				vpfront_ring_call_free(flow->queue, call);
				return -EPROTO;
			}
			at += n;
			left -= n;
		}
		ret = command_push(flow, call);
		if (ret)
			return ret;
	}
	return 0;
}

static void command_end_extents(struct vpfront_flow *flow, struct vpfront_call *call,
				struct xen_vpipe_end *end, u32 vdev,
				const struct vpfront_segment *seg)
{
	end->type = XEN_VPIPE_END_EXTENTS;
	end->id = vdev;
	end->page = call->page[0];
	end->nr = seg->nr;
	end->skip = seg->skip;
	memcpy(vpfront_ring_page(flow->queue, call->page[0]), seg->extent,
	       seg->nr * sizeof(*seg->extent));
}

/*
 * A piece of the source: into the sink socket, or the backend's buffer for a file.  Without
 * `wait`, it fails when no page or place on the ring is free.
 */
int vpfront_command_transfer(struct vpfront_pipe *pipe, struct vpfront_segment *seg, bool wait)
{
	bool from_socket = vpfront_pipe_from_socket(pipe);
	struct vpfront_flow *flow = pipe->flow[0];
	struct xen_vpipe_transfer *transfer;
	struct vpfront_call *call;

	call = command_alloc(flow, XEN_VPIPE_OP_TRANSFER, !from_socket, wait);
	if (!call)
		return -EIO;
	transfer = &call->req.u.transfer;
	transfer->cookie = seg->cookie;
	transfer->length = seg->length;
	if (from_socket) {
		transfer->source.type = XEN_VPIPE_END_SOCKET;
		transfer->source.id = flow->id;
	} else {
		command_end_extents(flow, call, &transfer->source, pipe->file.vdev, seg);
	}
	if (vpfront_pipe_to_socket(pipe)) {
		transfer->sink.type = XEN_VPIPE_END_SOCKET;
		transfer->sink.id = pipe->flow[pipe->nr_flows - 1]->id;
	} else {
		transfer->sink.type = XEN_VPIPE_END_BUFFER;
		transfer->sink.id = flow->id;
	}
	trace_vpfront_dispatch(pipe, flow, seg);
	return command_post(flow, call, wait);
}

/*
 * From the backend's buffer to the disk.  Not by the operation's own work, which waits
 * in the filesystem meanwhile.  -EIO: the backend has not been asked.
 */
int vpfront_command_write(struct vpfront_pipe *pipe, struct vpfront_segment *batch, bool fua)
{
	struct vpfront_flow *flow = pipe->flow[0];
	struct xen_vpipe_transfer *transfer;
	struct vpfront_call *call;
	int ret;

	call = vpfront_ring_call_alloc(flow->queue, XEN_VPIPE_OP_TRANSFER, flow->id, 1, true);
	if (!call)
		return -EIO;
	transfer = &call->req.u.transfer;
	transfer->cookie = batch->cookie;
	transfer->length = batch->length;
	transfer->source.type = XEN_VPIPE_END_BUFFER;
	transfer->source.id = flow->id;
	command_end_extents(flow, call, &transfer->sink, pipe->sink.file.vdev, batch);
	if (fua)
		transfer->sink.type |= XEN_VPIPE_END_FUA;
	trace_vpfront_dispatch(pipe, flow, batch);
	ret = command_post(flow, call, true);
	if (!ret)
		vpfront_ring_kick(flow->queue);
	return ret;
}

int vpfront_command_simple(struct vpfront_flow *flow, u16 op)
{
	struct vpfront_call *call = command_alloc(flow, op, 0, true);

	if (!call)
		return -EIO;
	if (op == XEN_VPIPE_OP_RELEASE && flow->lost)
		call->req.u.release.flags = XEN_VPIPE_RELEASE_LOST;
	if (op == XEN_VPIPE_OP_DETACH)
		call->req.u.detach = (struct xen_vpipe_detach){
			.settle_ms = flow->settle_sent,
			.flags = flow->fin_sent ? XEN_VPIPE_DETACH_FIN : 0,
		};
	return command_push(flow, call);
}

/* What comes back must continue what was given away. */
static bool command_state_continues(struct vpfront_flow *flow,
				    const struct xen_vpipe_tcp_state *st)
{
	const struct xen_vpipe_tcp_state *was = &flow->sock.state;
	u32 received = st->unread - flow->unread_kept, queue = st->write_seq - st->snd_una;

	if (flow->sock.source)	/* counted from the first byte that was not read */
		received += flow->taken - flow->sock.unread;
	if (st->unread > MAX_UNREAD)
		return false;
	if (st->state == XEN_VPIPE_TCP_CLOSED)
		return !queue && st->error < MAX_ERRNO;
	if (st->state >= XEN_VPIPE_TCP_FIN_WAIT2 && st->state <= XEN_VPIPE_TCP_DONE)
		return flow->fin_sent && !queue && !st->unread &&
		       st->write_seq - was->write_seq == flow->sent + 1 &&
		       st->rcv_nxt - was->rcv_nxt == received;
	if (st->state == XEN_VPIPE_TCP_CLOSING &&
	    (!flow->fin_sent || st->unread || was->state != XEN_VPIPE_TCP_ESTABLISHED))
		return false;
	return vpipe_tcp_lives(st->state) &&
	       st->write_seq - was->write_seq == flow->sent &&
	       queue <= MAX_QUEUE && st->snd_nxt - st->snd_una <= queue &&
	       st->rcv_nxt - was->rcv_nxt == received &&
	       st->max_window >= st->snd_wnd &&
	       !(was->state == XEN_VPIPE_TCP_CLOSE_WAIT &&
		 (received || st->state != XEN_VPIPE_TCP_CLOSE_WAIT));
}

static int command_judge_state(struct vpfront_flow *flow, const struct xen_vpipe_tcp_state *st)
{
	const struct xen_vpipe_tcp_state *was = &flow->sock.state;

	if (command_state_continues(flow, st))
		return 0;
	pr_err_ratelimited("vpipe-front: what came back does not continue the connection: state %u from %u, error %d, unread %u (%u kept), queue %u, sent %u of %u, received %u, taken %u of %u\n",
			   st->state, was->state, st->error, st->unread, flow->unread_kept,
			   st->write_seq - st->snd_una, st->write_seq - was->write_seq,
			   flow->sent, st->rcv_nxt - was->rcv_nxt, flow->taken,
			   flow->sock.source ? flow->sock.unread : 0);
	return -EPROTO;
}

/* Bytes that came home with a RETURN: those that the socket has kept are left out. */
static int command_take_bytes(struct vpfront_flow *flow, const struct xen_vpipe_tcp_state *st,
			      u32 offset, const struct vpfront_call *call, u32 len)
{
	u32 skip = offset < flow->unread_kept ? min(flow->unread_kept - offset, len) : 0;
	struct kvec page[XEN_VPIPE_RETURN_PAGES - 1];
	struct iov_iter from;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(page); i++)
		page[i] = (struct kvec){
			.iov_base = vpfront_ring_page(flow->queue, call->page[i + 1]),
			.iov_len = XEN_VPIPE_PAGE_SIZE,
		};
	iov_iter_kvec(&from, ITER_SOURCE, page, ARRAY_SIZE(page), len);
	iov_iter_advance(&from, skip);
	return vpfront_sock_thaw_data(&flow->sock, st, offset + skip, &from);
}

/* One RETURN: the state into *st, up to 19 pages of bytes into the socket. */
int vpfront_command_return(struct vpfront_flow *flow, u32 offset,
			   struct xen_vpipe_tcp_state *st, u32 *bytes)
{
	struct vpfront_call *call;
	int ret, i;

	call = command_alloc(flow, XEN_VPIPE_OP_RETURN, XEN_VPIPE_RETURN_PAGES, true);
	if (!call)
		return -EIO;
	call->req.u.ret.offset = offset;
	call->req.u.ret.nr_pages = XEN_VPIPE_RETURN_PAGES;
	for (i = 0; i < XEN_VPIPE_RETURN_PAGES; i++)
		call->req.u.ret.page[i] = call->page[i];
	ret = vpfront_ring_push(flow->queue, call);
	if (!ret) {
		vpfront_ring_kick(flow->queue);
		ret = vpfront_ring_wait(flow->queue, call);
	}
	if (ret)
		goto out;
	if (!offset) {
		memcpy(st, vpfront_ring_page(flow->queue, call->page[0]), sizeof(*st));
		ret = command_judge_state(flow, st);
		if (ret)
			goto out;
		ret = vpfront_sock_thaw_begin(&flow->sock, st);
		if (ret)
			goto out;
	}
	*bytes = call->value;
	if (*bytes > st->unread + st->write_seq - st->snd_una - offset ||
	    *bytes > (XEN_VPIPE_RETURN_PAGES - 1) * XEN_VPIPE_PAGE_SIZE) {
		ret = -EPROTO;
		goto out;
	}
	ret = command_take_bytes(flow, st, offset, call, *bytes);
out:
	vpfront_ring_call_free(flow->queue, call);
	return ret;
}
