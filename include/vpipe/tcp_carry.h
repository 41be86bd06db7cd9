/* SPDX-License-Identifier: GPL-2.0 */
/*
 * tcp_carry.h: how a live TCP connection is read from, and written into, a
 * socket.  Both modules use it: the guest freezes and thaws the application's
 * socket, the driver domain its shadow.
 *
 * Order of calls, for the side that gives a connection away:
 *   vpipe_tcp_refresh_clock, __tcp_send_ack, vpipe_tcp_stop_timers,
 *   vpipe_tcp_snapshot; from there on the socket must see no frame and no caller.
 * For the side that takes it: its own way to set sequence numbers and options,
 *   then vpipe_tcp_apply.
 *
 * All of them want the socket locked (lock_sock).
 */
#ifndef _VPIPE_TCP_CARRY_H
#define _VPIPE_TCP_CARRY_H

#include <linux/delay.h>
#include <linux/tcp.h>
#include <net/tcp.h>
#include <net/inet_connection_sock.h>

/* Of IPv6, and not IPv4 by a socket of IPv6 (RFC 4291, 2.5.5.2). */
static inline bool vpipe_tcp_is_ipv6(const struct sock *sk)
{
#if IS_ENABLED(CONFIG_IPV6)
	return sk->sk_family == AF_INET6 && !ipv6_addr_v4mapped(&sk->sk_v6_daddr);
#else
	return false;
#endif
}

/* How long memory for a connection's bytes is waited for: a second. */
#define VPIPE_TCP_TRIES		50
#define VPIPE_TCP_PAUSE_MS	20

/* Is there something to be done for the connection, or is this how it has ended? */
static inline bool vpipe_tcp_lives(u16 state)
{
	return state == XEN_VPIPE_TCP_ESTABLISHED || state == XEN_VPIPE_TCP_CLOSE_WAIT ||
	       state == XEN_VPIPE_TCP_CLOSING;
}

/* Outside of receive processing the cached clock is old, and so would be TSval. */
static inline void vpipe_tcp_refresh_clock(struct tcp_sock *tp)
{
	u64 now = tcp_clock_ns();

	tp->tcp_clock_cache = now;
	tp->tcp_mstamp = div_u64(now, NSEC_PER_USEC);
}

static inline u32 vpipe_tcp_tsval(const struct tcp_sock *tp)
{
	return vpipe_compat_tcp_clock_ts(tp) + tp->tsoffset;
}

/* Nothing of this socket happens by itself any more, but for arriving frames. */
static inline void vpipe_tcp_stop_timers(struct sock *sk)
{
	struct tcp_sock *tp = tcp_sk(sk);

	inet_csk_clear_xmit_timers(sk);
	if (hrtimer_try_to_cancel(&tp->compressed_ack_timer) == 1)
		__sock_put(sk);
	if (hrtimer_try_to_cancel(&tp->pacing_timer) == 1)
		__sock_put(sk);
	tp->compressed_ack = 0;
	inet_csk(sk)->icsk_ack.pending = 0;
}

static inline u32 vpipe_tcp_age(const struct tcp_sock *tp, const struct sk_buff *skb)
{
	return min_t(u64, div_u64(tp->tcp_clock_cache - min(skb->skb_mstamp_ns,
							    tp->tcp_clock_cache),
				  NSEC_PER_USEC), U32_MAX);
}

/* How long ago the first and the last segment were sent that are not acknowledged. */
static inline void vpipe_tcp_snapshot_ages(struct sock *sk, struct xen_vpipe_tcp_state *st)
{
	struct rb_node *first = rb_first(&sk->tcp_rtx_queue);
	struct rb_node *last = rb_last(&sk->tcp_rtx_queue);

	if (!first)
		return;
	vpipe_tcp_refresh_clock(tcp_sk(sk));
	st->age_first_us = vpipe_tcp_age(tcp_sk(sk), rb_to_skb(first));
	st->age_last_us = vpipe_tcp_age(tcp_sk(sk), rb_to_skb(last));
}

/* Of the two families' headers what a program may choose.  A default TTL: as it was. */
static inline void vpipe_tcp_snapshot_header(struct sock *sk, struct xen_vpipe_tcp_state *st)
{
	int ttl = READ_ONCE(inet_sk(sk)->uc_ttl);

	st->tos = READ_ONCE(inet_sk(sk)->tos);
#if IS_ENABLED(CONFIG_IPV6)
	if (vpipe_tcp_is_ipv6(sk)) {
		ttl = inet6_sk(sk)->hop_limit;
		st->tos = inet6_sk(sk)->tclass;
	}
#endif
	if (ttl > 0)
		st->ttl = ttl;
}

#if IS_ENABLED(CONFIG_IPV6)
/* As ip6_make_flowlabel() would have it, of a socket that has leased none. */
static inline u32 vpipe_tcp_flow_label(struct sock *sk)
{
	const struct net *net = sock_net(sk);
	u8 mode = READ_ONCE(net->ipv6.sysctl.auto_flowlabels);
	u32 label;

	if (mode == IP6_AUTO_FLOW_LABEL_OFF ||
	    (!vpipe_compat_autoflowlabel(sk, mode == IP6_AUTO_FLOW_LABEL_OPTOUT) &&
	     mode != IP6_AUTO_FLOW_LABEL_FORCED))
		return 0;
	label = ntohl((__force __be32)rol32(READ_ONCE(sk->sk_txhash), 16) & IPV6_FLOWLABEL_MASK);
	if (net->ipv6.sysctl.flowlabel_state_ranges)
		label |= ntohl(IPV6_FLOWLABEL_STATELESS_FLAG);
	return label;
}
#endif

/* To the driver domain: by what its frames, and the peer's, are known as those of one flow. */
static inline void vpipe_tcp_snapshot_labels(struct sock *sk, struct xen_vpipe_tcp_state *st)
{
#if IS_ENABLED(CONFIG_IPV6)
	if (!vpipe_tcp_is_ipv6(sk))
		return;
	st->flow_label = vpipe_tcp_flow_label(sk);
	st->peer_flow_label = ntohl(inet6_sk(sk)->rcv_flowinfo & IPV6_FLOWLABEL_MASK);
#endif
}

/* And back: where the kernel keeps that of a connection's first frame. */
static inline void vpipe_tcp_keep_label(struct sock *sk, const struct xen_vpipe_tcp_state *st)
{
#if IS_ENABLED(CONFIG_IPV6)
	if (vpipe_tcp_is_ipv6(sk) && st->peer_flow_label)
		inet6_sk(sk)->rcv_flowinfo = htonl(st->peer_flow_label) & IPV6_FLOWLABEL_MASK;
#endif
}

/* The largest segment that peer and, as far as it is known, path take. */
static inline u32 vpipe_tcp_mss_clamp(struct sock *sk)
{
	u32 header = vpipe_tcp_is_ipv6(sk) ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
	struct dst_entry *dst = __sk_dst_get(sk);
	u32 mss = tcp_sk(sk)->rx_opt.mss_clamp;

	header += sizeof(struct tcphdr);
	if (dst && dst_mtu(dst) >= header + TCP_MIN_MSS)
		mss = min(mss, dst_mtu(dst) - header);
	return mss;
}

/*
 * A receive buffer that was not set by the program: what its reading has earned it by now
 * (tcp_rcv_space_adjust()), whatever it is, which may be more, to keep a promise.
 */
static inline u32 vpipe_tcp_rcvbuf_earned(struct sock *sk)
{
	u64 window = 2ULL * tcp_sk(sk)->rcvq_space.space + 16 * tcp_sk(sk)->advmss;
	const int *rmem = sock_net(sk)->ipv4.sysctl_tcp_rmem;
	u32 most = READ_ONCE(rmem[2]);

	window = vpipe_compat_tcp_space_from_win(sk, min_t(u64, window, most));
	return min_t(u32, max_t(u32, window, READ_ONCE(rmem[1])), most);
}

/* What has come and was not read, and what was promised to the peer, find room in this. */
static inline u32 vpipe_tcp_rcvbuf_promised(struct sock *sk, u32 most)
{
	u32 window = min(tcp_receive_window(tcp_sk(sk)), most);
	u64 space = (u32)vpipe_compat_tcp_space_from_win(sk, window);

	return min_t(u64, atomic_read(&sk->sk_rmem_alloc) + min(space, 4ULL * most), INT_MAX / 2);
}

/*
 * What was promised to the peer finds room, and no more is promised for that.  A connection
 * goes to and fro: if each end let the other's window grow, it would have no end.
 */
static inline void vpipe_tcp_keep_promise(struct sock *sk, u32 most)
{
	int rcvbuf = vpipe_tcp_rcvbuf_promised(sk, most);

	if (rcvbuf > sk->sk_rcvbuf)
		WRITE_ONCE(sk->sk_rcvbuf, rcvbuf);
}

/* What the program has set that works by itself. */
static inline void vpipe_tcp_snapshot_settings(struct sock *sk, struct xen_vpipe_tcp_state *st)
{
	unsigned long rate = READ_ONCE(sk->sk_max_pacing_rate);
	const struct tcp_sock *tp = tcp_sk(sk);

	st->rcv_space = tcp_win_from_space(sk, sk->sk_rcvbuf);
	if (sk->sk_userlocks & SOCK_RCVBUF_LOCK)
		st->flags |= XEN_VPIPE_TCP_F_RCVBUF_LOCK;
	else
		st->rcvbuf = min(st->rcvbuf, vpipe_tcp_rcvbuf_earned(sk));
	if (sk->sk_userlocks & SOCK_SNDBUF_LOCK)
		st->flags |= XEN_VPIPE_TCP_F_SNDBUF_LOCK;
	st->user_timeout_ms = READ_ONCE(inet_csk(sk)->icsk_user_timeout);
	st->max_pacing_rate = rate == ~0UL ? ~0ULL : rate;
	if (!sock_flag(sk, SOCK_KEEPOPEN))
		return;
	st->flags |= XEN_VPIPE_TCP_F_KEEPALIVE;
	/* Those of the system have no bounds; those of a socket have these (tcp(7)). */
	st->keep_idle_s = clamp(keepalive_time_when(tp) / HZ, 1, MAX_TCP_KEEPIDLE);
	st->keep_interval_s = clamp(keepalive_intvl_when(tp) / HZ, 1, MAX_TCP_KEEPINTVL);
	st->keep_probes = clamp(keepalive_probes(tp), 1, MAX_TCP_KEEPCNT);
}

/* What tcp_info tells of a socket that began when it took the connection. */
static inline void vpipe_tcp_snapshot_counters(struct sock *sk, struct xen_vpipe_tcp_state *st)
{
	const struct tcp_sock *tp = tcp_sk(sk);

	st->retransmits = tp->total_retrans;
	st->bytes_acked = tp->bytes_acked;
	st->bytes_received = tp->bytes_received;
	st->bytes_sent = tp->bytes_sent;
	st->bytes_retransmitted = tp->bytes_retrans;
	st->segs_out = tp->segs_out;
	st->segs_in = tp->segs_in;
	st->data_segs_out = tp->data_segs_out;
	st->data_segs_in = tp->data_segs_in;
}

/* ... and of the one that has it again. */
static inline void vpipe_tcp_add_counters(struct sock *sk, const struct xen_vpipe_tcp_state *st)
{
	struct tcp_sock *tp = tcp_sk(sk);

	tp->total_retrans += st->retransmits;
	tp->bytes_acked += st->bytes_acked;
	tp->bytes_received += st->bytes_received;
	tp->bytes_sent += st->bytes_sent;
	tp->bytes_retrans += st->bytes_retransmitted;
	WRITE_ONCE(tp->segs_out, tp->segs_out + st->segs_out);
	WRITE_ONCE(tp->segs_in, tp->segs_in + st->segs_in);
	tp->data_segs_out += st->data_segs_out;
	WRITE_ONCE(tp->data_segs_in, tp->data_segs_in + st->data_segs_in);
}

/* Sequence space, options, buffers and congestion state; not the addresses. */
static inline void vpipe_tcp_snapshot(struct sock *sk, struct xen_vpipe_tcp_state *st)
{
	const struct inet_connection_sock *icsk = inet_csk(sk);
	struct tcp_sock *tp = tcp_sk(sk);

	st->snd_una = tp->snd_una;
	st->snd_nxt = tp->snd_nxt;
	st->write_seq = tp->write_seq;
	st->snd_wl1 = tp->snd_wl1;
	st->snd_wnd = tp->snd_wnd;
	st->max_window = tp->max_window;
	st->rcv_nxt = tp->rcv_nxt;
	st->rcv_wnd = tp->rcv_wnd;
	st->rcv_wup = tp->rcv_wup;

	st->flags = 0;
	if (tcp_is_sack(tp))
		st->flags |= XEN_VPIPE_TCP_F_SACK;
	if (tp->rx_opt.tstamp_ok)
		st->flags |= XEN_VPIPE_TCP_F_TIMESTAMPS;
	if (tp->rx_opt.wscale_ok)
		st->flags |= XEN_VPIPE_TCP_F_WSCALE;
	if (vpipe_compat_tcp_usec_ts(tp))
		st->flags |= XEN_VPIPE_TCP_F_USEC_TS;
	if (tp->ecn_flags & TCP_ECN_OK)
		st->flags |= XEN_VPIPE_TCP_F_ECN;
	if (tp->nonagle & TCP_NAGLE_OFF)
		st->flags |= XEN_VPIPE_TCP_F_NODELAY;
	st->snd_wscale = tp->rx_opt.snd_wscale;
	st->rcv_wscale = tp->rx_opt.rcv_wscale;
	vpipe_tcp_snapshot_header(sk, st);
	st->ts_val = vpipe_tcp_tsval(tp);
	st->ts_recent = tp->rx_opt.ts_recent;
	st->mss_clamp = vpipe_tcp_mss_clamp(sk);
	st->advmss = tp->advmss;

	st->rcvbuf = sk->sk_rcvbuf;
	st->sndbuf = sk->sk_sndbuf;
	st->rcvbuf_most = READ_ONCE(sock_net(sk)->ipv4.sysctl_tcp_rmem[2]);
	st->sndbuf_most = READ_ONCE(sock_net(sk)->ipv4.sysctl_tcp_wmem[2]);
	st->window_clamp = tp->window_clamp;
	st->rcv_ssthresh = tp->rcv_ssthresh;
	st->rcv_per_rtt = tp->rcvq_space.space;

	st->cwnd = tcp_snd_cwnd(tp);
	st->ssthresh = tp->snd_ssthresh;
	st->srtt_us = tp->srtt_us;
	st->mdev_us = tp->mdev_us;
	st->rttvar_us = tp->rttvar_us;
	st->rto_us = jiffies_to_usecs(icsk->icsk_rto);
	vpipe_tcp_snapshot_ages(sk, st);
	strscpy((char *)st->congestion, icsk->icsk_ca_ops->name,
		sizeof(st->congestion));
}

/* What is neither sequence space nor negotiated: clocks, RTT, congestion. */
static inline void vpipe_tcp_apply(struct sock *sk, const struct xen_vpipe_tcp_state *st)
{
	struct inet_connection_sock *icsk = inet_csk(sk);
	struct tcp_sock *tp = tcp_sk(sk);

	/* TSval must not step back, though the clocks differ (PAWS, RFC 7323). */
	tp->tsoffset = st->ts_val - vpipe_compat_tcp_clock_ts(tp);
	if (st->flags & XEN_VPIPE_TCP_F_TIMESTAMPS) {
		tp->rx_opt.ts_recent = st->ts_recent;
		tp->rx_opt.ts_recent_stamp = ktime_get_seconds();
	}
	tcp_snd_cwnd_set(tp, clamp_t(u32, st->cwnd, 2, U16_MAX));
	tp->snd_ssthresh = max_t(u32, st->ssthresh, 2);
	tp->srtt_us = st->srtt_us;
	tp->mdev_us = st->mdev_us;
	/* never below what the kernel itself keeps, or RTO could become 0 */
	tp->rttvar_us = max(st->rttvar_us, jiffies_to_usecs(TCP_RTO_MIN));
	icsk->icsk_rto = clamp_t(unsigned long, usecs_to_jiffies(st->rto_us),
				 TCP_RTO_MIN, TCP_RTO_MAX);
	tp->snd_cwnd_stamp = tcp_jiffies32;
	tp->lsndtime = tcp_jiffies32;
	tp->rcv_tstamp = tcp_jiffies32;
}

/* Acknowledge what we have: says where we are, and makes a silent peer answer. */
static inline void vpipe_tcp_ack_now(struct sock *sk)
{
	vpipe_tcp_refresh_clock(tcp_sk(sk));
	vpipe_compat_send_ack(sk, tcp_sk(sk)->rcv_nxt);
}

/* More than all sockets together ever have, and little enough for many at a time. */
#define VPIPE_TCP_ALL_PAGES	(LONG_MAX >> 20)

/* As large as a buffer may be (net/core/sock.c). */
#define VPIPE_TCP_ALL_BYTES	(INT_MAX / 2)

/*
 * Append `len` of the bytes by the socket's own sendmsg; whole or an error.  Socket locked.
 * There is no way back for what has been acknowledged or sent: it had room where it comes
 * from, so neither the buffers' sizes nor the limit of what all sockets may have (tcp_mem)
 * apply; and a connection is worth some patience when memory is short, but not that others
 * are killed for it.
 */
static inline int vpipe_tcp_append(struct sock *sk, struct iov_iter *from, size_t len, int flags)
{
	struct msghdr msg = { .msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL | flags };
	int sndbuf = sk->sk_sndbuf, rcvbuf = sk->sk_rcvbuf, ret = 0;
	unsigned int tries = VPIPE_TCP_TRIES;
	gfp_t allocation = sk->sk_allocation;

	sk->sk_allocation = allocation | __GFP_RETRY_MAYFAIL | __GFP_NOWARN;
	msg.msg_iter = *from;
	iov_iter_truncate(&msg.msg_iter, len);
	iov_iter_advance(from, len);
	while (msg_data_left(&msg)) {
		/* Each time: when there is no memory the kernel makes the buffer small. */
		WRITE_ONCE(sk->sk_sndbuf, VPIPE_TCP_ALL_BYTES);
		/* Otherwise what is sent at once would promise the peer as much. */
		if (tcp_sk(sk)->repair_queue == TCP_RECV_QUEUE)
			WRITE_ONCE(sk->sk_rcvbuf, VPIPE_TCP_ALL_BYTES);
		atomic_long_sub(VPIPE_TCP_ALL_PAGES, sk->sk_prot->memory_allocated);
		ret = tcp_sendmsg_locked(sk, &msg, msg_data_left(&msg));
		atomic_long_add(VPIPE_TCP_ALL_PAGES, sk->sk_prot->memory_allocated);
		if (ret > 0)
			continue;
		if (ret && ret != -ENOMEM && ret != -ENOBUFS && ret != -EAGAIN)
			break;
		ret = -ENOMEM;
		if (!--tries)
			break;
		msleep(VPIPE_TCP_PAUSE_MS);
	}
	sk->sk_allocation = allocation;
	WRITE_ONCE(sk->sk_sndbuf, sndbuf);
	WRITE_ONCE(sk->sk_rcvbuf, rcvbuf);
	return min(ret, 0);
}

/*
 * Append bytes that had been sent already, and count as sent.  With MSG_EOR, because the
 * last ones would stay unsent if the kernel waited for more (autocork).
 */
static inline int vpipe_tcp_append_sent(struct sock *sk, struct iov_iter *from, size_t len)
{
	struct tcp_sock *tp = tcp_sk(sk);
	int ret;

	tp->repair = 1;
	tp->repair_queue = TCP_SEND_QUEUE;
	ret = vpipe_tcp_append(sk, from, len, MSG_EOR);
	tp->repair_queue = TCP_NO_QUEUE;
	tp->repair = 0;
	return ret;
}

/* Append bytes that were received and not read.  In large pieces they take less memory. */
static inline int vpipe_tcp_append_received(struct sock *sk, struct iov_iter *from, size_t len)
{
	struct tcp_sock *tp = tcp_sk(sk);
	int ret;

	tp->repair = 1;
	tp->repair_queue = TCP_RECV_QUEUE;
	ret = vpipe_tcp_append(sk, from, len, 0);
	tp->repair_queue = TCP_NO_QUEUE;
	tp->repair = 0;
	return ret;
}

/*
 * All that had been sent was appended: it was sent when st says so, evenly between the
 * first and the last of it.  With the time of now no loss would be noticed for a while
 * (RACK, RFC 8985), and what counts as repaired is not measured.
 */
static inline void vpipe_tcp_age_queue(struct sock *sk, const struct xen_vpipe_tcp_state *st)
{
	u64 first = (u64)st->age_first_us * NSEC_PER_USEC;
	u64 last = min((u64)st->age_last_us * NSEC_PER_USEC, first);
	u32 all = st->snd_nxt - st->snd_una;
	struct tcp_sock *tp = tcp_sk(sk);
	struct sk_buff *skb;

	vpipe_tcp_refresh_clock(tp);
	first = min(first, tp->tcp_clock_cache);
	last = min(last, first);
	skb_rbtree_walk(skb, &sk->tcp_rtx_queue) {
		u64 at = TCP_SKB_CB(skb)->end_seq - st->snd_una;

		skb->skb_mstamp_ns = tp->tcp_clock_cache - first +
				     mul_u64_u32_div(first - last, min_t(u64, at, all), all);
		TCP_SKB_CB(skb)->sacked &= ~TCPCB_REPAIRED;
	}
}

/* Part of one send queue buffer that lies in the wanted range; moves the range. */
static inline void vpipe_tcp_copy_skb(struct sk_buff *skb, u32 skip, u32 *offset, u8 **to,
				      u32 *len)
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

/* Bytes [offset, offset + len) of the send queue, counted from `una` on; how many. */
static inline u32 vpipe_tcp_copy_queue(struct sock *sk, u32 una, u32 offset, void *to, u32 len)
{
	struct sk_buff *skb;
	u32 left = len;
	u8 *at = to;

	skb_rbtree_walk(skb, &sk->tcp_rtx_queue) {
		u32 seq = TCP_SKB_CB(skb)->seq;

		if (!left)
			break;
		vpipe_tcp_copy_skb(skb, before(seq, una) ? una - seq : 0, &offset, &at, &left);
	}
	skb_queue_walk(&sk->sk_write_queue, skb) {
		if (!left)
			break;
		vpipe_tcp_copy_skb(skb, 0, &offset, &at, &left);
	}
	return len - left;
}

/* Of what was in the send queue nothing is left. */
static inline void vpipe_tcp_purge_queue(struct sock *sk)
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

#endif /* _VPIPE_TCP_CARRY_H */
