// SPDX-License-Identifier: GPL-2.0
/*
 * hold.c: the frames of a flow while it is between its two homes.
 *
 *   ATTACH      what comes from the peer is held; a marker goes to the guest
 *   ...         what the guest still receives for the frozen socket comes back from it
 *               ("strays"), last of all the marker: then the guest has nothing more of
 *               the flow, neither received nor to be sent
 *   live        strays, then what was held, then what comes: to the shadow.  What the
 *               shadow sends waits for the marker as well, so that it does not overtake
 *               what the guest had sent
 *   freeze      what comes is held again; also before, when both sides have closed
 *   RELEASE     what was held, then what comes: to the guest
 *
 * Nobody waits longer than XEN_VPIPE_HOLD_MS for a marker: then order is not certain any
 * more, as in any network.  How much is held is bounded for each domain, in frames, bytes
 * and time; beyond that frames are lost, as in any network.
 *
 * What is held may be held long, by a guest that wants so: it keeps no page of another
 * domain's, and points at no device that could go.
 */
#include <linux/netfilter.h>
#include <linux/random.h>

#include "trace.h"
#include <vpipe/tcp_frames.h>

/* After so many times that more had come meanwhile, no more may come meanwhile. */
#define RELEASE_ROUNDS	16

#define MAX_HELD_BYTES	(16 << 20)	/* of a domain, as the kernel counts memory */
#define MAX_HOLD_MS	5000		/* from the beginning of a hand-over or return */

static void hold_timer(struct timer_list *timer)
{
	vpback_hold_drained(container_of(timer, struct vpback_flow, hold_timer));
}

/* Before the flow is in the table: from there on its frames are held. */
void vpback_hold_init(struct vpback_flow *flow)
{
	spin_lock_init(&flow->frames_lock);
	__skb_queue_head_init(&flow->strays);
	__skb_queue_head_init(&flow->held);
	__skb_queue_head_init(&flow->gated);
	timer_setup(&flow->hold_timer, hold_timer, 0);
	flow->frames = VPBACK_FRAMES_HELD;
	flow->marker = get_random_u64();
	flow->moves_since = ktime_get();
}

/* Keep a frame for later, if there is room.  Under frames_lock. */
static void hold_keep(struct vpback_flow *flow, struct sk_buff_head *list, struct sk_buff *skb)
{
	struct vpback_device *dev = flow->dev;

	if (skb_orphan_frags_rx(skb, GFP_ATOMIC) ||
	    ktime_ms_delta(ktime_get(), flow->moves_since) > MAX_HOLD_MS ||
	    (unsigned int)atomic_read(&dev->frames_held) >= vpback_held_limit(dev) ||
	    atomic_read(&dev->bytes_held) >= MAX_HELD_BYTES) {
		vpback_stat_add(dev, VPBACK_STAT_FRAMES_DROPPED, 1);
		kfree_skb(skb);
		return;
	}
	atomic_inc(&dev->frames_held);
	atomic_add(skb->truesize, &dev->bytes_held);
	if (list != &flow->gated)
		skb_scrub_packet(skb, true);
	skb->dev = flow->link->netdev;
	vpback_stat_add(dev, list == &flow->strays ? VPBACK_STAT_FRAMES_STRAY :
						     VPBACK_STAT_FRAMES_HELD, 1);
	__skb_queue_tail(list, skb);
}

/* Under frames_lock. */
static struct sk_buff *hold_take(struct vpback_flow *flow, struct sk_buff_head *list)
{
	struct sk_buff *skb = __skb_dequeue(list);

	if (skb) {
		atomic_dec(&flow->dev->frames_held);
		atomic_sub(skb->truesize, &flow->dev->bytes_held);
	}
	return skb;
}

/* Whatever nothing has to wait for any more.  Under frames_lock. */
static void hold_open(struct vpback_flow *flow)
{
	struct net_device *vif;
	struct sk_buff *skb;

	if (!flow->drained)
		return;
	rcu_read_lock();
	vif = rcu_dereference(flow->link->vif);
	while ((skb = hold_take(flow, &flow->gated))) {
		skb->dev = vif;
		if (vif)
			vpback_netdev_send(flow->link, skb);
		else
			kfree_skb(skb);
	}
	rcu_read_unlock();
	if (!flow->live || flow->frames != VPBACK_FRAMES_HELD || flow->home)
		return;
	while ((skb = hold_take(flow, &flow->strays)) || (skb = hold_take(flow, &flow->held)))
		vpback_netdev_receive(flow->link, skb);
	flow->frames = VPBACK_FRAMES_OURS;
	vpback_stat_time(flow->dev, VPBACK_STAT_ATTACH_US, flow->moves_since);
	trace_vpback_hand_over(flow, false, ktime_us_delta(ktime_get(), flow->moves_since));
}

/* The guest has nothing more of the flow, or it takes too long to say so. */
void vpback_hold_drained(struct vpback_flow *flow)
{
	spin_lock_bh(&flow->frames_lock);
	/* Only once: the flow's end makes it so, and after that there may be no scheduler. */
	if (!flow->drained) {
		flow->drained = true;
		hold_open(flow);
		vpback_flow_kick_all(flow);
	}
	spin_unlock_bh(&flow->frames_lock);
}

/* The shadow knows all that had been sent: it can receive. */
void vpback_hold_live(struct vpback_flow *flow)
{
	spin_lock_bh(&flow->frames_lock);
	flow->live = true;
	hold_open(flow);
	spin_unlock_bh(&flow->frames_lock);
}

/*
 * The connection has ended as it should.  What the peer repeats is for the guest, which may
 * have a TIME_WAIT soon; where the shadow was nobody is, who would be answered by a RST.
 * Any context.
 */
void vpback_hold_over(struct vpback_flow *flow)
{
	spin_lock_bh(&flow->frames_lock);
	if (flow->frames == VPBACK_FRAMES_OURS) {
		flow->frames = VPBACK_FRAMES_HELD;
		flow->moves_since = ktime_get();
	}
	flow->over = true;
	spin_unlock_bh(&flow->frames_lock);
}

/* Wait for a frame's turn, then to the vif: what a shadow has sent.  Softirq. */
void vpback_hold_outbound(struct vpback_flow *flow, struct sk_buff *skb)
{
	spin_lock_bh(&flow->frames_lock);
	if (flow->over)
		kfree_skb(skb);
	else if (flow->drained)
		vpback_netdev_send(flow->link, skb);
	else
		hold_keep(flow, &flow->gated, skb);
	spin_unlock_bh(&flow->frames_lock);
}

/* Past our own hook, to the guest. */
static void hold_to_guest(struct vpback_link *link, struct sk_buff *skb)
{
	struct net_device *vif;

	rcu_read_lock();
	vif = rcu_dereference(link->vif);
	if (vif) {
		skb->dev = vif;
		skb->mark = VPBACK_STEER_MARK;
		dev_queue_xmit(skb);
	} else {
		kfree_skb(skb);
	}
	rcu_read_unlock();
}

static void hold_send_marker(struct vpback_flow *flow, gfp_t gfp)
{
	struct sk_buff *skb = vpipe_tcp_frame_marker(&flow->state, flow->link->mac, flow->marker,
						     gfp);

	if (!skb)
		return;		/* the timer will do */
	__skb_push(skb, ETH_HLEN);
	hold_to_guest(flow->link, skb);
}

/*
 * Frames of one flow label stay in order in the guest, which receives several at a time (GRO)
 * and by several queues; others may overtake them.  So the marker has to have that of the
 * peer's: if the first frame that is held tells that it has not, another one follows.  Under
 * frames_lock.
 */
static void hold_learn_label(struct vpback_flow *flow, const struct sk_buff *skb)
{
	__be32 _word, *word;
	u32 label;

	if (flow->state.family != 6)
		return;
	word = skb_header_pointer(skb, skb_network_offset(skb), sizeof(_word), &_word);
	if (!word)
		return;
	label = ntohl(*word & IPV6_FLOWLABEL_MASK);
	if (label == flow->state.peer_flow_label)
		return;
	flow->state.peer_flow_label = label;
	if (flow->drained || flow->marked_again)
		return;
	flow->marked_again = true;
	WRITE_ONCE(flow->marker, get_random_u64());
	hold_send_marker(flow, GFP_ATOMIC);
}

/* A frame of the peer's: a netfilter verdict.  Softirq. */
unsigned int vpback_hold_inbound(struct vpback_flow *flow, struct sk_buff *skb)
{
	unsigned int verdict = NF_STOLEN;

	spin_lock_bh(&flow->frames_lock);
	if (flow->frames == VPBACK_FRAMES_GUEST) {
		verdict = NF_ACCEPT;
		goto out;
	}
	skb = skb_share_check(skb, GFP_ATOMIC);
	if (!skb)
		goto out;
	skb_dst_drop(skb);
	skb_orphan(skb);
	hold_learn_label(flow, skb);
	if (flow->frames == VPBACK_FRAMES_OURS)
		vpback_netdev_receive(flow->link, skb);
	else
		hold_keep(flow, &flow->held, skb);
out:
	spin_unlock_bh(&flow->frames_lock);
	return verdict;
}

/* A frame about the flow, by somebody else, that the guest gets as well.  Softirq. */
void vpback_hold_overhear(struct vpback_flow *flow, struct sk_buff *skb)
{
	spin_lock_bh(&flow->frames_lock);
	if (flow->frames == VPBACK_FRAMES_OURS) {
		skb = skb_clone(skb, GFP_ATOMIC);
		if (skb)
			vpback_netdev_receive(flow->link, skb);
	}
	spin_unlock_bh(&flow->frames_lock);
}

/*
 * A frame of the peer's that comes back from the guest, with its network header in front;
 * or the marker.  Softirq.
 */
void vpback_hold_stray(struct vpback_flow *flow, struct sk_buff *skb, const struct tcphdr *tcp)
{
	u64 mark = (u64)ntohl(tcp->seq) << 32 | ntohl(tcp->ack_seq);

	if (mark == READ_ONCE(flow->marker) &&
	    !(tcp_flag_word(tcp) & (TCP_FLAG_ACK | TCP_FLAG_SYN))) {
		kfree_skb(skb);
		vpback_hold_drained(flow);
		return;
	}
	skb = skb_share_check(skb, GFP_ATOMIC);
	if (!skb)
		return;
	skb_orphan(skb);
	__skb_push(skb, skb->data - skb_mac_header(skb));
	spin_lock_bh(&flow->frames_lock);
	if (flow->frames == VPBACK_FRAMES_OURS)
		vpback_netdev_receive(flow->link, skb);
	else if (flow->frames == VPBACK_FRAMES_HELD)
		hold_keep(flow, &flow->strays, skb);
	else
		kfree_skb(skb);
	spin_unlock_bh(&flow->frames_lock);
}

/*
 * Send the marker after the frames that the guest has got: as if from the peer, but
 * without any flag, so that TCP ignores it wherever it ends.
 */
void vpback_hold_mark(struct vpback_flow *flow)
{
	mod_timer(&flow->hold_timer, jiffies + msecs_to_jiffies(XEN_VPIPE_HOLD_MS));
	hold_send_marker(flow, GFP_KERNEL);
}

/*
 * The shadow is frozen: what its state does not say goes as frames, before those that were
 * held.  Its socket is locked.
 */
void vpback_hold_carry(struct vpback_flow *flow)
{
	struct sock *sk = flow->socket->sk;
	struct sk_buff_head frames;
	struct sk_buff *skb;

	__skb_queue_head_init(&frames);
	vpipe_tcp_frames_sacked(sk, &flow->state, flow->link->mac, NULL, &frames);
	vpipe_tcp_frames_received(sk, &flow->state, flow->link->mac, NULL, &frames);
	spin_lock_bh(&flow->frames_lock);
	while ((skb = __skb_dequeue(&frames))) {
		__skb_push(skb, ETH_HLEN);
		hold_keep(flow, &flow->strays, skb);
	}
	spin_unlock_bh(&flow->frames_lock);
}

/*
 * The shadow is about to be frozen: what comes is held, and what came before has been
 * received when this returns.  May sleep.
 */
void vpback_hold_again(struct vpback_flow *flow)
{
	spin_lock_bh(&flow->frames_lock);
	flow->moves_since = ktime_get();
	flow->frames = VPBACK_FRAMES_HELD;
	flow->home = true;
	spin_unlock_bh(&flow->frames_lock);
	vpback_netdev_flush(&flow->link->in);
}

/* Give all that is held to the guest, and what comes from now on.  May sleep. */
void vpback_hold_release(struct vpback_flow *flow)
{
	struct sk_buff_head list;
	struct sk_buff *skb;
	unsigned int round;

	__skb_queue_head_init(&list);
	for (round = 0; ; round++) {
		spin_lock_bh(&flow->frames_lock);
		while ((skb = hold_take(flow, &flow->strays)) ||
		       (skb = hold_take(flow, &flow->held))) {
			if (round < RELEASE_ROUNDS)
				__skb_queue_tail(&list, skb);
			else
				hold_to_guest(flow->link, skb);
		}
		if (skb_queue_empty(&list))
			break;
		spin_unlock_bh(&flow->frames_lock);
		while ((skb = __skb_dequeue(&list)))
			hold_to_guest(flow->link, skb);
	}
	flow->frames = VPBACK_FRAMES_GUEST;
	if (flow->detached) {
		vpback_stat_time(flow->dev, VPBACK_STAT_RETURN_US, flow->moves_since);
		trace_vpback_hand_over(flow, true, ktime_us_delta(ktime_get(), flow->moves_since));
	}
	spin_unlock_bh(&flow->frames_lock);
}

/*
 * The flow ends.  What its shadow may still send goes out, what is held is the guest's,
 * unless nobody is there any more.  May sleep.
 */
void vpback_hold_end(struct vpback_flow *flow, bool guest_lives)
{
	struct sk_buff *skb;

	timer_delete_sync(&flow->hold_timer);
	vpback_hold_drained(flow);
	if (guest_lives)
		vpback_hold_release(flow);
	spin_lock_bh(&flow->frames_lock);
	flow->frames = VPBACK_FRAMES_GUEST;
	while ((skb = hold_take(flow, &flow->strays)) || (skb = hold_take(flow, &flow->held)))
		kfree_skb(skb);
	spin_unlock_bh(&flow->frames_lock);
}
