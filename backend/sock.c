// SPDX-License-Identifier: GPL-2.0
/*
 * sock.c: shadow sockets: a guest's live TCP connection, continued here.
 *
 * Made with TCP_REPAIR on a kernel socket in the domain's private namespace: bound
 * to the guest's address, "connected" without a SYN, given the sequence numbers,
 * options and windows of the original, then its send queue: what had been sent as
 * sent, the rest to be sent.  Live from then on.  When the connection goes home its
 * send queue does so too, and the shadow ends silently.
 */
#include <linux/bvec.h>
#include <linux/net.h>
#include <linux/socket.h>
#include <net/net_namespace.h>
#include <net/tcp.h>

#include "vpback.h"
#include <vpipe/tcp_carry.h>

/* --- callbacks of the socket, in any context --------------------------------- */

/* Both FINs were acknowledged.  The namespace keeps no TIME_WAIT of its own: see vpipectl. */
static bool sock_over(const struct vpback_flow *flow, const struct sock *sk)
{
	return sk->sk_state == TCP_CLOSE && flow->fin_sent && !sk->sk_err &&
	       sock_flag(sk, SOCK_DONE) && tcp_sk(sk)->snd_una == tcp_sk(sk)->write_seq;
}

static void sock_notify(struct sock *sk, bool acks_only)
{
	struct vpback_flow *flow;

	read_lock_bh(&sk->sk_callback_lock);
	flow = sk->sk_user_data;
	if (flow && !acks_only && sock_over(flow, sk))
		vpback_hold_over(flow);
	if (flow && (!acks_only || READ_ONCE(flow->want_acks) ||
		     (READ_ONCE(flow->want_space) && sk_stream_is_writeable(sk))))
		vpback_flow_kick_all(flow);
	read_unlock_bh(&sk->sk_callback_lock);
}

/*
 * TCP calls this for each acknowledgement as long as SOCK_NOSPACE is set, which we
 * leave set: besides room, an operation waits for pages to come back and, at its
 * end, for everything to be acknowledged.
 */
static void sock_write_space(struct sock *sk)
{
	sock_notify(sk, true);
}

static void sock_changed(struct sock *sk)
{
	sock_notify(sk, false);
}

/* What a sink receives stays in its queue until the guest takes it. */
static void sock_data_ready(struct sock *sk)
{
	struct vpback_flow *flow;

	read_lock_bh(&sk->sk_callback_lock);
	flow = sk->sk_user_data;
	if (flow && (READ_ONCE(flow->want_data) || READ_ONCE(flow->want_input)))
		vpback_pipe_kick(flow);
	read_unlock_bh(&sk->sk_callback_lock);
}

static void sock_set_callbacks(struct sock *sk, struct vpback_flow *flow)
{
	write_lock_bh(&sk->sk_callback_lock);
	sk->sk_user_data = flow;
	sk->sk_write_space = sock_write_space;
	sk->sk_state_change = sock_changed;
	sk->sk_error_report = sock_changed;
	sk->sk_data_ready = sock_data_ready;
	write_unlock_bh(&sk->sk_callback_lock);
	set_bit(SOCK_NOSPACE, &sk->sk_socket->flags);
}

/* --- making one ------------------------------------------------------------------ */

static int sock_set(struct socket *socket, int level, int name, void *value, unsigned int len)
{
	return socket->ops->setsockopt(socket, level, name, KERNEL_SOCKPTR(value), len);
}

static int sock_set_int(struct socket *socket, int level, int name, int value)
{
	return sock_set(socket, level, name, &value, sizeof(value));
}

/* The name comes from a guest, and an unknown one would make the kernel load a module. */
static void sock_set_congestion(struct socket *socket, const struct xen_vpipe_tcp_state *st)
{
	static const char * const known[] = { "cubic", "reno", "bbr" };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(known); i++)
		if (!strncmp((const char *)st->congestion, known[i], sizeof(st->congestion)))
			sock_set(socket, SOL_TCP, TCP_CONGESTION, (void *)known[i],
				 strlen(known[i]));
}

static int sock_set_sequence(struct socket *socket, const struct xen_vpipe_tcp_state *st)
{
	return sock_set_int(socket, SOL_TCP, TCP_REPAIR_QUEUE, TCP_SEND_QUEUE) ?:
	       sock_set_int(socket, SOL_TCP, TCP_QUEUE_SEQ, st->snd_una) ?:
	       sock_set_int(socket, SOL_TCP, TCP_REPAIR_QUEUE, TCP_RECV_QUEUE) ?:
	       sock_set_int(socket, SOL_TCP, TCP_QUEUE_SEQ, st->rcv_nxt);
}

static int sock_set_options(struct socket *socket, const struct xen_vpipe_tcp_state *st)
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
	return sock_set(socket, SOL_TCP, TCP_REPAIR_OPTIONS, opt, n * sizeof(*opt)) ?:
	       sock_set(socket, SOL_TCP, TCP_REPAIR_WINDOW, &window, sizeof(window));
}

/* The automatic flow label is ours. */
static void sock_set_header(struct sock *sk, const struct xen_vpipe_tcp_state *st)
{
	WRITE_ONCE(inet_sk(sk)->tos, st->tos & ~INET_ECN_MASK);
	if (st->ttl)
		WRITE_ONCE(inet_sk(sk)->uc_ttl, st->ttl);
#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6) {
		inet6_sk(sk)->tclass = st->tos & ~INET_ECN_MASK;
		if (st->ttl)
			inet6_sk(sk)->hop_limit = st->ttl;
	}
#endif
}

/*
 * What the program has set stays; the others grow from there as they are used.  Frames need
 * less memory here than in the guest, whose data come in pages of their own: a buffer that
 * has to stay as it is holds as much data as there, with a third for the headers.
 */
static void sock_set_buffers(struct sock *sk, const struct xen_vpipe_tcp_state *st)
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
}

/* What no socket option reaches. */
static void sock_set_fields(struct sock *sk, const struct xen_vpipe_tcp_state *st)
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
	sock_set_buffers(sk, st);
	sock_set_header(sk, st);
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
static void sock_set_settings(struct sock *sk, const struct xen_vpipe_tcp_state *st)
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
static void sock_go_live(struct vpback_flow *flow)
{
	struct sock *sk = flow->socket->sk;

	tcp_sk(sk)->repair = 0;
	tcp_sk(sk)->repair_queue = TCP_NO_QUEUE;
	sk->sk_reuse = SK_NO_REUSE;
	vpipe_tcp_age_queue(sk, &flow->state);
	vpback_hold_live(flow);
}

/* Can shadows be of IPv6?  It may not be there, or have been switched off. */
bool vpback_sock_has_ipv6(struct net *net)
{
	struct socket *socket;

	if (sock_create_kern(net, PF_INET6, SOCK_STREAM, IPPROTO_TCP, &socket))
		return false;
	sock_release(socket);
	return true;
}

static int sock_create_family(struct vpback_flow *flow, struct socket **socket)
{
	return sock_create_kern(flow->link->net, flow->state.family == 6 ? PF_INET6 : PF_INET,
				SOCK_STREAM, IPPROTO_TCP, socket);
}

/* The address is the guest's, and need not be configured here. */
static int sock_set_foreign(struct socket *socket)
{
	if (socket->sk->sk_family == AF_INET)
		return sock_set_int(socket, SOL_IP, IP_TRANSPARENT, 1);
	return sock_set_int(socket, SOL_IPV6, IPV6_V6ONLY, 1) ?:
	       sock_set_int(socket, SOL_IPV6, IPV6_TRANSPARENT, 1);
}

/* An end of the connection as a socket address.  Returns its length. */
static int sock_address(u16 family, const u8 *addr, u16 port, struct sockaddr_storage *to)
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
int vpback_sock_create(struct vpback_flow *flow)
{
	const struct xen_vpipe_tcp_state *st = &flow->state;
	struct sockaddr_storage local, peer;
	struct socket *socket;
	int ret, len;

	ret = sock_create_family(flow, &socket);
	if (ret)
		return ret;
	len = sock_address(st->family, st->local_addr, st->local_port, &local);
	sock_address(st->family, st->peer_addr, st->peer_port, &peer);

	ret = sock_set_int(socket, SOL_TCP, TCP_REPAIR, TCP_REPAIR_ON) ?:
	      sock_set_foreign(socket) ?:
	      sock_bindtoindex(socket->sk, flow->link->netdev->ifindex, true) ?:
	      kernel_bind(socket, (struct sockaddr *)&local, len) ?:
	      sock_set_sequence(socket, st);
	if (ret)
		goto err;
	sock_set_congestion(socket, st);
	ret = kernel_connect(socket, (struct sockaddr *)&peer, len, 0) ?:
	      sock_set_options(socket, st);
	if (ret)
		goto err;
	sock_set_fields(socket->sk, st);
	sock_set_settings(socket->sk, st);
	sock_set_callbacks(socket->sk, flow);
	flow->socket = socket;
	lock_sock(socket->sk);
	if (st->snd_nxt == st->snd_una)
		sock_go_live(flow);
	release_sock(socket->sk);
	/* Whoever sees it sees the socket. */
	smp_store_release(&flow->complete, st->write_seq == st->snd_una);
	return 0;
err:
	sock_set_int(socket, SOL_TCP, TCP_REPAIR, TCP_REPAIR_ON);
	sock_release(socket);
	return ret;
}

/*
 * The next bytes of the send queue.  -EINVAL: more than were announced; -ECONNRESET: it
 * was live, and the connection is lost.
 */
int vpback_sock_queue(struct vpback_flow *flow, const void *data, u32 len)
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
				sock_go_live(flow);
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

/* --- using one ---------------------------------------------------------------------- */

/* How many bytes the socket takes now; while it is busy with many: 0, and it tells. */
u32 vpback_sock_room(struct vpback_flow *flow)
{
	struct sock *sk = flow->socket->sk;

	WRITE_ONCE(flow->want_space, true);
	smp_mb();	/* ask to be told before looking */
	if (!READ_ONCE(flow->drained) || !sk_stream_is_writeable(sk))
		return 0;
	WRITE_ONCE(flow->want_space, false);
	return max(sk_stream_wspace(sk), 1);
}

/*
 * Give `len` bytes to the socket, by reference; `more` when more follows soon.  Bytes
 * taken, -EAGAIN, or why the connection has ended.  Does not block.
 */
int vpback_sock_send(struct vpback_flow *flow, const struct bio_vec *vec, unsigned int nr,
		     u32 len, bool more)
{
	int flags = MSG_DONTWAIT | MSG_NOSIGNAL | (more ? MSG_MORE : 0);
#ifndef VPIPE_COMPAT_SENDPAGE
	struct msghdr msg = { .msg_flags = flags | MSG_SPLICE_PAGES };
#else
	u32 n = min_t(u32, vec->bv_len, PAGE_SIZE - offset_in_page(vec->bv_offset));
#endif
	int ret;

	/* It would only wait, and the shadow would begin to think that it is lost. */
	if (!READ_ONCE(flow->drained))
		return -EAGAIN;		/* kicked when it is */
#ifndef VPIPE_COMPAT_SENDPAGE
	WRITE_ONCE(flow->want_space, true);	/* before looking whether there is any */
	iov_iter_bvec(&msg.msg_iter, ITER_SOURCE, vec, nr, len);
	ret = sock_sendmsg(flow->socket, &msg);
#else
	WRITE_ONCE(flow->want_space, true);	/* before looking whether there is any */
	if (n < len)
		flags |= MSG_MORE;
	ret = kernel_sendpage(flow->socket, nth_page(vec->bv_page, vec->bv_offset >> PAGE_SHIFT),
			      offset_in_page(vec->bv_offset), n, flags);
#endif
	if (ret == len)
		WRITE_ONCE(flow->want_space, false);
	if (ret < 0 && ret != -EAGAIN)
		flow->sock_error = ret;
	set_bit(SOCK_NOSPACE, &flow->socket->flags);
	return ret;
}

/*
 * Up to `len` bytes behind those of the chunk; the caller sees to the room.  Bytes, 0
 * at the end of the stream, -EAGAIN, or why the connection has ended.  Does not block.
 */
int vpback_sock_receive(struct vpback_flow *flow, struct vpback_chunk *chunk, u32 len)
{
	struct kvec vec = {
		.iov_base = page_address(chunk->page) + chunk->offset + chunk->length,
		.iov_len = len,
	};
	struct msghdr msg = {};
	int ret;

	WRITE_ONCE(flow->want_data, true);	/* before looking whether there is any */
	ret = kernel_recvmsg(flow->socket, &msg, &vec, 1, len, MSG_DONTWAIT);
	if (ret == -EAGAIN)
		return ret;
	WRITE_ONCE(flow->want_data, false);
	/* Closed, but not by a FIN. */
	if (!ret && !sock_flag(flow->socket->sk, SOCK_DONE))
		ret = -ECONNRESET;
	if (ret < 0)
		flow->sock_error = ret;
	return ret;
}

/*
 * So many unread bytes came with the connection, or (negative) were moved: until then they
 * take room in the shadow's receive buffer, as they would in the guest's.  Or the peer would
 * be told of room that nobody has when the connection goes home.  With a quarter more, as
 * they will come in pages each of which needs a header.
 */
void vpback_sock_charge(struct vpback_flow *flow, int bytes)
{
	bytes += bytes / 4;
	bytes = max(bytes, -flow->unread_charged);	/* others have come by the shadow itself */
	flow->unread_charged += bytes;
	atomic_add(bytes, &flow->socket->sk->sk_rmem_alloc);
}

/* There is room again, which the shadow would tell when it is read from. */
void vpback_sock_open_window(struct vpback_flow *flow)
{
	struct sock *sk = flow->socket->sk;

	lock_sock(sk);
	if (sk->sk_state == TCP_ESTABLISHED &&
	    2 * tcp_receive_window(tcp_sk(sk)) <= tcp_sk(sk)->window_clamp)
		vpipe_tcp_ack_now(sk);
	release_sock(sk);
}

/* Why nothing can be sent any more, or 0. */
int vpback_sock_ended(struct vpback_flow *flow)
{
	struct sock *sk = flow->socket->sk;

	if (READ_ONCE(sk->sk_state) != TCP_CLOSE)
		return 0;
	return -(READ_ONCE(sk->sk_err) ?: -READ_ONCE(flow->sock_error) ?: EPIPE);
}

/* Everything was acknowledged, or never will be. */
bool vpback_sock_settled(struct vpback_flow *flow)
{
	struct sock *sk = flow->socket->sk;
	struct tcp_sock *tp = tcp_sk(sk);
	bool settled;

	WRITE_ONCE(flow->want_acks, true);
	set_bit(SOCK_NOSPACE, &flow->socket->flags);
	smp_mb();	/* ask to be told before looking */
	lock_sock(sk);
	settled = sk->sk_state == TCP_CLOSE || tp->snd_una == tp->write_seq;
	release_sock(sk);
	return settled;
}

/* Bytes that were received and not read; a FIN is none. */
static u32 sock_unread(struct sock *sk)
{
	u32 unread = tcp_sk(sk)->rcv_nxt - tcp_sk(sk)->copied_seq;

	return unread - (unread && sock_flag(sk, SOCK_DONE));
}

/*
 * The program has closed its socket: a FIN goes behind what is queued, unless it has left
 * something unread.  If the peer sends more after that it is told by a RST.
 */
void vpback_sock_finish(struct vpback_flow *flow)
{
	struct sock *sk = flow->socket->sk;
	u32 end;

	lock_sock(sk);
	end = tcp_sk(sk)->write_seq;
	flow->fin_second = sk->sk_state == TCP_CLOSE_WAIT;
	if ((flow->fin_second || sk->sk_state == TCP_ESTABLISHED) && !sock_unread(sk)) {
		WRITE_ONCE(sk->sk_shutdown, sk->sk_shutdown | SHUTDOWN_MASK);
		sk->sk_prot->shutdown(sk, SHUTDOWN_MASK);
		/* Without memory there is none, and the guest's kernel sends it. */
		flow->fin_sent = tcp_sk(sk)->write_seq != end;
	}
	release_sock(sk);
}

/* Is there something that its program would like to know? */
bool vpback_sock_input(struct vpback_flow *flow)
{
	struct sock *sk = flow->socket->sk;
	struct tcp_sock *tp = tcp_sk(sk);

	if (READ_ONCE(sk->sk_state) == TCP_CLOSE || READ_ONCE(sk->sk_err))
		return true;
	/* The end of the stream is no news to a guest which has seen it. */
	if (flow->state.state == XEN_VPIPE_TCP_CLOSE_WAIT)
		return false;
	return READ_ONCE(tp->rcv_nxt) != READ_ONCE(tp->copied_seq) ||
	       READ_ONCE(sk->sk_shutdown) & RCV_SHUTDOWN;
}

/* How the shadow stands, as XEN_VPIPE_TCP_* has it.  Socket locked. */
static u16 sock_state(struct vpback_flow *flow, struct sock *sk)
{
	switch (sk->sk_state) {
	case TCP_ESTABLISHED:
	case TCP_FIN_WAIT1:
		return XEN_VPIPE_TCP_ESTABLISHED;
	case TCP_CLOSE_WAIT:
	case TCP_LAST_ACK:
		return XEN_VPIPE_TCP_CLOSE_WAIT;
	case TCP_CLOSING:
		return flow->fin_sent ? XEN_VPIPE_TCP_CLOSING : XEN_VPIPE_TCP_CLOSE_WAIT;
	case TCP_FIN_WAIT2:
		return flow->fin_sent ? XEN_VPIPE_TCP_FIN_WAIT2 : XEN_VPIPE_TCP_ESTABLISHED;
	}
	if (sock_over(flow, sk))
		return flow->fin_second ? XEN_VPIPE_TCP_DONE : XEN_VPIPE_TCP_TIME_WAIT;
	return XEN_VPIPE_TCP_CLOSED;
}

/* The connection's state into flow->state; the socket does nothing any more. */
void vpback_sock_freeze(struct vpback_flow *flow)
{
	struct xen_vpipe_tcp_state *st = &flow->state;
	struct sock *sk = flow->socket->sk;

	lock_sock(sk);
	release_sock(sk);	/* what waits in the backlog is received */
	lock_sock(sk);
	vpipe_tcp_stop_timers(sk);
	vpipe_tcp_snapshot(sk, st);
	vpipe_tcp_snapshot_counters(sk, st);
	st->state = sock_state(flow, sk);
	st->unread = sock_unread(sk);
	if (st->state == XEN_VPIPE_TCP_CLOSED) {
		st->error = sk->sk_err ?: -flow->sock_error ?: ECONNRESET;
		/* Nobody will have it. */
		st->snd_una = st->write_seq;
		st->snd_nxt = st->write_seq;
	} else if (flow->fin_sent && vpipe_tcp_lives(st->state)) {
		/* The guest's kernel sends the FIN again, as its own. */
		st->write_seq--;
		if (after(st->snd_nxt, st->write_seq))
			st->snd_nxt = st->write_seq;
	}
	if (sock_flag(sk, SOCK_DONE)) {		/* the FIN is not data */
		st->rcv_nxt--;
		if (after(st->rcv_wup, st->rcv_nxt))
			st->rcv_wup = st->rcv_nxt;
	}
	flow->tcp_state = sk->sk_state;
	if (vpipe_tcp_lives(st->state))
		vpback_hold_carry(flow);
	/* A late frame changes nothing: the receive path ignores a closed socket. */
	WRITE_ONCE(sk->sk_state, TCP_CLOSE);
	release_sock(sk);
}

/* Unread bytes of a frozen shadow, in order, each once. */
int vpback_sock_read_unread(struct vpback_flow *flow, void *to, u32 len)
{
	struct kvec vec = { .iov_base = to, .iov_len = len };
	struct msghdr msg = {};

	return kernel_recvmsg(flow->socket, &msg, &vec, 1, len, MSG_DONTWAIT);
}

/* The same of its send queue, from `offset` bytes behind snd_una on. */
u32 vpback_sock_read_queue(struct vpback_flow *flow, u32 offset, void *to, u32 len)
{
	struct sock *sk = flow->socket->sk;
	u32 n;

	lock_sock(sk);
	n = vpipe_tcp_copy_queue(sk, flow->state.snd_una, offset, to, len);
	release_sock(sk);
	return n;
}

/* The end of the shadow: silent, or with a RST.  May sleep. */
void vpback_sock_release(struct vpback_flow *flow, bool reset)
{
	struct socket *socket = flow->socket;
	struct sock *sk;

	if (!socket)
		return;
	sk = socket->sk;
	write_lock_bh(&sk->sk_callback_lock);
	sk->sk_user_data = NULL;
	write_unlock_bh(&sk->sk_callback_lock);

	vpback_sock_charge(flow, -flow->unread_charged);
	lock_sock(sk);
	tcp_sk(sk)->repair = 0;
	/* Only written, not set, when it was frozen: it is still hashed. */
	if (flow->detached)
		WRITE_ONCE(sk->sk_state, flow->tcp_state);
	if (reset) {
		sock_set_flag(sk, SOCK_LINGER);
		sk->sk_lingertime = 0;
	} else {
		vpipe_tcp_stop_timers(sk);
		if (sk->sk_state != TCP_CLOSE)
			tcp_set_state(sk, TCP_CLOSE);
	}
	release_sock(sk);
	sock_release(socket);
	flow->socket = NULL;
}
