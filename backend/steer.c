// SPDX-License-Identifier: GPL-2.0
/*
 * steer.c: which frames belong to an offloaded flow.
 *
 * On the guest's vif, at the netdev hooks: what the host would send to the guest
 * for a flow (egress) goes to our netdev instead; what still comes from the guest
 * itself (ingress) is let through if it was sent before the hand-over, by sequence
 * number, and dropped otherwise.  Frames of a shadow socket are injected at the
 * same vif as if the guest had sent them, so the host's bridge, firewall and
 * anti-spoofing rules see nothing new; a mark tells them apart at the hook.
 */
#include <linux/etherdevice.h>
#include <linux/hash.h>
#include <linux/ip.h>
#include <linux/jhash.h>
#include <linux/netfilter_netdev.h>
#include <linux/rculist.h>
#include <linux/tcp.h>
#include <net/ipv6.h>
#include <net/net_namespace.h>
#include <net/tcp.h>

#include "vpback.h"

/*
 * What identifies a flow on the wire, seen from the guest; and its sequence.  Addresses
 * of IPv4 are those of ::ffff:0:0/96, which no frame of IPv6 can have.
 */
struct steer_key {
	struct in6_addr local, peer;
	__be16 local_port, peer_port;
	u32 seq_end;
};

#define STEER_KEY_BYTES	offsetof(struct steer_key, seq_end)

/* An address as the protocol has it. */
void vpback_steer_address(u16 family, const u8 *addr, struct in6_addr *to)
{
	__be32 ipv4;

	if (family == 6) {
		memcpy(to, addr, sizeof(*to));
		return;
	}
	memcpy(&ipv4, addr, sizeof(ipv4));
	ipv6_addr_set_v4mapped(ipv4, to);
}

/* Where TCP begins, and where it ends; 0: there is none. */
static unsigned int steer_parse_ipv4(struct sk_buff *skb, struct in6_addr *from,
				     struct in6_addr *to, unsigned int *end)
{
	unsigned int offset = skb_network_offset(skb);
	struct iphdr _ip, *ip;

	ip = skb_header_pointer(skb, offset, sizeof(_ip), &_ip);
	if (!ip || ip->version != 4 || ip->ihl < 5 || ip->protocol != IPPROTO_TCP ||
	    ip_is_fragment(ip))
		return 0;
	ipv6_addr_set_v4mapped(ip->saddr, from);
	ipv6_addr_set_v4mapped(ip->daddr, to);
	/* Ethernet may pad a short frame; a very long one has no length in its header. */
	*end = ip->tot_len ? offset + ntohs(ip->tot_len) : skb->len;
	return offset + ip->ihl * 4;
}

/* ... behind extension headers: that of a very long frame (RFC 2675), and a peer's. */
static unsigned int steer_parse_ipv6(struct sk_buff *skb, struct in6_addr *from,
				     struct in6_addr *to, unsigned int *end)
{
	unsigned int offset = skb_network_offset(skb);
	struct ipv6hdr _ip, *ip;
	__be16 fragment;
	u8 protocol;
	int tcp;

	ip = skb_header_pointer(skb, offset, sizeof(_ip), &_ip);
	if (!ip || ip->version != 6 || ipv6_addr_v4mapped(&ip->saddr) ||
	    ipv6_addr_v4mapped(&ip->daddr))
		return 0;
	protocol = ip->nexthdr;
	tcp = ipv6_skip_exthdr(skb, offset + sizeof(_ip), &protocol, &fragment);
	if (tcp < 0 || protocol != IPPROTO_TCP || fragment)
		return 0;
	*from = ip->saddr;
	*to = ip->daddr;
	*end = ip->payload_len ? offset + sizeof(_ip) + ntohs(ip->payload_len) : skb->len;
	return tcp;
}

/* Take the key out of a frame that goes to (or comes from) the guest. */
static bool steer_parse(struct sk_buff *skb, bool to_guest, struct steer_key *key)
{
	struct in6_addr *from = to_guest ? &key->peer : &key->local;
	struct in6_addr *to = to_guest ? &key->local : &key->peer;
	unsigned int tcp_offset = 0, end;
	struct tcphdr _tcp, *tcp;

	if (skb_vlan_tag_present(skb))
		return false;
	if (skb->protocol == htons(ETH_P_IP))
		tcp_offset = steer_parse_ipv4(skb, from, to, &end);
	else if (skb->protocol == htons(ETH_P_IPV6))
		tcp_offset = steer_parse_ipv6(skb, from, to, &end);
	if (!tcp_offset)
		return false;
	tcp = skb_header_pointer(skb, tcp_offset, sizeof(_tcp), &_tcp);
	if (!tcp)
		return false;
	key->local_port = to_guest ? tcp->dest : tcp->source;
	key->peer_port = to_guest ? tcp->source : tcp->dest;
	key->seq_end = ntohl(tcp->seq) + tcp->syn + tcp->fin;
	if (end > tcp_offset + tcp->doff * 4)
		key->seq_end += end - tcp_offset - tcp->doff * 4;
	return true;
}

static u32 steer_hash(const struct vpback_link *link, const struct steer_key *key)
{
	return hash_32(jhash2((const u32 *)key, STEER_KEY_BYTES / sizeof(u32), link->hash_seed),
		       VPBACK_HASH_BITS);
}

static void steer_flow_key(const struct vpback_flow *flow, struct steer_key *key)
{
	vpback_steer_address(flow->state.family, flow->state.local_addr, &key->local);
	vpback_steer_address(flow->state.family, flow->state.peer_addr, &key->peer);
	key->local_port = (__force __be16)flow->state.local_port;
	key->peer_port = (__force __be16)flow->state.peer_port;
}

/* Under rcu_read_lock, or with flows_lock. */
static struct vpback_flow *steer_lookup(struct vpback_link *link, const struct steer_key *key)
{
	struct vpback_flow *flow;
	struct steer_key own;

	hlist_for_each_entry_rcu(flow, &link->flows[steer_hash(link, key)], hash_node,
				 lockdep_is_held(&link->flows_lock)) {
		steer_flow_key(flow, &own);
		if (!memcmp(&own, key, STEER_KEY_BYTES))
			return flow;
	}
	return NULL;
}

/* The flow whose shadow socket sent this frame; nothing else may leave. */
struct vpback_flow *vpback_steer_find_outbound(struct vpback_link *link, struct sk_buff *skb)
{
	struct steer_key key;

	return steer_parse(skb, false, &key) ? steer_lookup(link, &key) : NULL;
}

/* From here on the flow's frames are ours.  -EADDRINUSE */
int vpback_steer_add(struct vpback_link *link, struct vpback_flow *flow)
{
	struct steer_key key;
	int ret = 0;

	steer_flow_key(flow, &key);
	flow->guest_limit = flow->state.snd_nxt;
	spin_lock_bh(&link->flows_lock);
	if (steer_lookup(link, &key))
		ret = -EADDRINUSE;
	else
		hlist_add_head_rcu(&flow->hash_node, &link->flows[steer_hash(link, &key)]);
	spin_unlock_bh(&link->flows_lock);
	flow->hashed = !ret;
	return ret;
}

/* From here on they are the guest's again.  The flow is freed after a grace period. */
void vpback_steer_del(struct vpback_flow *flow)
{
	if (!flow->hashed)
		return;
	spin_lock_bh(&flow->link->flows_lock);
	hlist_del_rcu(&flow->hash_node);
	spin_unlock_bh(&flow->link->flows_lock);
	flow->hashed = false;
}

static unsigned int steer_to_guest(void *priv, struct sk_buff *skb,
				   const struct nf_hook_state *state)
{
	struct vpback_link *link = priv;
	struct vpback_flow *flow;
	struct steer_key key;

	if (!steer_parse(skb, true, &key))
		return NF_ACCEPT;
	flow = steer_lookup(link, &key);
	if (!flow || !READ_ONCE(flow->live))
		return NF_ACCEPT;
	skb = skb_share_check(skb, GFP_ATOMIC);
	if (!skb)
		return NF_STOLEN;
	if (skb_queue_len_lockless(&link->in) >= VPBACK_MAX_FRAMES) {
		vpback_stat_add(link->dev, VPBACK_STAT_FRAMES_DROPPED, 1);
		kfree_skb(skb);
		return NF_STOLEN;
	}
	vpback_stat_add(link->dev, VPBACK_STAT_FRAMES_IN, 1);
	skb_queue_tail(&link->in, skb);
	napi_schedule(&link->in_napi);
	return NF_STOLEN;
}

static unsigned int steer_from_guest(void *priv, struct sk_buff *skb,
				     const struct nf_hook_state *state)
{
	struct vpback_link *link = priv;
	struct vpback_flow *flow;
	struct steer_key key;

	if (skb->mark == VPBACK_STEER_MARK) {
		skb->mark = 0;
		return NF_ACCEPT;
	}
	if (!steer_parse(skb, false, &key))
		return NF_ACCEPT;
	flow = steer_lookup(link, &key);
	if (!flow || !READ_ONCE(flow->live) || !after(key.seq_end, flow->guest_limit))
		return NF_ACCEPT;
	vpback_stat_add(link->dev, VPBACK_STAT_FRAMES_DROPPED, 1);
	return NF_DROP;
}

int vpback_steer_hook(struct vpback_link *link, struct net_device *vif)
{
	int ret;

	link->hook[0] = (struct nf_hook_ops){
		.hook = steer_to_guest, .priv = link, .dev = vif,
		.pf = NFPROTO_NETDEV, .hooknum = NF_NETDEV_EGRESS, .priority = INT_MAX,
	};
	link->hook[1] = (struct nf_hook_ops){
		.hook = steer_from_guest, .priv = link, .dev = vif,
		.pf = NFPROTO_NETDEV, .hooknum = NF_NETDEV_INGRESS, .priority = INT_MIN,
	};
	link->vif_net = dev_net(vif);
	ret = nf_register_net_hooks(link->vif_net, link->hook, 2);
	link->hooked = !ret;
	return ret;
}

/* The vif is going, or we are.  Sleeps for a grace period. */
void vpback_steer_unhook(struct vpback_link *link)
{
	struct net_device *vif = rcu_dereference_raw(link->vif);

	if (link->hooked)
		nf_unregister_net_hooks(link->vif_net, link->hook, 2);
	link->hooked = false;
	if (!vif)
		return;
	RCU_INIT_POINTER(link->vif, NULL);
	synchronize_net();
	/* Frames on their way to the vif do not hold it. */
	if (netif_running(link->netdev))
		napi_synchronize(&link->out_napi);
	skb_queue_purge(&link->out);
	dev_put(vif);
}
