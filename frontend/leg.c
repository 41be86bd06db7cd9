// SPDX-License-Identifier: GPL-2.0
/*
 * leg.c: a flow of an operation: a connection's way to the backend and home again; or,
 * without a connection, the context of a copy.
 *
 * Whatever happens, a connection that has left comes home before its operation ends,
 * or is reset when its state is lost with the backend.
 */
#include <linux/net.h>
#include <net/sock.h>

#include "vpfront.h"

/* 0, or the enum vpipe_reason why it cannot go; then nothing has happened. */
int vpfront_leg_freeze(struct vpfront_pipe *pipe, struct vpfront_leg *leg)
{
	int ret;

	leg->home = true;
	if (vpfront_ring_flow_get(pipe->queue, pipe, &leg->flow))
		return VPIPE_REASON_BUSY;
	ret = leg->sock.socket ? vpfront_sock_freeze(&leg->sock) : 0;
	if (ret)
		vpfront_ring_flow_put(pipe->queue, leg->flow);
	else
		leg->home = false;
	return ret;
}

/* The backend did not take it: nothing has happened. */
void vpfront_leg_unfreeze(struct vpfront_pipe *pipe, struct vpfront_leg *leg)
{
	vpfront_ring_flow_put(pipe->queue, leg->flow);
	if (leg->sock.socket)
		vpfront_sock_unfreeze(&leg->sock);
	leg->home = true;
}

/* The backend has a shadow that did not become live: likewise. */
void vpfront_leg_take_back(struct vpfront_pipe *pipe, struct vpfront_leg *leg)
{
	vpfront_command_simple(pipe, leg, XEN_VPIPE_OP_RELEASE);
	vpfront_command_collect(pipe);
	vpfront_leg_unfreeze(pipe, leg);
}

int vpfront_leg_attach(struct vpfront_pipe *pipe, struct vpfront_leg *leg)
{
	int ret = vpfront_command_attach(pipe, leg);

	if (!ret && leg->sock.socket)
		ret = vpfront_command_queue(pipe, leg, XEN_VPIPE_OP_QUEUE);
	if (!ret && leg->sock.source)
		ret = vpfront_command_queue(pipe, leg, XEN_VPIPE_OP_UNREAD);
	return ret;
}

/* What is being moved ends; told again when the time to linger has changed. */
int vpfront_leg_cancel(struct vpfront_pipe *pipe, struct vpfront_leg *leg, u32 linger_ms)
{
	if (leg->home || leg->linger_sent == linger_ms)
		return 0;
	leg->linger_sent = linger_ms;
	return vpfront_command_simple(pipe, leg, XEN_VPIPE_OP_CANCEL);
}

int vpfront_leg_detach(struct vpfront_pipe *pipe, struct vpfront_leg *leg)
{
	if (leg->home || leg->detach_sent)
		return 0;
	leg->detach_sent = true;
	return vpfront_command_simple(pipe, leg, XEN_VPIPE_OP_DETACH);
}

static void leg_drop(struct vpfront_pipe *pipe, struct vpfront_leg *leg)
{
	vpfront_command_collect(pipe);
	vpfront_ring_flow_put(pipe->queue, leg->flow);
	leg->home = true;
}

/* The backend is gone or has broken the protocol, and with it the connection. */
void vpfront_leg_lost(struct vpfront_pipe *pipe, struct vpfront_leg *leg)
{
	if (leg->home)
		return;
	if (!READ_ONCE(pipe->dev->broken))
		vpfront_command_simple(pipe, leg, XEN_VPIPE_OP_RELEASE);
	leg_drop(pipe, leg);
	if (leg->sock.frozen)
		vpfront_sock_abort(&leg->sock, ECONNRESET);
	/* A copy just goes on by ordinary calls. */
	if (!pipe->error && leg->sock.socket)
		pipe->error = -ECONNRESET;
}

static void leg_return_socket(struct vpfront_pipe *pipe, struct vpfront_leg *leg)
{
	struct xen_vpipe_tcp_state st = {};
	u32 offset = 0, bytes = 0;
	int ret;

	if (leg->detach_status == -ETIMEDOUT) {
		/* RELEASE resets the connection; here it is as if that had come in. */
		vpfront_sock_abort(&leg->sock, ETIMEDOUT);
		return;
	}
	do {
		ret = vpfront_command_return(pipe, leg, offset, &st, &bytes);
		if (ret)
			break;
		offset += bytes;
	} while (offset < st.unread && bytes);
	if (!ret && offset < st.unread)
		ret = -EPROTO;
	if (ret) {
		pr_err_ratelimited("vpipe-front: a connection did not come back: %d\n", ret);
		vpfront_sock_abort(&leg->sock, ECONNRESET);
	} else {
		vpfront_sock_thaw_end(&leg->sock, &st);
	}
}

/* The backend has let go: take it home. */
void vpfront_leg_return(struct vpfront_pipe *pipe, struct vpfront_leg *leg)
{
	if (leg->sock.socket)
		leg_return_socket(pipe, leg);
	vpfront_command_simple(pipe, leg, XEN_VPIPE_OP_RELEASE);
	leg_drop(pipe, leg);
}
