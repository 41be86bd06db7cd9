// SPDX-License-Identifier: GPL-2.0
/*
 * sock.c: takes a live TCP connection out of a socket and puts it back.
 *
 * Freeze, in order: refuse what cannot travel; say where we are with an ACK; stop
 * all timers; note the state; poison: sk_state is written (not set) to TCP_CLOSE,
 * which makes the receive path and the deferred send handlers leave the socket
 * alone, so that a frame that comes late changes nothing; point the callers to
 * guard.c.  The send queue stays in the socket until the connection is back, for
 * the case that the backend does not take it.
 *
 * Of a source the bytes that were received and not read go along as well; they too
 * stay here until the connection is back.
 *
 * Thaw: the send queue has been acknowledged while away and is dropped; sequence
 * numbers that judge "before" and "after" are all set anew, because the connection
 * may have moved by more than 2 GiB; bytes that arrived and were not read are
 * appended to the receive queue; FIN and RST are delivered as TCP would.
 */
#include <linux/inetdevice.h>
#include <linux/netdevice.h>
#include <net/dst.h>
#include <net/inet_sock.h>
#include <net/mptcp.h>
#include <net/neighbour.h>
#include <net/route.h>
#include <net/tcp.h>

#include "vpfront.h"
#include <vpipe/tcp_carry.h>

/* The vif behind a network device: its handle, from "device/vif/0". */
static int sock_vif(struct net_device *dev, u16 *handle)
{
	struct device *parent = dev->dev.parent;
	struct xenbus_device *xbdev;

	if (!parent || !parent->bus || strcmp(parent->bus->name, "xen"))
		return -ENODEV;
	xbdev = to_xenbus_device(parent);
	if (strcmp(xbdev->devicetype, "vif") ||
	    sscanf(xbdev->nodename, "device/vif/%hu", handle) != 1)
		return -ENODEV;
	return 0;
}

/* By which vif, and to which MAC address, the socket's frames leave. */
static int sock_route(struct sock *sk, struct xen_vpipe_tcp_state *st)
{
	struct inet_sock *inet = inet_sk(sk);
	struct net_device *owner;
	struct neighbour *neigh;
	struct dst_entry *dst;
	int ret = VPIPE_REASON_ROUTE;

	if (inet_sk_rebuild_header(sk))		/* a fresh route, if the old one is stale */
		return ret;
	dst = __sk_dst_get(sk);
	if (!dst || sock_vif(dst->dev, &st->vif))
		return ret;

	/* An address of another interface is rewritten on its way (masquerade). */
	rcu_read_lock();
	owner = __ip_dev_find(sock_net(sk), inet->inet_saddr, false);
	rcu_read_unlock();
	if (owner != dst->dev)
		return ret;

	neigh = dst_neigh_lookup(dst, &inet->inet_daddr);
	if (!neigh)
		return ret;
	if (READ_ONCE(neigh->nud_state) & NUD_VALID) {
		neigh_ha_snapshot((char *)st->nexthop, neigh, dst->dev);
		ret = 0;
	}
	neigh_release(neigh);
	return ret;
}

/* 0, or the enum vpipe_reason why it must stay.  Socket locked. */
static int sock_refuse(struct socket *socket)
{
	struct sock *sk = socket->sk;
	struct tcp_sock *tp = tcp_sk(sk);

	if (sk->sk_state != TCP_ESTABLISHED && sk->sk_state != TCP_CLOSE_WAIT)
		return VPIPE_REASON_SOCKET_STATE;
	if (inet_csk(sk)->icsk_ulp_ops || !vpfront_guard_stands(socket) || sk_is_mptcp(sk) ||
	    READ_ONCE(sk->sk_user_data) || rcu_access_pointer(inet_sk(sk)->inet_opt))
		return VPIPE_REASON_SOCKET_TYPE;
#ifdef CONFIG_TCP_MD5SIG
	if (rcu_access_pointer(tp->md5sig_info))
		return VPIPE_REASON_SOCKET_TYPE;
#endif
#ifdef CONFIG_TCP_AO
	if (rcu_access_pointer(tp->ao_info))
		return VPIPE_REASON_SOCKET_TYPE;
#endif
	if (tp->repair || tp->urg_data || tp->fastopen_req || sk->sk_err ||
	    rcu_access_pointer(tp->fastopen_rsk) || (sk->sk_shutdown & SEND_SHUTDOWN))
		return VPIPE_REASON_SOCKET_STATE;
	/* Somebody is in the middle of a send, or waits for the lock to do so. */
	if (sk->sk_write_pending || waitqueue_active(&sk->sk_lock.wq))
		return VPIPE_REASON_BUSY;
	/* Pages of MSG_ZEROCOPY belong to a program that waits for its completion. */
	if (sock_flag(sk, SOCK_ZEROCOPY) && atomic_read(&sk->sk_zckey))
		return VPIPE_REASON_SOCKET_STATE;
	return 0;
}

/* Whoever sleeps in the socket, or polls it, should look again. */
static void sock_wake(struct sock *sk)
{
	sk->sk_state_change(sk);
	sk->sk_data_ready(sk);
	sk->sk_write_space(sk);
}

/* 0, or an enum vpipe_reason; then the socket is as it was.  May sleep. */
int vpfront_sock_freeze(struct vpfront_sock *vs)
{
	struct xen_vpipe_tcp_state *st = &vs->state;
	struct sock *sk = vs->socket->sk;
	int ret;

	memset(st, 0, sizeof(*st));
	lock_sock(sk);
	if (!vpfront_guard_set(vs->socket)) {
		vs->in_use = vpfront_guard_stands(vs->socket);
		release_sock(sk);
		return vs->in_use ? VPIPE_REASON_BUSY : VPIPE_REASON_SOCKET_TYPE;
	}
	/*
	 * Whoever has read the old ops comes for the lock now: let them finish on the
	 * live socket, also the frames in the backlog, before it turns into a shell.
	 */
	release_sock(sk);
	cond_resched();
	lock_sock(sk);
	ret = sock_refuse(vs->socket) ?: sock_route(sk, st);
	if (!ret && vs->source &&
	    tcp_sk(sk)->rcv_nxt - tcp_sk(sk)->copied_seq > XEN_VPIPE_MAX_UNREAD)
		ret = VPIPE_REASON_BUSY;
	if (ret) {
		vpfront_guard_clear(vs->socket);
		sock_wake(sk);
		goto out;
	}

	vpipe_tcp_ack_now(sk);
	vpipe_tcp_stop_timers(sk);
	vs->tcp_state = sk->sk_state;
	vpipe_tcp_snapshot(sk, st);
	vs->unread = st->rcv_nxt - tcp_sk(sk)->copied_seq;
	st->state = XEN_VPIPE_TCP_ESTABLISHED;
	if (sk->sk_state == TCP_CLOSE_WAIT) {
		st->state = XEN_VPIPE_TCP_CLOSE_WAIT;
		st->rcv_nxt--;			/* the FIN is not data */
		if (vs->unread)
			vs->unread--;
		if (after(st->rcv_wup, st->rcv_nxt))
			st->rcv_wup = st->rcv_nxt;
	}
	st->family = 4;
	st->local_port = (__force u16)inet_sk(sk)->inet_sport;
	st->peer_port = (__force u16)inet_sk(sk)->inet_dport;
	memcpy(st->local_addr, &inet_sk(sk)->inet_saddr, 4);
	memcpy(st->peer_addr, &inet_sk(sk)->inet_daddr, 4);
	WRITE_ONCE(sk->sk_state, TCP_CLOSE);
	vs->frozen = true;
out:
	release_sock(sk);
	return ret;
}

/* Part of one send queue buffer that lies in the wanted range; moves the range. */
static void sock_copy_skb(struct sk_buff *skb, u32 skip, u32 *offset, u8 **to, u32 *len)
{
	u32 have, n;

	if (skip >= skb->len)
		return;
	have = skb->len - skip;
	if (*offset >= have) {
		*offset -= have;
		return;
	}
	n = min(have - *offset, *len);
	skb_copy_bits(skb, skip + *offset, *to, n);
	*to += n;
	*len -= n;
	*offset = 0;
}

/* Bytes [offset, offset + len) of a frozen socket's send queue, from snd_una on. */
u32 vpfront_sock_copy_queue(struct vpfront_sock *vs, u32 offset, void *to, u32 len)
{
	struct sock *sk = vs->socket->sk;
	u32 una = vs->state.snd_una, left = len;
	struct sk_buff *skb;
	u8 *at = to;

	lock_sock(sk);
	skb_rbtree_walk(skb, &sk->tcp_rtx_queue) {
		u32 seq = TCP_SKB_CB(skb)->seq;

		if (!left)
			break;
		sock_copy_skb(skb, before(seq, una) ? una - seq : 0, &offset, &at, &left);
	}
	skb_queue_walk(&sk->sk_write_queue, skb) {
		if (!left)
			break;
		sock_copy_skb(skb, 0, &offset, &at, &left);
	}
	release_sock(sk);
	return len - left;
}

/* Bytes [offset, offset + len) of what a frozen socket has received and not read. */
u32 vpfront_sock_copy_unread(struct vpfront_sock *vs, u32 offset, void *to, u32 len)
{
	struct sock *sk = vs->socket->sk;
	u32 seq = tcp_sk(sk)->copied_seq, left = len, skip;
	struct sk_buff *skb;
	u8 *at = to;

	lock_sock(sk);
	skb_queue_walk(&sk->sk_receive_queue, skb) {
		if (!left)
			break;
		/* A buffer may begin with bytes that the one before it had too. */
		skip = seq - TCP_SKB_CB(skb)->seq;
		if (skip >= skb->len)
			continue;
		seq += skb->len - skip;
		sock_copy_skb(skb, skip, &offset, &at, &left);
	}
	release_sock(sk);
	return len - left;
}

/* The backend did not take it: go on as if nothing had happened. */
void vpfront_sock_unfreeze(struct vpfront_sock *vs)
{
	struct sock *sk = vs->socket->sk;
	struct tcp_sock *tp = tcp_sk(sk);

	lock_sock(sk);
	WRITE_ONCE(sk->sk_state, vs->tcp_state);
	vpfront_guard_clear(vs->socket);
	vpipe_tcp_ack_now(sk);
	if (tp->packets_out || tcp_send_head(sk))
		inet_csk_reset_xmit_timer(sk, tp->packets_out ? ICSK_TIME_RETRANS :
								ICSK_TIME_PROBE0,
					  inet_csk(sk)->icsk_rto, TCP_RTO_MAX);
	if (sock_flag(sk, SOCK_KEEPOPEN))
		inet_csk_reset_keepalive_timer(sk, keepalive_time_when(tp));
	sock_wake(sk);
	release_sock(sk);
	vs->frozen = false;
}

static void sock_purge_send_queue(struct sock *sk)
{
	struct tcp_sock *tp = tcp_sk(sk);
	struct sk_buff *skb;
	struct rb_node *node;

	while ((skb = __skb_dequeue(&sk->sk_write_queue))) {
		tcp_skb_tsorted_anchor_cleanup(skb);
		tcp_wmem_free_skb(sk, skb);
	}
	while ((node = rb_first(&sk->tcp_rtx_queue)))
		tcp_rtx_queue_unlink_and_free(rb_to_skb(node), sk);
	tp->highest_sack = NULL;
	INIT_LIST_HEAD(&tp->tsorted_sent_queue);
	tcp_clear_all_retrans_hints(tp);
	tp->packets_out = 0;
	tp->sacked_out = 0;
	tp->lost_out = 0;
	tp->retrans_out = 0;
}

/* Segments beyond a gap were not acknowledged as a whole: the peer sends them again. */
static void sock_purge_out_of_order(struct sock *sk)
{
	struct tcp_sock *tp = tcp_sk(sk);
	struct rb_node *node;

	while ((node = rb_first(&tp->out_of_order_queue))) {
		struct sk_buff *skb = rb_to_skb(node);

		rb_erase(node, &tp->out_of_order_queue);
		kfree_skb(skb);
	}
	tp->ooo_last_skb = NULL;
}

/* What was unread has been moved, or comes back, or is lost: the next byte is `seq`. */
static void sock_drop_unread(struct sock *sk, u32 seq)
{
	struct tcp_sock *tp = tcp_sk(sk);

	__skb_queue_purge(&sk->sk_receive_queue);
	WRITE_ONCE(tp->rcv_nxt, seq);
	WRITE_ONCE(tp->copied_seq, seq);
}

/*
 * The connection comes back: everything but the receive queue.  From here to
 * thaw_end only thaw_data may follow; the socket still takes no frames.
 */
void vpfront_sock_thaw_begin(struct vpfront_sock *vs, const struct xen_vpipe_tcp_state *st)
{
	struct sock *sk = vs->socket->sk;
	struct inet_connection_sock *icsk = inet_csk(sk);
	struct tcp_sock *tp = tcp_sk(sk);
	u32 snd = st->write_seq;

	lock_sock(sk);
	sock_purge_send_queue(sk);
	sock_purge_out_of_order(sk);
	if (vs->source)
		sock_drop_unread(sk, st->rcv_nxt - st->unread);

	tp->snd_una = snd;
	tp->snd_sml = snd;
	tp->snd_up = snd;
	tp->pushed_seq = snd;
	tp->rtt_seq = snd;
	tp->cwnd_usage_seq = snd;
	tp->high_seq = snd;
	tp->rack.end_seq = snd;
	WRITE_ONCE(tp->snd_nxt, snd);
	WRITE_ONCE(tp->write_seq, snd);
	tp->rack.mstamp = 0;
	tp->tlp_high_seq = 0;
	tp->undo_marker = 0;
	tp->retrans_stamp = 0;
	tp->prior_ssthresh = 0;
	icsk->icsk_ca_state = TCP_CA_Open;
	icsk->icsk_backoff = 0;
	icsk->icsk_retransmits = 0;
	icsk->icsk_probes_out = 0;

	tp->snd_wl1 = st->snd_wl1;
	tp->snd_wnd = st->snd_wnd;
	tp->max_window = st->max_window;
	tp->rx_opt.num_sacks = 0;
	tp->rx_opt.dsack = 0;
	tp->pred_flags = 0;
	vpipe_tcp_apply(sk, st);
	release_sock(sk);
}

/* Bytes the peer sent meanwhile, in order: to the end of the receive queue. */
int vpfront_sock_thaw_data(struct vpfront_sock *vs, const void *data, u32 len)
{
	struct sock *sk = vs->socket->sk;
	struct tcp_sock *tp = tcp_sk(sk);
	int rcvbuf, ret;

	lock_sock(sk);
	rcvbuf = sk->sk_rcvbuf;
	WRITE_ONCE(sk->sk_rcvbuf, INT_MAX / 2);	/* the window allowed them */
	WRITE_ONCE(sk->sk_state, vs->tcp_state);
	tp->repair = 1;
	tp->repair_queue = TCP_RECV_QUEUE;
	ret = vpipe_tcp_append(sk, data, len);
	tp->repair_queue = TCP_NO_QUEUE;
	tp->repair = 0;
	WRITE_ONCE(sk->sk_state, TCP_CLOSE);
	WRITE_ONCE(sk->sk_rcvbuf, rcvbuf);
	release_sock(sk);
	return ret;
}

static void sock_fin_received(struct sock *sk)
{
	struct tcp_sock *tp = tcp_sk(sk);

	WRITE_ONCE(tp->rcv_nxt, tp->rcv_nxt + 1);
	WRITE_ONCE(sk->sk_shutdown, sk->sk_shutdown | RCV_SHUTDOWN);
	sock_set_flag(sk, SOCK_DONE);
	tcp_set_state(sk, TCP_CLOSE_WAIT);
}

/* All data is there: live again. */
void vpfront_sock_thaw_end(struct vpfront_sock *vs, const struct xen_vpipe_tcp_state *st)
{
	struct sock *sk = vs->socket->sk;
	struct tcp_sock *tp = tcp_sk(sk);

	lock_sock(sk);
	WRITE_ONCE(sk->sk_state, vs->tcp_state);
	vpfront_guard_clear(vs->socket);
	vs->frozen = false;

	tp->rcv_wnd = st->rcv_wnd;
	tp->rcv_wup = st->rcv_wup;
	tp->rcv_ssthresh = max(tp->rcv_ssthresh, min(st->rcv_wnd, tp->window_clamp));
	tp->rcv_rtt_est.seq = tp->rcv_nxt;
	tp->rcv_rtt_est.time = 0;
	tp->rcvq_space.seq = tp->copied_seq;
	tp->compressed_ack_rcv_nxt = tp->rcv_nxt;

	if (st->state == XEN_VPIPE_TCP_CLOSED) {
		WRITE_ONCE(sk->sk_err, st->error ?: ECONNRESET);
		tcp_done(sk);
		sk_error_report(sk);
	} else {
		if (st->state == XEN_VPIPE_TCP_CLOSE_WAIT && sk->sk_state == TCP_ESTABLISHED)
			sock_fin_received(sk);
		else if (vs->source && sk->sk_state == TCP_CLOSE_WAIT)
			WRITE_ONCE(tp->rcv_nxt, tp->rcv_nxt + 1);
		vpipe_tcp_ack_now(sk);
		if (sock_flag(sk, SOCK_KEEPOPEN))
			inet_csk_reset_keepalive_timer(sk, keepalive_time_when(tp));
	}
	sock_wake(sk);
	release_sock(sk);
}

/* The connection's state is lost with the backend: the program must be told. */
void vpfront_sock_abort(struct vpfront_sock *vs, int error)
{
	struct sock *sk = vs->socket->sk;

	lock_sock(sk);
	sock_purge_send_queue(sk);
	if (vs->source)		/* how much of it has been moved is not known */
		sock_drop_unread(sk, tcp_sk(sk)->rcv_nxt);
	WRITE_ONCE(sk->sk_state, vs->tcp_state);
	vpfront_guard_clear(vs->socket);
	vs->frozen = false;
	WRITE_ONCE(sk->sk_err, error);
	tcp_done(sk);
	sk_error_report(sk);
	sock_wake(sk);
	release_sock(sk);
}
