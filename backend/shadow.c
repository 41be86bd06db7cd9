// SPDX-License-Identifier: GPL-2.0
/*
 * shadow.c: makes a shadow socket of the state that the guest has sent.
 *
 * With TCP_REPAIR on a kernel socket in the domain's private namespace: bound to the
 * guest's address, "connected" without a SYN, given the sequence numbers, options and
 * windows of the original, then its send queue: what had been sent as sent, the rest to
 * be sent.  Live from then on.
 */
#include <linux/net.h>
#include <linux/socket.h>
#include <net/net_namespace.h>
#include <net/tcp.h>

#include "vpback.h"
#include <vpipe/tcp_carry.h>

static int shadow_set(struct socket *socket, int level, int name, void *value, unsigned int len)
{
	return socket->ops->setsockopt(socket, level, name, KERNEL_SOCKPTR(value), len);
}

static int shadow_set_int(struct socket *socket, int level, int name, int value)
{
	return shadow_set(socket, level, name, &value, sizeof(value));
}

/* The name comes from a guest, and an unknown one would make the kernel load a module. */
static void shadow_set_congestion(struct socket *socket, const struct xen_vpipe_tcp_state *st)
{
	static const char * const known[] = { "cubic", "reno", "bbr" };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(known); i++)
		if (!strncmp((const char *)st->congestion, known[i], sizeof(st->congestion)))
			shadow_set(socket, SOL_TCP, TCP_CONGESTION, (void *)known[i],
				   strlen(known[i]));
}

static int shadow_set_sequence(struct socket *socket, const struct xen_vpipe_tcp_state *st)
{
	return shadow_set_int(socket, SOL_TCP, TCP_REPAIR_QUEUE, TCP_SEND_QUEUE) ?:
	       shadow_set_int(socket, SOL_TCP, TCP_QUEUE_SEQ, st->snd_una) ?:
	       shadow_set_int(socket, SOL_TCP, TCP_REPAIR_QUEUE, TCP_RECV_QUEUE) ?:
	       shadow_set_int(socket, SOL_TCP, TCP_QUEUE_SEQ, st->rcv_nxt);
}

static int shadow_set_options(struct socket *socket, const struct xen_vpipe_tcp_state *st)
{
	struct tcp_repair_window window = {
		.snd_wl1 = st->rcv_nxt, .snd_wnd = st->snd_wnd, .max_window = st->max_window,
		.rcv_wnd = st->rcv_wnd, .rcv_wup = st->rcv_wup,
	};
	struct tcp_repair_opt opt[4];
	unsigned int n = 0;

	opt[n++] = (struct tcp_repair_opt){ TCPOPT_MSS, st->mss_clamp };
	if (st->flags & XEN_VPIPE_TCP_F_WSCALE)
		opt[n++] = (struct tcp_repair_opt){ TCPOPT_WINDOW,
						    st->snd_wscale | st->rcv_wscale << 16 };
	if (st->flags & XEN_VPIPE_TCP_F_SACK)
		opt[n++] = (struct tcp_repair_opt){ TCPOPT_SACK_PERM, 0 };
	if (st->flags & XEN_VPIPE_TCP_F_TIMESTAMPS)
		opt[n++] = (struct tcp_repair_opt){ TCPOPT_TIMESTAMP, 0 };
	return shadow_set(socket, SOL_TCP, TCP_REPAIR_OPTIONS, opt, n * sizeof(*opt)) ?:
	       shadow_set(socket, SOL_TCP, TCP_REPAIR_WINDOW, &window, sizeof(window));
}

/* The automatic flow label is ours. */
static void shadow_set_header(struct sock *sk, const struct xen_vpipe_tcp_state *st)
{
	WRITE_ONCE(inet_sk(sk)->tos, st->tos & ~INET_ECN_MASK);
	if (st->ttl)
		WRITE_ONCE(inet_sk(sk)->uc_ttl, st->ttl);
#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6) {
		inet6_sk(sk)->tclass = st->tos & ~INET_ECN_MASK;
		/* None: the namespace makes none (vpipectl). */
		inet6_sk(sk)->flow_label = htonl(st->flow_label);
		if (st->ttl)
			inet6_sk(sk)->hop_limit = st->ttl;
	}
#endif
}

/* A buffer of the namespace grows as far as the guest's, and no further than one of dom0's. */
static void shadow_limit(int *most, int dom0, u32 guest, u32 least)
{
	WRITE_ONCE(*most, guest ? clamp_t(u32, guest, least, dom0) : dom0);
}

/* The namespace is the domain's alone; of different limits there the last one counts. */
static void shadow_limit_buffers(struct net *net, const struct xen_vpipe_tcp_state *st)
{
	shadow_limit(&net->ipv4.sysctl_tcp_rmem[2], READ_ONCE(init_net.ipv4.sysctl_tcp_rmem[2]),
		     st->rcvbuf_most, SOCK_MIN_RCVBUF);
	shadow_limit(&net->ipv4.sysctl_tcp_wmem[2], READ_ONCE(init_net.ipv4.sysctl_tcp_wmem[2]),
		     st->sndbuf_most, SOCK_MIN_SNDBUF);
}

/*
 * What the program has set stays; the others grow from there as they are used.  Frames need
 * less memory here than in the guest, whose data come in pages of their own: a buffer that
 * has to stay as it is holds as much data as there, with a third for the headers.
 */
static void shadow_set_buffers(struct sock *sk, const struct xen_vpipe_tcp_state *st)
{
	int rcvbuf = clamp(st->rcvbuf, (u32)SOCK_MIN_RCVBUF, VPBACK_MAX_BUFFER);
	int sndbuf = clamp(st->sndbuf, (u32)SOCK_MIN_SNDBUF, VPBACK_MAX_BUFFER);

	if (st->flags & XEN_VPIPE_TCP_F_RCVBUF_LOCK) {
		sk->sk_userlocks |= SOCK_RCVBUF_LOCK;
		rcvbuf = clamp(st->rcv_space / 3 * 4, (u32)SOCK_MIN_RCVBUF, (u32)rcvbuf);
	} else {
		rcvbuf = max(rcvbuf, sk->sk_rcvbuf);
	}
	if (st->flags & XEN_VPIPE_TCP_F_SNDBUF_LOCK)
		sk->sk_userlocks |= SOCK_SNDBUF_LOCK;
	else
		sndbuf = max(sndbuf, sk->sk_sndbuf);
	WRITE_ONCE(sk->sk_rcvbuf, rcvbuf);
	WRITE_ONCE(sk->sk_sndbuf, sndbuf);
	tcp_sk(sk)->rcvq_space.space = max_t(u32, min(st->rcv_per_rtt, VPBACK_MAX_BUFFER),
					     tcp_sk(sk)->rcvq_space.space);
	/* When it is found to be larger the kernel judges anew how much a buffer holds. */
	inet_csk(sk)->icsk_ack.rcv_mss =
		max_t(u32, st->advmss - min_t(u32, st->advmss, tcp_sk(sk)->tcp_header_len -
					      sizeof(struct tcphdr)), TCP_MIN_MSS);
}

/* What no socket option reaches. */
static void shadow_set_fields(struct sock *sk, const struct xen_vpipe_tcp_state *st)
{
	struct tcp_sock *tp = tcp_sk(sk);

	lock_sock(sk);
	vpipe_compat_tcp_set_usec_ts(tp, st->flags & XEN_VPIPE_TCP_F_USEC_TS);
	tp->tcp_header_len = sizeof(struct tcphdr);
	if (st->flags & XEN_VPIPE_TCP_F_TIMESTAMPS)
		tp->tcp_header_len += TCPOLEN_TSTAMP_ALIGNED;
	tp->advmss = st->advmss;
	tp->window_clamp = max(min(st->window_clamp, VPBACK_MAX_BUFFER), tp->window_clamp);
	tp->rcv_ssthresh = min(max(st->rcv_ssthresh, st->rcv_wnd), VPBACK_MAX_BUFFER);
	tp->snd_wl1 = st->snd_wl1;	/* which TCP_REPAIR_WINDOW might find too far ahead */
	shadow_limit_buffers(sock_net(sk), st);
	shadow_set_buffers(sk, st);
	shadow_set_header(sk, st);
	if (st->flags & XEN_VPIPE_TCP_F_ECN)
		tp->ecn_flags |= TCP_ECN_OK;
	if (st->flags & XEN_VPIPE_TCP_F_NODELAY)
		tp->nonagle |= TCP_NAGLE_OFF;
	vpipe_tcp_apply(sk, st);
	/* connect() may have judged before it knew the scale */
	tp->pred_flags = 0;
	/* or mss_cache stays at what connect() assumed */
	inet_csk(sk)->icsk_pmtu_cookie = 0;
	sock_set_flag(sk, SOCK_URGINLINE);	/* an urgent byte counts as the others */
	if (st->state == XEN_VPIPE_TCP_CLOSE_WAIT) {
		WRITE_ONCE(tp->rcv_nxt, tp->rcv_nxt + 1);
		WRITE_ONCE(tp->copied_seq, tp->rcv_nxt);
		tp->rcv_wup = tp->rcv_nxt;
		WRITE_ONCE(sk->sk_shutdown, sk->sk_shutdown | RCV_SHUTDOWN);
		sock_set_flag(sk, SOCK_DONE);
		tcp_set_state(sk, TCP_CLOSE_WAIT);
	}
	release_sock(sk);
}

/* What the program has set that works by itself. */
static void shadow_set_settings(struct sock *sk, const struct xen_vpipe_tcp_state *st)
{
	if (st->user_timeout_ms)
		tcp_sock_set_user_timeout(sk, st->user_timeout_ms);
	if (st->max_pacing_rate && st->max_pacing_rate < ULONG_MAX) {
		cmpxchg(&sk->sk_pacing_status, SK_PACING_NONE, SK_PACING_NEEDED);
		WRITE_ONCE(sk->sk_max_pacing_rate, st->max_pacing_rate);
		WRITE_ONCE(sk->sk_pacing_rate,
			   min_t(u64, sk->sk_pacing_rate, st->max_pacing_rate));
	}
	if (!(st->flags & XEN_VPIPE_TCP_F_KEEPALIVE))
		return;
	tcp_sock_set_keepidle(sk, st->keep_idle_s);
	tcp_sock_set_keepintvl(sk, st->keep_interval_s);
	tcp_sock_set_keepcnt(sk, st->keep_probes);
	sock_set_keepalive(sk);
}

/*
 * All that was sent is restored: frames may come and go.  What was not sent yet
 * follows; when that fails the connection is lost, as it is after any QUEUE that
 * fails once frames have come.
 */
static void shadow_go_live(struct vpback_flow *flow)
{
	struct sock *sk = flow->socket->sk;

	tcp_sk(sk)->repair = 0;
	tcp_sk(sk)->repair_queue = TCP_NO_QUEUE;
	sk->sk_reuse = SK_NO_REUSE;
	vpipe_tcp_age_queue(sk, &flow->state);
	vpback_hold_live(flow);
}

/* Can shadows be of IPv6?  It may not be there, or have been switched off. */
bool vpback_shadow_has_ipv6(struct net *net)
{
	struct socket *socket;

	if (sock_create_kern(net, PF_INET6, SOCK_STREAM, IPPROTO_TCP, &socket))
		return false;
	sock_release(socket);
	return true;
}

static int shadow_create_family(struct vpback_flow *flow, struct socket **socket)
{
	return sock_create_kern(flow->link->net, flow->state.family == 6 ? PF_INET6 : PF_INET,
				SOCK_STREAM, IPPROTO_TCP, socket);
}

/* The address is the guest's, and need not be configured here. */
static int shadow_set_foreign(struct socket *socket)
{
	if (socket->sk->sk_family == AF_INET)
		return shadow_set_int(socket, SOL_IP, IP_TRANSPARENT, 1);
	return shadow_set_int(socket, SOL_IPV6, IPV6_V6ONLY, 1) ?:
	       shadow_set_int(socket, SOL_IPV6, IPV6_TRANSPARENT, 1);
}

/* An end of the connection as a socket address.  Returns its length. */
static int shadow_address(u16 family, const u8 *addr, u16 port, struct sockaddr_storage *to)
{
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)to;
	struct sockaddr_in *in = (struct sockaddr_in *)to;

	memset(to, 0, sizeof(*to));
	if (family == 6) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = (__force __be16)port;
		memcpy(&in6->sin6_addr, addr, sizeof(in6->sin6_addr));
		return sizeof(*in6);
	}
	in->sin_family = AF_INET;
	in->sin_port = (__force __be16)port;
	memcpy(&in->sin_addr, addr, sizeof(in->sin_addr));
	return sizeof(*in);
}

/*
 * The shadow of flow->state, bound to the flow's link.  Live at once when nothing
 * is in the send queue.
 */
int vpback_shadow_create(struct vpback_flow *flow)
{
	const struct xen_vpipe_tcp_state *st = &flow->state;
	struct sockaddr_storage local, peer;
	struct socket *socket;
	int ret, len;

	ret = shadow_create_family(flow, &socket);
	if (ret)
		return ret;
	len = shadow_address(st->family, st->local_addr, st->local_port, &local);
	shadow_address(st->family, st->peer_addr, st->peer_port, &peer);

	ret = shadow_set_int(socket, SOL_TCP, TCP_REPAIR, TCP_REPAIR_ON) ?:
	      shadow_set_foreign(socket) ?:
	      sock_bindtoindex(socket->sk, flow->link->netdev->ifindex, true) ?:
	      kernel_bind(socket, (struct sockaddr *)&local, len) ?:
	      shadow_set_sequence(socket, st);
	if (ret)
		goto err;
	shadow_set_congestion(socket, st);
	ret = kernel_connect(socket, (struct sockaddr *)&peer, len, 0) ?:
	      shadow_set_options(socket, st);
	if (ret)
		goto err;
	shadow_set_fields(socket->sk, st);
	shadow_set_settings(socket->sk, st);
	vpback_sock_set_callbacks(socket->sk, flow);
	flow->socket = socket;
	vpback_sock_charge(flow, min(st->unread, VPBACK_MAX_BUFFER));
	lock_sock(socket->sk);
	if (st->snd_nxt == st->snd_una)
		shadow_go_live(flow);
	release_sock(socket->sk);
	/* Whoever sees it sees the socket. */
	smp_store_release(&flow->complete, st->write_seq == st->snd_una);
	return 0;
err:
	shadow_set_int(socket, SOL_TCP, TCP_REPAIR, TCP_REPAIR_ON);
	sock_release(socket);
	return ret;
}

/*
 * The next bytes of the send queue.  -EINVAL: more than were announced; -ECONNRESET: it
 * was live, and the connection is lost.
 */
int vpback_shadow_queue(struct vpback_flow *flow, const void *data, u32 len)
{
	u32 sent = flow->state.snd_nxt - flow->state.snd_una;
	u32 total = flow->state.write_seq - flow->state.snd_una;
	struct sock *sk = flow->socket->sk;
	struct kvec bytes = { .iov_base = (void *)data, .iov_len = len };
	struct tcp_sock *tp = tcp_sk(sk);
	struct iov_iter from;
	bool last = false;
	int ret = 0;
	u32 n;

	if (len > total - flow->queued)
		return -EINVAL;
	if (len == total - flow->queued)
		last = true;
	iov_iter_kvec(&from, ITER_SOURCE, &bytes, 1, len);
	lock_sock(sk);
	if (flow->queued < sent) {
		n = min(len, sent - flow->queued);
		ret = vpipe_tcp_append_sent(sk, &from, n);
		tp->repair = 1;		/* more of it may come */
		if (!ret) {
			flow->queued += n;
			len -= n;
			if (flow->queued == sent && tp->snd_nxt != flow->state.snd_nxt)
				ret = -EPROTO;
			else if (flow->queued == sent)
				shadow_go_live(flow);
		}
	}
	if (!ret && len) {
		ret = vpipe_tcp_append(sk, &from, len, 0);
		if (!ret)
			flow->queued += len;
	}
	if (!ret && last)
		smp_store_release(&flow->complete, true);	/* as in _create */
	release_sock(sk);
	/* What frames may have come to cannot be taken back. */
	flow->queue_status = ret && flow->live ? -ECONNRESET : ret;
	return flow->queue_status;
}
