// SPDX-License-Identifier: GPL-2.0
/*
 * flow.c: a connection that is away, from its freeze to its return; or, without a
 * connection, the context of a copy.
 *
 *   BUSY        an operation's
 *   IDLE        nobody's, but still with the backend: the next operation of its socket
 *               finds it there, and what has been queued goes on to be sent
 *   RETURNING   on its way home: somebody has touched the socket, the peer has sent
 *               something that is waited for, an operation has failed, nothing has
 *               happened for a while, or the backend wants to go
 *   HOME
 *
 * Whatever happens, a connection that has left comes home, or is reset when its state
 * is lost with the backend.
 */
#include <linux/hashtable.h>
#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/net.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <net/sock.h>

#include "trace.h"

static unsigned int idle_ms = 5000;
module_param(idle_ms, uint, 0644);
MODULE_PARM_DESC(idle_ms, "how long a connection stays with the driver domain for a next operation, milliseconds (default 5000)");

/*
 * A socket that was closed comes home when its peer has acknowledged all and the FIN, which
 * the driver domain sends at once, so that nothing need be copied; or after so many
 * milliseconds, and the kernel does the rest as for any.
 */
#define CLOSE_SETTLE_MS		2000

#define FLOWS_HASH_BITS		8

/* Serialises the table, and the state and `wanted` of the flows. */
static DEFINE_SPINLOCK(flows_lock);
static DEFINE_HASHTABLE(flows_by_sock, FLOWS_HASH_BITS);
static DECLARE_WAIT_QUEUE_HEAD(flows_wait);	/* for flows to be home */

/* Not freezable: before a suspend the flows have to come home. */
static struct workqueue_struct *flow_wq;

static void flow_release(struct kref *ref)
{
	struct vpfront_flow *flow = container_of(ref, struct vpfront_flow, ref);

	kfree_rcu(flow, rcu);
}

void vpfront_flow_put(struct vpfront_flow *flow)
{
	kref_put(&flow->ref, flow_release);
}

/* Something happened: have a look.  Any context. */
void vpfront_flow_kick(struct vpfront_flow *flow)
{
	kref_get(&flow->ref);
	if (!queue_work(flow_wq, &flow->work))
		vpfront_flow_put(flow);
}

/* Some work of a flow's, when a grace period has passed from now on. */
void vpfront_flow_queue_rcu(struct rcu_work *work)
{
	queue_rcu_work(flow_wq, work);
}

/* A frame of the connection has come by a vif that is not the one by which it leaves. */
void vpfront_flow_astray(struct vpfront_sock *vs)
{
	struct vpfront_flow *flow = container_of(vs, struct vpfront_flow, sock);

	WRITE_ONCE(flow->look, true);
	vpfront_flow_kick(flow);
}

static void flow_idle_timer(struct timer_list *timer)
{
	vpfront_flow_kick(container_of(timer, struct vpfront_flow, idle_timer));
}

/* Under flows_lock. */
static struct vpfront_flow *flow_find(const struct sock *sk)
{
	struct vpfront_flow *flow;

	hash_for_each_possible(flows_by_sock, flow, node, (unsigned long)sk)
		if (flow->sock.sk == sk)
			return flow;
	return NULL;
}

/* --- home ------------------------------------------------------------------------ */

/* The backend has nothing of it any more; the last that is done to a flow. */
static void flow_home(struct vpfront_flow *flow)
{
	struct vpfront_device *dev = flow->dev;
	struct socket *closing = flow->sock.carrier;
	struct vpfront_pipe *pipe;

	vpfront_command_collect(flow);
	pipe = vpfront_ring_flow_put(flow->queue, flow);
	if (flow->away)
		trace_vpfront_hand_over(flow, true);
	timer_shutdown_sync(&flow->idle_timer);
	spin_lock(&flows_lock);
	flow->state = VPFRONT_FLOW_HOME;
	if (flow->sock.sk)
		hash_del(&flow->node);
	spin_unlock(&flows_lock);
	wake_up_all(&flows_wait);
	if (pipe) {
		vpfront_pipe_kick(pipe);
		vpfront_pipe_put(pipe);
	}
	if (closing)
		sock_release(closing);
	vpfront_flow_put(flow);		/* the life's reference */
	vpfront_xenbus_put(dev);
}

/* The backend is gone or has broken the protocol, and with it the connection. */
static void flow_lost(struct vpfront_flow *flow)
{
	if (!READ_ONCE(flow->dev->broken))
		vpfront_command_simple(flow, XEN_VPIPE_OP_RELEASE);
	vpfront_command_collect(flow);
	if (flow->sock.frozen)
		vpfront_sock_abort(&flow->sock, ECONNRESET);
	flow_home(flow);
}

/* The backend has let go: take it home. */
static void flow_return(struct vpfront_flow *flow)
{
	struct xen_vpipe_tcp_state st = {};
	u32 offset = 0, bytes = 0, total = 0;
	int ret;

	do {
		ret = vpfront_command_return(flow, offset, &st, &bytes);
		if (ret)
			break;
		offset += bytes;
		total = st.unread + st.write_seq - st.snd_una;
	} while (offset < total && bytes);
	if (!ret && offset < total)
		ret = -EPROTO;
	if (ret) {
		pr_err_ratelimited("vpipe-front: a connection did not come back: %d\n", ret);
		flow->lost = true;
		vpfront_sock_abort(&flow->sock, ECONNRESET);
	} else {
		vpfront_sock_thaw_end(&flow->sock, &st, flow->fin_sent && !st.unread);
	}
	vpfront_command_simple(flow, XEN_VPIPE_OP_RELEASE);
	flow_home(flow);
}

/* Will it be closed by a FIN when it is home?  Not if the program wants, or gets, a RST. */
static bool flow_finishes(struct vpfront_flow *flow)
{
	struct sock *sk = flow->sock.sk;

	return READ_ONCE(flow->sock.carrier) &&
	       !(sock_flag(sk, SOCK_LINGER) && !sk->sk_lingertime) &&
	       vpfront_sock_all_read(&flow->sock, flow->taken);
}

/* A socket that nobody has any more may wait for its peer, unless somebody waits for us. */
static u32 flow_settle_ms(struct vpfront_flow *flow)
{
	return flow_finishes(flow) && !READ_ONCE(flow->wanted) &&
	       !READ_ONCE(flow->dev->closing) ? CLOSE_SETTLE_MS : 0;
}

static void flow_advance(struct vpfront_flow *flow)
{
	u32 settle = flow_settle_ms(flow);
	int ret = 0;

	if (READ_ONCE(flow->dev->broken)) {
		flow_lost(flow);
		return;
	}
	if (!smp_load_acquire(&flow->detached) &&	/* before what RETURN tells */
	    (!flow->detach_sent || flow->settle_sent != settle)) {
		flow->detach_sent = true;
		flow->settle_sent = settle;
		/* With no time for its acknowledgement it would only be sent twice. */
		flow->fin_sent = flow->fin_sent || settle;
		ret = vpfront_command_simple(flow, XEN_VPIPE_OP_DETACH);
	}
	vpfront_command_collect(flow);
	if (ret || READ_ONCE(flow->dev->broken))
		flow_lost(flow);
	else if (smp_load_acquire(&flow->detached))	/* likewise */
		flow_return(flow);
}

/* Has an idle flow a reason to come home?  Under flows_lock. */
static bool flow_must_go(struct vpfront_flow *flow)
{
	return flow->wanted || READ_ONCE(flow->sock.carrier) || READ_ONCE(flow->dev->closing) ||
	       READ_ONCE(flow->dev->broken) || READ_ONCE(flow->rerouted) ||
	       time_after_eq(jiffies, flow->idle_until) ||
	       (READ_ONCE(flow->input) && vpfront_sock_awaited(&flow->sock));
}

/* Another next hop, another route or none: the guest's kernel knows what to do, dom0 does not. */
static void flow_look(struct vpfront_flow *flow)
{
	struct sock *sk = NULL;

	spin_lock(&flows_lock);
	if (flow->state == VPFRONT_FLOW_BUSY || flow->state == VPFRONT_FLOW_IDLE) {
		/* An operation may be about to end, and to let go of both. */
		sk = flow->sock.sk;
		sock_hold(sk);
		vpfront_xenbus_hold(flow->dev);
	}
	spin_unlock(&flows_lock);
	if (!sk)
		return;
	if (!flow->rerouted && vpfront_route_changed(&flow->sock)) {
		WRITE_ONCE(flow->rerouted, true);
		vpfront_ring_kick_pipe(flow->queue, flow);
	}
	sock_put(sk);
	vpfront_xenbus_put(flow->dev);
}

static void flow_work(struct work_struct *work)
{
	struct vpfront_flow *flow = container_of(work, struct vpfront_flow, work);
	bool returning;

	if (xchg(&flow->look, false))
		flow_look(flow);
	spin_lock(&flows_lock);
	if (flow->state == VPFRONT_FLOW_IDLE && flow_must_go(flow))
		flow->state = VPFRONT_FLOW_RETURNING;
	returning = flow->state == VPFRONT_FLOW_RETURNING;
	spin_unlock(&flows_lock);
	if (returning)
		flow_advance(flow);
	vpfront_flow_put(flow);
}

/* Each connection that is away shall see whether its way has changed.  False: there is none. */
bool vpfront_flow_look_all(void)
{
	struct vpfront_flow *flow;
	bool any = false;
	int bucket;

	spin_lock(&flows_lock);
	hash_for_each(flows_by_sock, bucket, flow, node) {
		any = true;
		WRITE_ONCE(flow->look, true);
		vpfront_flow_kick(flow);
	}
	spin_unlock(&flows_lock);
	return any;
}

/* From the event handler, under the queue's lock, in interrupt context. */
void vpfront_flow_event(struct vpfront_flow *flow, const struct xen_vpipe_event *evt)
{
	switch (evt->type) {
	case XEN_VPIPE_EVT_DETACHED:
		smp_store_release(&flow->detached, true);	/* RETURN tells the rest */
		vpfront_flow_kick(flow);
		break;
	case XEN_VPIPE_EVT_INPUT:
		WRITE_ONCE(flow->input, true);
		smp_mb();	/* input before the state: _give_back does it the other way round */
		if (READ_ONCE(flow->state) != VPFRONT_FLOW_BUSY)
			vpfront_flow_kick(flow);
		break;
	case XEN_VPIPE_EVT_TRANSFER_DONE:
		if (flow->pipe)
			vpfront_pipe_event(flow->pipe, evt);
		break;
	}
}

/* Is any of the device's with the backend that no operation has?  `want`: they shall come home. */
static bool flow_any_idle(struct vpfront_device *dev, bool want)
{
	struct vpfront_flow *flow;
	bool any = false;
	int bucket;

	spin_lock(&flows_lock);
	hash_for_each(flows_by_sock, bucket, flow, node) {
		if (flow->dev != dev || flow->state == VPFRONT_FLOW_BUSY)
			continue;
		any = true;
		if (want) {
			flow->wanted = true;
			vpfront_flow_kick(flow);
		}
	}
	spin_unlock(&flows_lock);
	return any;
}

/* --- for operations ------------------------------------------------------------------ */

static struct vpfront_flow *flow_create(struct vpfront_pipe *pipe, struct socket *socket,
					bool source)
{
	struct vpfront_flow *flow = kzalloc(sizeof(*flow), GFP_KERNEL_ACCOUNT);

	if (!flow)
		return NULL;
	kref_init(&flow->ref);
	INIT_WORK(&flow->work, flow_work);
	INIT_LIST_HEAD(&flow->calls);
	timer_setup(&flow->idle_timer, flow_idle_timer, 0);
	flow->dev = pipe->dev;
	flow->queue = pipe->queue;
	flow->state = VPFRONT_FLOW_BUSY;
	if (socket)
		vpfront_sock_init(&flow->sock, socket, source);
	if (vpfront_ring_flow_get(flow->queue, flow, pipe, &flow->id)) {
		flow_any_idle(flow->dev, true);		/* make room for the next */
		kfree(flow);
		return NULL;
	}
	vpfront_xenbus_hold(flow->dev);
	return flow;
}

/* May an operation have the idle flow as it is?  Under flows_lock. */
static bool flow_suits(struct vpfront_flow *flow, struct vpfront_pipe *pipe, bool source)
{
	/* What the guest has received and not read would have to go along. */
	return flow->dev == pipe->dev && !flow_must_go(flow) && !flow->cancel_sent &&
	       (!pipe->nr_flows || flow->queue == pipe->queue) &&
	       (!source || flow->sock.source || !flow->sock.unread);
}

static bool flow_is_home(const struct sock *sk)
{
	bool home;

	spin_lock(&flows_lock);
	home = !flow_find(sk);
	spin_unlock(&flows_lock);
	return home;
}

/*
 * The idle flow of the socket, or the fresh one in its place.  0, or an enum vpipe_reason;
 * -ENOENT: there is neither, -EAGAIN: wait until the one that there is has come home.
 */
static int flow_claim(struct vpfront_pipe *pipe, struct sock *sk, bool source,
		      struct vpfront_flow *fresh, struct vpfront_flow **flow)
{
	int ret = 0;

	spin_lock(&flows_lock);
	*flow = flow_find(sk);
	if (!*flow && fresh) {
		*flow = fresh;
		hash_add(flows_by_sock, &fresh->node, (unsigned long)sk);
		vpfront_watch_begin();
	} else if (!*flow) {
		ret = -ENOENT;
	} else if ((*flow)->state == VPFRONT_FLOW_BUSY) {
		pipe->in_use = true;
		ret = VPIPE_REASON_BUSY;
	} else if ((*flow)->state == VPFRONT_FLOW_IDLE && flow_suits(*flow, pipe, source)) {
		(*flow)->state = VPFRONT_FLOW_BUSY;
	} else {
		(*flow)->wanted = true;
		vpfront_flow_kick(*flow);
		ret = -EAGAIN;
	}
	spin_unlock(&flows_lock);
	return ret;
}

/* The operation has the flow from here on. */
static void flow_take(struct vpfront_pipe *pipe, struct vpfront_flow *flow, bool source)
{
	if (flow->away) {
		timer_delete(&flow->idle_timer);
		WRITE_ONCE(flow->input, false);
		vpfront_ring_flow_bind(flow->queue, flow, pipe);
		flow->sock.source = flow->sock.source || source;
	}
	kref_get(&flow->ref);		/* the operation's */
	pipe->queue = flow->queue;
	pipe->flow[pipe->nr_flows++] = flow;
}

/* The flow of a sink for an operation, only if it is with the backend already and idle. */
bool vpfront_flow_get_kept(struct vpfront_pipe *pipe, struct socket *socket)
{
	struct vpfront_flow *flow;

	spin_lock(&flows_lock);
	flow = flow_find(socket->sk);
	if (flow && (flow->state != VPFRONT_FLOW_IDLE || !flow_suits(flow, pipe, false)))
		flow = NULL;
	if (flow)
		flow->state = VPFRONT_FLOW_BUSY;
	spin_unlock(&flows_lock);
	if (flow)
		flow_take(pipe, flow, false);
	return flow;
}

/*
 * The flow of a socket, or (NULL) of none, for an operation: one that is with the backend
 * already, or a new one, that is still here.  0, or an enum vpipe_reason.  Waits for one
 * that is on its way home, which takes no longer than the backend takes to answer.
 */
int vpfront_flow_get(struct vpfront_pipe *pipe, struct socket *socket, bool source)
{
	struct vpfront_flow *flow = NULL, *fresh = NULL;
	int ret = socket ? 0 : -ENOENT;

	do {
		if (ret == -ENOENT) {
			fresh = flow_create(pipe, socket, source);
			if (!fresh)
				return VPIPE_REASON_BUSY;
			flow = fresh;
		} else if (ret == -EAGAIN) {
			wait_event(flows_wait, flow_is_home(socket->sk));
		}
		ret = socket ? flow_claim(pipe, socket->sk, source, fresh, &flow) : 0;
	} while (ret < 0);
	if (fresh && (ret || flow != fresh)) {
		vpfront_pipe_put(vpfront_ring_flow_put(fresh->queue, fresh));
		vpfront_xenbus_put(fresh->dev);
		vpfront_flow_put(fresh);
	}
	if (ret)
		return ret;
	flow_take(pipe, flow, source);
	return 0;
}

/* 0, or the enum vpipe_reason why it cannot go; then nothing has happened. */
int vpfront_flow_freeze(struct vpfront_flow *flow)
{
	return flow->sock.sk && !flow->away ? vpfront_sock_freeze(&flow->sock) : 0;
}

/* Hand it over, unless that was done before. */
int vpfront_flow_attach(struct vpfront_flow *flow)
{
	int ret;

	if (flow->away)
		return 0;
	ret = vpfront_command_attach(flow);
	if (!ret && flow->sock.sk)
		ret = vpfront_command_queue(flow, XEN_VPIPE_OP_QUEUE);
	if (!ret && flow->sock.source)
		ret = vpfront_command_queue(flow, XEN_VPIPE_OP_UNREAD);
	return ret;
}

/* The backend did not take it: nothing has happened. */
void vpfront_flow_unfreeze(struct vpfront_flow *flow)
{
	if (flow->sock.frozen)
		vpfront_sock_unfreeze(&flow->sock);
	flow_home(flow);
}

/* It could be given to the backend, or could not: an enum vpipe_reason. */
int vpfront_flow_judge(struct vpfront_flow *flow)
{
	if (flow->away)
		return 0;
	/* Whatever is not known to have been refused may have been done. */
	if (flow->attach_status && flow->attach_status != -EIO) {
		if (flow->attach_status == -ENOSPC)
			flow_any_idle(flow->dev, true);		/* make room for the next */
		vpfront_flow_unfreeze(flow);
		return flow->attach_status == -ENOSPC ? VPIPE_REASON_BUSY : VPIPE_REASON_REFUSED;
	}
	if (flow->queue_status == -ENOMEM) {
		/* There is a shadow that did not become live. */
		vpfront_strays_stay(&flow->sock);
		vpfront_command_simple(flow, XEN_VPIPE_OP_RELEASE);
		vpfront_command_collect(flow);
		vpfront_flow_unfreeze(flow);
		return VPIPE_REASON_BUSY;
	}
	flow->away = true;
	trace_vpfront_hand_over(flow, false);
	if (flow->attach_status || flow->queue_status || flow->unread_status == -EIO) {
		vpfront_flow_lost(flow);
		return 0;
	}
	if (flow->sock.sk)
		vpfront_sock_left(&flow->sock);
	if (!flow->unread_status)
		return 0;
	/* It can move nothing; what it took comes back, and is still here. */
	flow->sock.source = false;
	flow->unread_kept = flow->unread_sent;
	return VPIPE_REASON_BUSY;
}

/* What is being moved ends. */
int vpfront_flow_cancel(struct vpfront_flow *flow)
{
	if (flow->cancel_sent)
		return 0;
	flow->cancel_sent = true;
	return vpfront_command_simple(flow, XEN_VPIPE_OP_CANCEL);
}

/* The operation's, which is told when it has happened. */
void vpfront_flow_lost(struct vpfront_flow *flow)
{
	if (flow->sock.sk && !flow->pipe->error)
		flow->pipe->error = -ECONNRESET;
	flow_lost(flow);
}

/*
 * The operation has ended, and has moved so much into the socket and out of it.  `stay`:
 * the flow may be used again, and the operation has nothing more to do with it.  If
 * not, it comes home, and the operation is kicked then.
 */
void vpfront_flow_give_back(struct vpfront_flow *flow, u32 sent, u32 taken, bool stay)
{
	struct vpfront_pipe *pipe = NULL;
	bool home = !flow->sock.sk;

	flow->sent += sent;
	flow->taken += taken;
	if (home) {
		vpfront_command_simple(flow, XEN_VPIPE_OP_RELEASE);
		flow_home(flow);
		return;
	}
	if (stay)
		pipe = vpfront_ring_flow_bind(flow->queue, flow, NULL);
	spin_lock(&flows_lock);
	flow->idle_until = jiffies + msecs_to_jiffies(READ_ONCE(idle_ms));
	WRITE_ONCE(flow->state, !stay || vpfront_sock_awaits_room(&flow->sock) ?
				VPFRONT_FLOW_RETURNING : VPFRONT_FLOW_IDLE);
	smp_mb();	/* the state before the input: _event does it the other way round */
	if (flow->state == VPFRONT_FLOW_RETURNING || flow_must_go(flow))
		vpfront_flow_kick(flow);
	else
		mod_timer(&flow->idle_timer, flow->idle_until + 1);
	spin_unlock(&flows_lock);
	if (pipe)
		vpfront_pipe_put(pipe);
}

/* --- for those who use the socket ------------------------------------------------------ */

/*
 * Somebody wants the socket.  True: it is on its way home, or is there; false: an
 * operation has it, and it comes home after that.
 */
bool vpfront_flow_want(struct sock *sk)
{
	struct vpfront_flow *flow;
	bool soon = true;

	spin_lock(&flows_lock);
	flow = flow_find(sk);
	if (flow) {
		soon = flow->state != VPFRONT_FLOW_BUSY;
		flow->wanted = true;
		vpfront_flow_kick(flow);
	}
	spin_unlock(&flows_lock);
	return soon;
}

/*
 * The last descriptor of a socket is closed while its connection is away: another one takes
 * its place, and is closed when the connection is back.  False: it is home, or there
 * is no memory.
 */
bool vpfront_flow_close(struct socket *socket)
{
	struct vpfront_flow *flow;
	struct socket *carrier;

	if (sock_create_lite(socket->sk->sk_family, SOCK_STREAM, IPPROTO_TCP, &carrier))
		return false;
	spin_lock(&flows_lock);
	flow = flow_find(socket->sk);
	if (flow)
		kref_get(&flow->ref);
	spin_unlock(&flows_lock);
	if (flow && vpfront_sock_carry(&flow->sock, carrier)) {
		vpfront_flow_kick(flow);
		vpfront_flow_put(flow);
		return true;
	}
	if (flow)
		vpfront_flow_put(flow);
	sock_release(carrier);
	return false;
}

/* Have all come home that no operation has; wait for that as long as it may take. */
void vpfront_flow_quiesce(struct vpfront_device *dev)
{
	if (flow_any_idle(dev, true))
		wait_event_timeout(flows_wait, !flow_any_idle(dev, false), 5 * HZ);
}

int vpfront_flow_init(void)
{
	flow_wq = alloc_workqueue("vpipe-flow", WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	return flow_wq ? 0 : -ENOMEM;
}

void vpfront_flow_exit(void)
{
	rcu_barrier();		/* for _queue_rcu */
	destroy_workqueue(flow_wq);
}
