// SPDX-License-Identifier: GPL-2.0
/*
 * sock.c: takes a live TCP connection out of a socket and puts it back.
 *
 * Freeze, in order: refuse what cannot travel; point the callers to guard.c and frames
 * that come late to strays.c; say where we are with an ACK; stop all timers; note the
 * state; poison: sk_state is written (not set) to TCP_CLOSE, which makes the receive
 * path and the deferred send handlers leave the socket alone, so that a frame that
 * slips through changes nothing.  The send queue stays in the socket until the backend
 * has taken it.  When that is so, and no frame can slip through any more, the shell gets
 * its state back, so that ss(8) shows a connection.
 *
 * Of a source the bytes that were received and not read go along as well; they
 * stay here until the connection is back.
 *
 * Thaw: sequence numbers that judge "before" and "after" are all set anew, because
 * the connection may have moved by more than 2 GiB; bytes that arrived and were not
 * read are appended to the receive queue, what was not acknowledged becomes the send
 * queue; FIN and RST are delivered as TCP would.
 */
#include <net/inet_sock.h>
#include <net/mptcp.h>
#include <net/tcp.h>

#include "vpfront.h"
#include <vpipe/tcp_carry.h>

#define MAX_BUFFER	(64ULL << 20)

/* More bytes queued than any send buffer may have (SO_SNDBUF in net/core/sock.c). */
#define NO_ROOM		(INT_MAX / 2)

/*
 * Does somebody sleep inside a receive call?  He would find a closed socket when he wakes
 * for another reason than data (a signal, a time-out).
 */
static bool sock_has_reader(struct sock *sk)
{
	struct wait_queue_entry *entry;
	struct socket_wq *wq;
	bool reader = false;

	rcu_read_lock();
	wq = rcu_dereference(sk->sk_wq);
	spin_lock_irq(&wq->wait.lock);
	list_for_each_entry(entry, &wq->wait.head, entry)
		reader = reader || entry->func == woken_wake_function;
	spin_unlock_irq(&wq->wait.lock);
	rcu_read_unlock();
	return reader;
}

/* 0, or the enum vpipe_reason why it must stay.  Socket locked. */
static int sock_refuse(struct vpfront_sock *vs)
{
	struct socket *socket = vs->socket;
	struct sock *sk = vs->sk;
	struct tcp_sock *tp = tcp_sk(sk);

	if (sk->sk_state != TCP_ESTABLISHED && sk->sk_state != TCP_CLOSE_WAIT)
		return VPIPE_REASON_SOCKET_STATE;
	if (inet_csk(sk)->icsk_ulp_ops || !vpfront_guard_stands(socket) || sk_is_mptcp(sk) ||
	    READ_ONCE(sk->sk_user_data))
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
	if (sk->sk_write_pending || waitqueue_active(&sk->sk_lock.wq) || sock_has_reader(sk))
		return VPIPE_REASON_BUSY;
	if (vs->source && tp->rcv_nxt - tp->copied_seq > XEN_VPIPE_MAX_UNREAD)
		return VPIPE_REASON_BUSY;
	/* Pages of MSG_ZEROCOPY belong to a program that waits for its completion. */
	if (sock_flag(sk, SOCK_ZEROCOPY) && atomic_read(&sk->sk_zckey))
		return VPIPE_REASON_SOCKET_STATE;
	return 0;
}

/* Does somebody sleep for the socket, or want a signal? */
bool vpfront_sock_awaited(struct vpfront_sock *vs)
{
	struct socket_wq *wq;
	bool awaited;

	rcu_read_lock();
	wq = rcu_dereference(vs->sk->sk_wq);
	awaited = wq && (wq_has_sleeper(&wq->wait) || wq->fasync_list);
	rcu_read_unlock();
	return awaited;
}

/* The same, for room to send: then nothing that the peer sends would wake him. */
bool vpfront_sock_awaits_room(struct vpfront_sock *vs)
{
	struct socket *socket = READ_ONCE(vs->sk->sk_socket);

	return socket && test_bit(SOCK_NOSPACE, &socket->flags) && vpfront_sock_awaited(vs);
}

/* Whoever sleeps in the socket, or polls it, should look again. */
static void sock_wake(struct sock *sk)
{
	sk->sk_state_change(sk);
	sk->sk_data_ready(sk);
	sk->sk_write_space(sk);
}

void vpfront_sock_init(struct vpfront_sock *vs, struct socket *socket, bool source)
{
	vs->socket = socket;
	vs->sk = socket->sk;
	vs->source = source;
	skb_queue_head_init(&vs->strays);
	__skb_queue_head_init(&vs->foreign);
}

/* 0, or an enum vpipe_reason; then the socket is as it was.  May sleep. */
int vpfront_sock_freeze(struct vpfront_sock *vs)
{
	struct xen_vpipe_tcp_state *st = &vs->state;
	struct sock *sk = vs->sk;
	int ret;

	memset(st, 0, sizeof(*st));
	lock_sock(sk);
	if (!vpfront_guard_set(vs->socket)) {
		release_sock(sk);
		return VPIPE_REASON_SOCKET_TYPE;
	}
	/*
	 * Whoever has read the old ops comes for the lock now: let them finish on the
	 * live socket, also the frames in the backlog, before it turns into a shell.
	 */
	release_sock(sk);
	cond_resched();
	lock_sock(sk);
	ret = sock_refuse(vs) ?: vpfront_route_find(sk, st) ?: vpfront_conntrack_leave(sk, st);
	if (ret) {
		vpfront_guard_clear(vs->socket);
		sock_wake(sk);
		goto out;
	}
	/* What comes from now on is kept; what came before is in the backlog. */
	vpfront_strays_begin(vs);
	release_sock(sk);
	lock_sock(sk);
	ret = sock_refuse(vs);
	if (ret) {		/* it may have been the end of the connection */
		vpfront_guard_clear(vs->socket);
		sock_wake(sk);
		release_sock(sk);
		vpfront_strays_end(vs);
		return ret;
	}

	vpipe_tcp_ack_now(sk);
	vpipe_tcp_stop_timers(sk);
	vs->tcp_state = sk->sk_state;
	vpipe_tcp_snapshot(sk, st);
	vpipe_tcp_snapshot_settings(sk, st);
	vpipe_tcp_snapshot_labels(sk, st);
	vs->unread = st->rcv_nxt - tcp_sk(sk)->copied_seq;
	st->unread = vs->unread;
	st->state = XEN_VPIPE_TCP_ESTABLISHED;
	if (sk->sk_state == TCP_CLOSE_WAIT) {
		st->state = XEN_VPIPE_TCP_CLOSE_WAIT;
		st->rcv_nxt--;			/* the FIN is not data */
		if (vs->unread)
			vs->unread--;
		if (after(st->rcv_wup, st->rcv_nxt))
			st->rcv_wup = st->rcv_nxt;
	}
	vpfront_strays_carry(vs);
	WRITE_ONCE(sk->sk_state, TCP_CLOSE);
	vs->frozen = true;
out:
	release_sock(sk);
	return ret;
}

/* Bytes [offset, offset + len) of a frozen socket's send queue, from snd_una on. */
u32 vpfront_sock_copy_queue(struct vpfront_sock *vs, u32 offset, void *to, u32 len)
{
	u32 n;

	lock_sock(vs->sk);
	n = vpipe_tcp_copy_queue(vs->sk, vs->state.snd_una, offset, to, len);
	release_sock(vs->sk);
	return n;
}

/* Bytes [offset, offset + len) of what a frozen socket has received and not read. */
u32 vpfront_sock_copy_unread(struct vpfront_sock *vs, u32 offset, void *to, u32 len)
{
	struct sock *sk = vs->sk;
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
		vpipe_tcp_copy_skb(skb, skip, &offset, &at, &left);
	}
	release_sock(sk);
	return len - left;
}

/* The timers that a live connection has. */
static void sock_start_timers(struct sock *sk)
{
	struct tcp_sock *tp = tcp_sk(sk);

	if (tp->packets_out || tcp_send_head(sk))
		inet_csk_reset_xmit_timer(sk, tp->packets_out ? ICSK_TIME_RETRANS :
								ICSK_TIME_PROBE0,
					  inet_csk(sk)->icsk_rto, TCP_RTO_MAX);
	if (sock_flag(sk, SOCK_KEEPOPEN))
		inet_csk_reset_keepalive_timer(sk, keepalive_time_when(tp));
}

/* The backend did not take it: go on as if nothing had happened. */
void vpfront_sock_unfreeze(struct vpfront_sock *vs)
{
	struct sock *sk = vs->sk;

	lock_sock(sk);
	WRITE_ONCE(sk->sk_state, vs->tcp_state);
	vpfront_guard_clear(vs->socket);
	vs->frozen = false;
	vpipe_tcp_ack_now(sk);
	sock_start_timers(sk);
	sock_wake(sk);
	release_sock(sk);
	vpfront_strays_end(vs);
}

/* No frame that passed strays.c before the freeze is on its way here any more. */
static void sock_show_work(struct work_struct *work)
{
	struct vpfront_sock *vs = container_of(to_rcu_work(work), struct vpfront_sock, show);
	struct sock *sk = vs->sk;

	lock_sock(sk);
	if (vs->frozen && !vs->thawing) {
		/* Who has read the old ops, and sends only now, finds no room, and waits. */
		WRITE_ONCE(sk->sk_wmem_queued, sk->sk_wmem_queued + NO_ROOM);
		WRITE_ONCE(sk->sk_state, vs->tcp_state);
		vs->shown = true;
	}
	release_sock(sk);
	sock_put(sk);
	vpfront_flow_put(container_of(vs, struct vpfront_flow, sock));
}

/* The backend has all of it: what was to be sent, it will send. */
void vpfront_sock_left(struct vpfront_sock *vs)
{
	lock_sock(vs->sk);
	vpipe_tcp_purge_queue(vs->sk);
	release_sock(vs->sk);
	INIT_RCU_WORK(&vs->show, sock_show_work);
	kref_get(&container_of(vs, struct vpfront_flow, sock)->ref);
	sock_hold(vs->sk);
	vpfront_flow_queue_rcu(&vs->show);
}

/*
 * The shell is to be a socket again.  False: somebody has ended it meanwhile, as ss -K
 * does.  Socket locked.
 */
static bool sock_hide(struct vpfront_sock *vs)
{
	struct sock *sk = vs->sk;

	if (vs->thawing)
		return !vs->ended;
	vs->thawing = true;
	vs->ended = vs->shown && sk->sk_state == TCP_CLOSE;
	if (vs->shown)
		WRITE_ONCE(sk->sk_wmem_queued, sk->sk_wmem_queued - NO_ROOM);
	if (!vs->ended)
		WRITE_ONCE(sk->sk_state, TCP_CLOSE);
	return !vs->ended;
}

/*
 * No descriptor is left of the socket, but the connection is away: `carrier` takes its
 * place.  False: it is back.
 */
bool vpfront_sock_carry(struct vpfront_sock *vs, struct socket *carrier)
{
	struct socket *socket = vs->socket;
	struct sock *sk = vs->sk;
	bool away;

	lock_sock(sk);
	away = vs->frozen;
	if (away) {
		carrier->state = socket->state;
		WRITE_ONCE(carrier->ops, READ_ONCE(socket->ops));
		__module_get(carrier->ops->owner);	/* until it is released */
		sock_graft(sk, carrier);
		socket->sk = NULL;
		/* Whoever wanted to linger did so; the carrier's end shall not wait. */
		if (sk->sk_lingertime)
			sock_reset_flag(sk, SOCK_LINGER);
		vs->socket = carrier;
		WRITE_ONCE(vs->carrier, carrier);
	}
	release_sock(sk);
	return away;
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
 * The connection comes back: everything but the queues.  From here to thaw_end only
 * thaw_data may follow; the socket still takes no frames.  -ECONNABORTED: nobody wants it.
 */
int vpfront_sock_thaw_begin(struct vpfront_sock *vs, const struct xen_vpipe_tcp_state *st)
{
	struct sock *sk = vs->sk;
	struct inet_connection_sock *icsk = inet_csk(sk);
	struct tcp_sock *tp = tcp_sk(sk);
	u32 snd = st->snd_una;

	lock_sock(sk);
	if (!sock_hide(vs)) {
		release_sock(sk);
		return -ECONNABORTED;
	}
	vpipe_tcp_purge_queue(sk);
	sock_purge_out_of_order(sk);
	if (vs->source)
		sock_drop_unread(sk, st->rcv_nxt - st->unread);
	vs->bytes_received = tp->bytes_received + st->bytes_received;

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
	vpipe_tcp_add_counters(sk, st);
	vpipe_tcp_apply(sk, st);
	vpipe_tcp_keep_label(sk, st);
	release_sock(sk);
	return 0;
}

/* Buffers have grown with the connection, as they do, but in dom0. */
static void sock_make_room(struct sock *sk, const struct xen_vpipe_tcp_state *st)
{
	struct tcp_sock *tp = tcp_sk(sk);
	u32 most = READ_ONCE(sock_net(sk)->ipv4.sysctl_tcp_rmem[2]);

	tp->rcvq_space.space = max_t(u32, tp->rcvq_space.space, min(st->rcv_per_rtt, most));
	if (!(sk->sk_userlocks & SOCK_RCVBUF_LOCK)) {
		WRITE_ONCE(sk->sk_rcvbuf, vpipe_tcp_rcvbuf_earned(sk));
		vpipe_tcp_keep_promise(sk, MAX_BUFFER);
	}
	if (!(sk->sk_userlocks & SOCK_SNDBUF_LOCK) &&
	    (int)min_t(u64, st->sndbuf, MAX_BUFFER) > sk->sk_sndbuf)
		WRITE_ONCE(sk->sk_sndbuf, min_t(u64, st->sndbuf, MAX_BUFFER));
}

/*
 * All that was received is there.  Once, and before anything is sent, which may promise the
 * peer more.
 */
static void sock_set_window(struct vpfront_sock *vs, const struct xen_vpipe_tcp_state *st)
{
	struct tcp_sock *tp = tcp_sk(vs->sk);

	tp->rcv_wnd = st->rcv_wnd;
	tp->rcv_wup = st->rcv_wup;
	tp->rcv_ssthresh = max(tp->rcv_ssthresh, min(st->rcv_wnd, tp->window_clamp));
	tp->rcv_rtt_est.seq = tp->rcv_nxt;
	tp->rcv_rtt_est.time = 0;
	tp->rcvq_space.seq = tp->copied_seq;
	tp->compressed_ack_rcv_nxt = tp->rcv_nxt;
	sock_make_room(vs->sk, st);
}

/* Those of the bytes at `offset` that are of one kind; how many, or an error. */
static int sock_put_bytes(struct vpfront_sock *vs, const struct xen_vpipe_tcp_state *st,
			  u32 offset, struct iov_iter *from)
{
	u32 sent = st->unread + st->snd_nxt - st->snd_una;
	struct tcp_sock *tp = tcp_sk(vs->sk);
	u32 len = iov_iter_count(from);
	int ret;

	if (offset < st->unread) {
		len = min(len, st->unread - offset);
		return vpipe_tcp_append_received(vs->sk, from, len) ?: len;
	}
	if (offset == st->unread)
		sock_set_window(vs, st);
	if (offset >= sent)
		return vpipe_tcp_append(vs->sk, from, len, 0) ?: len;
	len = min(len, sent - offset);
	ret = vpipe_tcp_append_sent(vs->sk, from, len);
	if (ret || offset + len < sent)
		return ret ?: len;
	vpipe_tcp_age_queue(vs->sk, st);
	return tp->snd_nxt == st->snd_nxt ? len : -EPROTO;
}

/*
 * The next bytes, in order: those that the peer sent meanwhile to the end of the receive
 * queue, then those that it has not acknowledged, which are the send queue.
 */
int vpfront_sock_thaw_data(struct vpfront_sock *vs, const struct xen_vpipe_tcp_state *st,
			   u32 offset, struct iov_iter *from)
{
	struct sock *sk = vs->sk;
	int ret = 0;

	lock_sock(sk);
	WRITE_ONCE(sk->sk_state, vs->tcp_state);
	while (iov_iter_count(from) && ret >= 0) {
		ret = sock_put_bytes(vs, st, offset, from);
		offset += max(ret, 0);
	}
	WRITE_ONCE(sk->sk_state, TCP_CLOSE);
	release_sock(sk);
	return min(ret, 0);
}

static void sock_fin_received(struct sock *sk)
{
	struct tcp_sock *tp = tcp_sk(sk);

	WRITE_ONCE(tp->rcv_nxt, tp->rcv_nxt + 1);
	WRITE_ONCE(sk->sk_shutdown, sk->sk_shutdown | RCV_SHUTDOWN);
	sock_set_flag(sk, SOCK_DONE);
	tcp_set_state(sk, TCP_CLOSE_WAIT);
}

/* The program has closed it, and dom0 has sent the FIN.  Socket locked. */
static void sock_finished(struct sock *sk, u16 state)
{
	WRITE_ONCE(sk->sk_shutdown, SHUTDOWN_MASK);
	if (state == XEN_VPIPE_TCP_FIN_WAIT2) {
		tcp_set_state(sk, TCP_FIN_WAIT2);
		return;
	}
	if (sk->sk_state == TCP_ESTABLISHED || !sock_flag(sk, SOCK_DONE))
		WRITE_ONCE(tcp_sk(sk)->rcv_nxt, tcp_sk(sk)->rcv_nxt + 1);
	if (state == XEN_VPIPE_TCP_TIME_WAIT)
		tcp_time_wait(sk, TCP_TIME_WAIT, 0);
	else
		tcp_done(sk);
}

/* Has its program read all that there was?  (Or it has been moved.)  Any time. */
bool vpfront_sock_all_read(struct vpfront_sock *vs, u32 taken)
{
	return vs->source ? taken >= vs->unread : skb_queue_empty(&vs->sk->sk_receive_queue);
}

/*
 * The program has closed it: the FIN, of which the peer may know by dom0, before a frame of
 * the peer's comes.  Its acknowledgement has to fit.  Socket locked.
 */
static void sock_finish(struct sock *sk, u16 state)
{
	struct tcp_sock *tp = tcp_sk(sk);

	tcp_snd_cwnd_set(tp, max(tcp_snd_cwnd(tp), tp->packets_out + 1));
	WRITE_ONCE(sk->sk_shutdown, SHUTDOWN_MASK);
	sk->sk_prot->shutdown(sk, SEND_SHUTDOWN);
	if (state == XEN_VPIPE_TCP_CLOSING)
		tcp_set_state(sk, TCP_CLOSING);
}

/* All data is there: live again.  `finish`: a FIN goes behind it. */
void vpfront_sock_thaw_end(struct vpfront_sock *vs, const struct xen_vpipe_tcp_state *st,
			   bool finish)
{
	struct sock *sk = vs->sk;
	struct tcp_sock *tp = tcp_sk(sk);

	lock_sock(sk);
	WRITE_ONCE(sk->sk_state, vs->tcp_state);
	vpfront_guard_clear(vs->socket);
	vs->frozen = false;
	tp->bytes_received = vs->bytes_received;	/* bytes that came back are no new ones */
	if (st->write_seq == st->snd_una)
		sock_set_window(vs, st);

	if (st->state == XEN_VPIPE_TCP_CLOSED) {
		vpfront_conntrack_closed(sk, &vs->state);
		WRITE_ONCE(sk->sk_err, st->error ?: ECONNRESET);
		tcp_done(sk);
		sk_error_report(sk);
	} else if (!vpipe_tcp_lives(st->state)) {
		vpfront_conntrack_closed(sk, &vs->state);
		sock_finished(sk, st->state);
	} else {
		if (st->state == XEN_VPIPE_TCP_CLOSE_WAIT && sk->sk_state == TCP_ESTABLISHED)
			sock_fin_received(sk);
		else if (st->state == XEN_VPIPE_TCP_CLOSING ||
			 (vs->source && sk->sk_state == TCP_CLOSE_WAIT))
			WRITE_ONCE(tp->rcv_nxt, tp->rcv_nxt + 1);
		if (st->state == XEN_VPIPE_TCP_CLOSING)
			sock_set_flag(sk, SOCK_DONE);
		vpipe_tcp_ack_now(sk);
		sock_start_timers(sk);
		if (finish)
			sock_finish(sk, st->state);
	}
	sock_wake(sk);
	release_sock(sk);
	vpfront_strays_end(vs);
}

/* The connection's state is lost with the backend: the program must be told. */
void vpfront_sock_abort(struct vpfront_sock *vs, int error)
{
	struct sock *sk = vs->sk;
	bool alive;

	lock_sock(sk);
	vpipe_tcp_purge_queue(sk);
	if (vs->source)		/* how much of it has been moved is not known */
		sock_drop_unread(sk, tcp_sk(sk)->rcv_nxt);
	alive = sock_hide(vs);
	vpfront_guard_clear(vs->socket);
	vs->frozen = false;
	vpfront_conntrack_closed(sk, &vs->state);
	if (alive) {
		WRITE_ONCE(sk->sk_state, vs->tcp_state);
		WRITE_ONCE(sk->sk_err, error);
		tcp_done(sk);
		sk_error_report(sk);
	}
	sock_wake(sk);
	release_sock(sk);
	vpfront_strays_end(vs);
}
