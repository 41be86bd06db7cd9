// SPDX-License-Identifier: GPL-2.0
/*
 * sock.c: shadow sockets: a guest's live TCP connection, continued here.  They are made
 * by shadow.c.  When the connection goes home its send queue does so too, and the shadow
 * ends silently.
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

void vpback_sock_set_callbacks(struct sock *sk, struct vpback_flow *flow)
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
 * So many unread bytes come with the connection, or stay with the guest, or (negative) were
 * moved: until then they take room in the shadow's receive buffer, as they would in the
 * guest's.  Or the peer would be told of room that nobody has when the connection goes home.
 * With a quarter more, as they will come in pages each of which needs a header.
 *
 * The buffer is then as large as it takes to keep the guest's promises; what becomes free of
 * it is promised again only so far as the connection has earned it.
 */
void vpback_sock_charge(struct vpback_flow *flow, int bytes)
{
	struct sock *sk = flow->socket->sk;

	bytes += bytes / 4;
	bytes = max(bytes, -flow->unread_charged);	/* others have come by the shadow itself */
	flow->unread_charged += bytes;
	lock_sock(sk);
	atomic_add(bytes, &sk->sk_rmem_alloc);
	if (sk->sk_userlocks & SOCK_RCVBUF_LOCK || sk->sk_state == TCP_CLOSE)
		bytes = 0;
	if (bytes > 0)
		vpipe_tcp_keep_promise(sk, VPBACK_MAX_BUFFER);
	else if (bytes < 0)
		WRITE_ONCE(sk->sk_rcvbuf, max(vpipe_tcp_rcvbuf_earned(sk),
					      vpipe_tcp_rcvbuf_promised(sk, VPBACK_MAX_BUFFER)));
	release_sock(sk);
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
