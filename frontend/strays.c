// SPDX-License-Identifier: GPL-2.0
/*
 * strays.c: frames that this kernel receives for a connection that has left.  They were
 * on their way when the driver domain began to hold the others, and go back to it, by
 * the vif, as they came; the driver domain knows them by their addresses.  Those that
 * come before it has the connection wait here.
 *
 * Last of all comes a marker, a segment without any flag.  It too goes back, and tells
 * that it is the last, and that nothing of this connection is waiting to be sent here
 * either: it takes the same queues as what the socket has sent, because it is given
 * the same hash.
 *
 * What comes by another vif than the one by which the connection leaves the driver domain
 * cannot hold, nor does it know what to do with it: the connection comes home.
 *
 * A hook before conntrack, in each network namespace.  It costs others one comparison
 * as long as no connection is away.
 */
#include <linux/etherdevice.h>
#include <linux/hashtable.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/jhash.h>
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>
#include <linux/netfilter_ipv6.h>
#include <linux/tcp.h>
#include <net/net_namespace.h>
#include <net/tcp.h>

#include "vpfront.h"
#include <vpipe/tcp_frames.h>

#define STRAYS_HASH_BITS	8
#define MAX_STRAYS		1024	/* that wait for one connection */

/* Serialises writers of the table; readers use RCU. */
static DEFINE_SPINLOCK(strays_lock);
static DEFINE_HASHTABLE(strays_away, STRAYS_HASH_BITS);
static atomic_t strays_nr;

/* Whose frame is it?  Seen from here. */
struct strays_key {
	u16 family;
	const u8 *local, *peer;
	__be16 local_port, peer_port;
};

static u32 strays_hash(const struct strays_key *key)
{
	u32 len = key->family == 4 ? 4 : 16;

	return jhash(key->local, len, jhash(key->peer, len, (__force u32)key->local_port << 16 |
							    (__force u32)key->peer_port));
}

static void strays_key_of(const struct vpfront_sock *vs, struct strays_key *key)
{
	*key = (struct strays_key){
		.family = vs->state.family,
		.local = vs->state.local_addr, .peer = vs->state.peer_addr,
		.local_port = (__force __be16)vs->state.local_port,
		.peer_port = (__force __be16)vs->state.peer_port,
	};
}

/* Under rcu_read_lock. */
static struct vpfront_sock *strays_find(const struct net *net, const struct strays_key *key)
{
	u32 len = key->family == 4 ? 4 : 16;
	struct vpfront_sock *vs;
	struct strays_key own;

	hash_for_each_possible_rcu(strays_away, vs, stray_node, strays_hash(key)) {
		strays_key_of(vs, &own);
		if (own.family == key->family && own.local_port == key->local_port &&
		    own.peer_port == key->peer_port && !memcmp(own.local, key->local, len) &&
		    !memcmp(own.peer, key->peer, len) && vs->net == net)
			return vs;
	}
	return NULL;
}

/* The device by which it came, if that is still there.  Under rcu_read_lock. */
static bool strays_set_dev(struct vpfront_sock *vs, struct sk_buff *skb)
{
	struct net_device *dev = dev_get_by_index_rcu(vs->net, skb->skb_iif);

	skb->dev = dev;
	if (!dev)
		kfree_skb(skb);
	return dev;
}

/* Back to where it came from.  Under rcu_read_lock. */
static void strays_send(struct vpfront_sock *vs, struct sk_buff *skb)
{
	if (!strays_set_dev(vs, skb))
		return;
	skb_dst_drop(skb);
	nf_reset_ct(skb);
	skb_clear_tstamp(skb);
	skb->mark = 0;
	skb->priority = 0;
	skb_forward_csum(skb);
	skb_set_hash(skb, vs->txhash, PKT_HASH_TYPE_L4);
	__skb_push(skb, skb->data - skb_mac_header(skb));
	dev_queue_xmit(skb);
}

/* Those that waited, in order.  Under the lock of vs->strays. */
static void strays_flush(struct vpfront_sock *vs)
{
	struct sk_buff *skb;

	vs->strays_go = true;
	while ((skb = __skb_dequeue(&vs->strays)))
		strays_send(vs, skb);
}

/* The driver domain has the connection, and knows what to do with them. */
void vpfront_strays_go(struct vpfront_sock *vs)
{
	rcu_read_lock();
	spin_lock_bh(&vs->strays.lock);
	strays_flush(vs);
	spin_unlock_bh(&vs->strays.lock);
	rcu_read_unlock();
}

/* It has not, after all. */
void vpfront_strays_stay(struct vpfront_sock *vs)
{
	spin_lock_bh(&vs->strays.lock);
	vs->strays_go = false;
	spin_unlock_bh(&vs->strays.lock);
}

/* Under the lock of vs->strays. */
static void strays_keep(struct sk_buff_head *list, struct sk_buff *skb)
{
	if (skb_queue_len(list) < MAX_STRAYS)
		__skb_queue_tail(list, skb);
	else
		kfree_skb(skb);
}

static void strays_take(struct vpfront_sock *vs, struct sk_buff *skb, int ifindex, bool marker)
{
	spin_lock_bh(&vs->strays.lock);
	if (marker && !vs->strays_go)
		strays_flush(vs);
	if (vs->strays_over) {
		netif_rx(skb);
	} else if (ifindex != vs->ifindex) {
		strays_keep(&vs->foreign, skb);
		if (!vs->astray) {
			WRITE_ONCE(vs->astray, true);
			vpfront_flow_astray(vs);
		}
	} else if (vs->strays_go) {
		strays_send(vs, skb);
	} else {
		strays_keep(&vs->strays, skb);
	}
	spin_unlock_bh(&vs->strays.lock);
}

static unsigned int strays_look(struct sk_buff *skb, const struct nf_hook_state *state,
				struct strays_key *key, unsigned int offset)
{
	struct tcphdr _tcp, *tcp = skb_header_pointer(skb, offset, sizeof(_tcp), &_tcp);
	unsigned int verdict = NF_ACCEPT;
	struct vpfront_sock *vs;
	bool marker;

	if (!tcp || !skb_mac_header_was_set(skb))
		return NF_ACCEPT;
	key->local_port = tcp->dest;
	key->peer_port = tcp->source;
	marker = !(tcp_flag_word(tcp) & (TCP_FLAG_ACK | TCP_FLAG_SYN | TCP_FLAG_RST));
	rcu_read_lock();
	vs = strays_find(state->net, key);
	if (vs) {
		verdict = NF_STOLEN;
		skb = skb_share_check(skb, GFP_ATOMIC);
		if (skb)
			strays_take(vs, skb, state->in->ifindex, marker);
	}
	rcu_read_unlock();
	return verdict;
}

static unsigned int strays_ipv4(void *priv, struct sk_buff *skb,
				const struct nf_hook_state *state)
{
	const struct iphdr *ip = ip_hdr(skb);
	struct strays_key key = {
		.family = 4, .local = (const u8 *)&ip->daddr, .peer = (const u8 *)&ip->saddr,
	};

	if (!atomic_read(&strays_nr) || ip->protocol != IPPROTO_TCP || ip_is_fragment(ip))
		return NF_ACCEPT;
	return strays_look(skb, state, &key, skb_network_offset(skb) + ip->ihl * 4);
}

static unsigned int strays_ipv6(void *priv, struct sk_buff *skb,
				const struct nf_hook_state *state)
{
	const struct ipv6hdr *ip = ipv6_hdr(skb);
	struct strays_key key = {
		.family = 6, .local = (const u8 *)&ip->daddr, .peer = (const u8 *)&ip->saddr,
	};

	if (!atomic_read(&strays_nr) || ip->nexthdr != IPPROTO_TCP)
		return NF_ACCEPT;
	return strays_look(skb, state, &key, skb_network_offset(skb) + sizeof(*ip));
}

/* The addresses are in vs->state.  From here on its frames are kept.  Socket locked. */
void vpfront_strays_begin(struct vpfront_sock *vs)
{
	struct dst_entry *dst = __sk_dst_get(vs->sk);
	struct strays_key key;

	vs->ifindex = dst ? dst->dev->ifindex : 0;
	sock_hold(vs->sk);	/* until _end: the program may close it before */
	vs->net = sock_net(vs->sk);
	vs->txhash = READ_ONCE(vs->sk->sk_txhash);
	strays_key_of(vs, &key);
	spin_lock_bh(&strays_lock);
	hash_add_rcu(strays_away, &vs->stray_node, strays_hash(&key));
	spin_unlock_bh(&strays_lock);
	atomic_inc(&strays_nr);
}

/*
 * The socket is frozen: what its state does not say goes as frames, before those that
 * came since.  Socket locked.
 */
void vpfront_strays_carry(struct vpfront_sock *vs)
{
	struct dst_entry *dst = __sk_dst_get(vs->sk);
	struct sk_buff_head frames;

	if (!dst)
		return;
	__skb_queue_head_init(&frames);
	vpipe_tcp_frames_sacked(vs->sk, &vs->state, dst->dev->dev_addr, dst->dev, &frames);
	vpipe_tcp_frames_received(vs->sk, &vs->state, dst->dev->dev_addr, dst->dev, &frames);
	spin_lock_bh(&vs->strays.lock);
	skb_queue_splice(&frames, &vs->strays);
	spin_unlock_bh(&vs->strays.lock);
}

/*
 * The socket is live.  Those that still wait are received, as if they came now; vs lives
 * for a grace period more.
 */
void vpfront_strays_end(struct vpfront_sock *vs)
{
	struct sk_buff *skb;

	atomic_dec(&strays_nr);
	spin_lock_bh(&strays_lock);
	hash_del_rcu(&vs->stray_node);
	spin_unlock_bh(&strays_lock);
	rcu_read_lock();
	spin_lock_bh(&vs->strays.lock);
	vs->strays_over = true;		/* for whoever has found it just before */
	while ((skb = __skb_dequeue(&vs->strays)) || (skb = __skb_dequeue(&vs->foreign)))
		if (strays_set_dev(vs, skb))
			netif_rx(skb);
	spin_unlock_bh(&vs->strays.lock);
	rcu_read_unlock();
	sock_put(vs->sk);
}

static const struct nf_hook_ops strays_hooks[] = {
	{
		.hook = strays_ipv4, .pf = NFPROTO_IPV4,
		.hooknum = NF_INET_PRE_ROUTING, .priority = NF_IP_PRI_FIRST,
	}, {
		.hook = strays_ipv6, .pf = NFPROTO_IPV6,
		.hooknum = NF_INET_PRE_ROUTING, .priority = NF_IP6_PRI_FIRST,
	},
};

static int __net_init strays_net_init(struct net *net)
{
	return nf_register_net_hooks(net, strays_hooks, ARRAY_SIZE(strays_hooks));
}

static void __net_exit strays_net_exit(struct net *net)
{
	nf_unregister_net_hooks(net, strays_hooks, ARRAY_SIZE(strays_hooks));
}

static struct pernet_operations strays_net_ops = {
	.init = strays_net_init,
	.exit = strays_net_exit,
};

int vpfront_strays_init(void)
{
	return register_pernet_subsys(&strays_net_ops);
}

void vpfront_strays_exit(void)
{
	unregister_pernet_subsys(&strays_net_ops);
}
