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
	st->window_clamp = tp->window_clamp;
	st->rcv_ssthresh = tp->rcv_ssthresh;

	st->cwnd = tcp_snd_cwnd(tp);
	st->ssthresh = tp->snd_ssthresh;
	st->srtt_us = tp->srtt_us;
	st->mdev_us = tp->mdev_us;
	st->rttvar_us = tp->rttvar_us;
	st->rto_us = jiffies_to_usecs(icsk->icsk_rto);
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

/*
 * Append bytes by the socket's own sendmsg; whole or an error.  Socket locked.  A
 * connection is worth some patience when memory is short: there is no way back.
 */
static inline int vpipe_tcp_append(struct sock *sk, const void *data, size_t len)
{
	struct kvec vec = { .iov_base = (void *)data, .iov_len = len };
	struct msghdr msg = { .msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL };
	unsigned int tries = VPIPE_TCP_TRIES;
	int ret;

	iov_iter_kvec(&msg.msg_iter, ITER_SOURCE, &vec, 1, len);
	while (msg_data_left(&msg)) {
		ret = tcp_sendmsg_locked(sk, &msg, msg_data_left(&msg));
		if (ret > 0)
			continue;
		if (ret && ret != -ENOMEM && ret != -EAGAIN)
			return ret;
		if (!--tries)
			return -ENOMEM;
		msleep(VPIPE_TCP_PAUSE_MS);
	}
	return 0;
}

#endif /* _VPIPE_TCP_CARRY_H */
