// SPDX-License-Identifier: GPL-2.0
/*
 * steer.c: which frames belong to an offloaded flow.
 *
 * On the guest's vif, at the netdev hooks: what the host would send to the guest
 * for a flow (egress) goes to our netdev instead, or is held (hold.c); what still
 * comes from the guest itself (ingress) is let through if it was sent before the
 * hand-over, by sequence number, and dropped otherwise; what the guest got of the
 * peer's too late comes back here.  What routers say about a flow (ICMP: mostly that
 * a frame was too big for the path) both hear, our netdev and the guest.  Frames of a
 * shadow socket are injected at the same vif as if the guest had sent them, so the
 * host's bridge, firewall and anti-spoofing rules see nothing new; a mark tells them
 * apart at the hooks.
 */
#include <linux/etherdevice.h>
#include <linux/hash.h>
#include <linux/icmp.h>
#include <linux/icmpv6.h>
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
	struct tcphdr tcp;
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

/* What an IP header says, and what may stand before the next one. */
struct steer_ip {
	struct in6_addr from, to;
	unsigned int payload, end;	/* from the frame's first byte on */
	u8 protocol;
};

static bool steer_parse_ipv4(struct sk_buff *skb, unsigned int offset, struct steer_ip *ip)
{
	struct iphdr _hdr, *hdr;

	hdr = skb_header_pointer(skb, offset, sizeof(_hdr), &_hdr);
	if (!hdr || hdr->version != 4 || hdr->ihl < 5 || ip_is_fragment(hdr))
		return false;
	ipv6_addr_set_v4mapped(hdr->saddr, &ip->from);
	ipv6_addr_set_v4mapped(hdr->daddr, &ip->to);
	ip->protocol = hdr->protocol;
	ip->payload = offset + hdr->ihl * 4;
	/* Ethernet may pad a short frame; a very long one has no length in its header. */
	ip->end = hdr->tot_len ? offset + ntohs(hdr->tot_len) : skb->len;
	return true;
}

/* Extension headers are those of very long frames (RFC 2675), or what a peer likes. */
static bool steer_parse_ipv6(struct sk_buff *skb, unsigned int offset, struct steer_ip *ip)
{
	struct ipv6hdr _hdr, *hdr;
	__be16 fragment;
	int payload;

	hdr = skb_header_pointer(skb, offset, sizeof(_hdr), &_hdr);
	if (!hdr || hdr->version != 6 || ipv6_addr_v4mapped(&hdr->saddr) ||
	    ipv6_addr_v4mapped(&hdr->daddr))
		return false;
	ip->protocol = hdr->nexthdr;
	payload = ipv6_skip_exthdr(skb, offset + sizeof(_hdr), &ip->protocol, &fragment);
	if (payload < 0 || fragment)
		return false;
	ip->from = hdr->saddr;
	ip->to = hdr->daddr;
	ip->payload = payload;
	ip->end = hdr->payload_len ? offset + sizeof(_hdr) + ntohs(hdr->payload_len) : skb->len;
	return true;
}

static bool steer_parse_ip(struct sk_buff *skb, unsigned int offset, struct steer_ip *ip)
{
	if (skb_vlan_tag_present(skb))
		return false;
	if (skb->protocol == htons(ETH_P_IP))
		return steer_parse_ipv4(skb, offset, ip);
	return skb->protocol == htons(ETH_P_IPV6) && steer_parse_ipv6(skb, offset, ip);
}

/* Take the key out of a frame that goes to (or comes from) the guest. */
static bool steer_parse(struct sk_buff *skb, bool to_guest, struct steer_key *key)
{
	struct tcphdr _tcp, *tcp;
	struct steer_ip ip;

	if (!steer_parse_ip(skb, skb_network_offset(skb), &ip) || ip.protocol != IPPROTO_TCP)
		return false;
	tcp = skb_header_pointer(skb, ip.payload, sizeof(_tcp), &_tcp);
	if (!tcp)
		return false;
	key->tcp = *tcp;
	key->local = to_guest ? ip.to : ip.from;
	key->peer = to_guest ? ip.from : ip.to;
	key->local_port = to_guest ? tcp->dest : tcp->source;
	key->peer_port = to_guest ? tcp->source : tcp->dest;
	key->seq_end = ntohl(tcp->seq) + tcp->syn + tcp->fin;
	if (ip.end > ip.payload + tcp->doff * 4)
		key->seq_end += ip.end - ip.payload - tcp->doff * 4;
	return true;
}

/* The key of the flow whose frame could not be delivered, from the ICMP error. */
static bool steer_parse_error(struct sk_buff *skb, struct steer_key *key)
{
	__be16 _port[2], *port;
	struct steer_ip ip;
	u8 _type, *type;

	if (!steer_parse_ip(skb, skb_network_offset(skb), &ip))
		return false;
	type = skb_header_pointer(skb, ip.payload, sizeof(_type), &_type);
	if (!type)
		return false;
	if (!(ip.protocol == IPPROTO_ICMP && *type == ICMP_DEST_UNREACH) &&
	    !(ip.protocol == IPPROTO_ICMPV6 && (*type == ICMPV6_PKT_TOOBIG ||
						*type == ICMPV6_DEST_UNREACH)))
		return false;
	BUILD_BUG_ON(sizeof(struct icmphdr) != sizeof(struct icmp6hdr));
	if (!steer_parse_ip(skb, ip.payload + sizeof(struct icmphdr), &ip) ||
	    ip.protocol != IPPROTO_TCP)
		return false;
	port = skb_header_pointer(skb, ip.payload, sizeof(_port), _port);
	if (!port)
		return false;
	key->local = ip.from;
	key->peer = ip.to;
	key->local_port = port[0];
	key->peer_port = port[1];
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

/* From here on the flow's frames are held.  -EADDRINUSE */
int vpback_steer_add(struct vpback_link *link, struct vpback_flow *flow)
{
	struct steer_key key;
	int ret = 0;

	steer_flow_key(flow, &key);
	flow->guest_limit = flow->state.snd_nxt;
	vpback_hold_init(flow);
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

	if (skb->mark == VPBACK_STEER_MARK) {
		skb->mark = 0;
		return NF_ACCEPT;
	}
	if (steer_parse(skb, true, &key)) {
		flow = steer_lookup(link, &key);
		return flow ? vpback_hold_inbound(flow, skb) : NF_ACCEPT;
	}
	flow = steer_parse_error(skb, &key) ? steer_lookup(link, &key) : NULL;
	if (flow)
		vpback_hold_overhear(flow, skb);
	return NF_ACCEPT;
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
	flow = steer_parse(skb, false, &key) ? steer_lookup(link, &key) : NULL;
	if (flow) {
		if (READ_ONCE(flow->home) || !after(key.seq_end, flow->guest_limit))
			return NF_ACCEPT;
		vpback_stat_add(link->dev, VPBACK_STAT_FRAMES_DROPPED, 1);
		return NF_DROP;
	}
	flow = steer_parse(skb, true, &key) ? steer_lookup(link, &key) : NULL;
	if (flow) {
		vpback_hold_stray(flow, skb, &key.tcp);
		return NF_STOLEN;
	}
	/* From the guest to itself: a stray of a flow that is no more, and nobody's business. */
	return ether_addr_equal(eth_hdr(skb)->h_dest, link->mac) ? NF_DROP : NF_ACCEPT;
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
		napi_synchronize(&link->out.napi);
	vpback_netdev_purge(&link->out);
	dev_put(vif);
}
