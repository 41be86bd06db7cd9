/* SPDX-License-Identifier: GPL-2.0 */
/*
 * tcp_frames.h: what a connection's state cannot say travels as frames that the peer
 * could have sent: segments that were received beyond a gap, as such segments; which of
 * those that were sent the peer has got beyond a gap, as acknowledgements with SACK
 * blocks (RFC 2018).  Whoever takes the connection receives them before what was held.
 *
 * A frame is made with its network header in front and Ethernet's before that.  One for
 * which there is no memory is lost, as any frame may be.
 */
#ifndef _VPIPE_TCP_FRAMES_H
#define _VPIPE_TCP_FRAMES_H

#include <linux/etherdevice.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/skbuff.h>
#include <net/ip.h>
#include <net/ip6_checksum.h>
#include <net/ipv6.h>
#include <net/tcp.h>
#include <xen/interface/io/vpipe.h>

#define VPIPE_TCP_FRAME_BYTES	1400U	/* of data, in one */
#define VPIPE_TCP_FRAMES_MAX	512U	/* for what one socket has received beyond a gap */
#define VPIPE_TCP_FRAME_SACKS	3U	/* that fit next to a timestamp */
#define VPIPE_TCP_FRAME_HEADERS	(ETH_HLEN + sizeof(struct ipv6hdr) + 60)

static inline void vpipe_tcp_frame_ip(struct sk_buff *skb, const struct xen_vpipe_tcp_state *st)
{
	if (st->family == 4) {
		struct iphdr *ip = skb_push(skb, sizeof(*ip));

		memset(ip, 0, sizeof(*ip));
		ip->version = 4;
		ip->ihl = sizeof(*ip) / 4;
		ip->tot_len = htons(skb->len);
		ip->ttl = 64;
		ip->protocol = IPPROTO_TCP;
		memcpy(&ip->saddr, st->peer_addr, sizeof(ip->saddr));
		memcpy(&ip->daddr, st->local_addr, sizeof(ip->daddr));
		ip_send_check(ip);
		skb->protocol = htons(ETH_P_IP);
	} else {
		struct ipv6hdr *ip = skb_push(skb, sizeof(*ip));

		memset(ip, 0, sizeof(*ip));
		ip6_flow_hdr(ip, 0, htonl(st->peer_flow_label));
		ip->payload_len = htons(skb->len - sizeof(*ip));
		ip->nexthdr = IPPROTO_TCP;
		ip->hop_limit = 64;
		memcpy(&ip->saddr, st->peer_addr, sizeof(ip->saddr));
		memcpy(&ip->daddr, st->local_addr, sizeof(ip->daddr));
		skb->protocol = htons(ETH_P_IPV6);
	}
	skb_reset_network_header(skb);
}

/* The sum over the addresses; over the rest whoever needs it. */
static inline void vpipe_tcp_frame_sum(struct sk_buff *skb, struct tcphdr *tcp,
				       const struct xen_vpipe_tcp_state *st)
{
	struct in6_addr from, to;
	__be32 from4, to4;

	memcpy(&from, st->peer_addr, sizeof(from));
	memcpy(&to, st->local_addr, sizeof(to));
	memcpy(&from4, st->peer_addr, sizeof(from4));
	memcpy(&to4, st->local_addr, sizeof(to4));
	tcp->check = st->family == 4 ?
		     ~tcp_v4_check(skb->len, from4, to4, 0) :
		     ~csum_ipv6_magic(&from, &to, skb->len, IPPROTO_TCP, 0);
	skb->ip_summed = CHECKSUM_PARTIAL;
	skb->csum_start = skb_transport_header(skb) - skb->head;
	skb->csum_offset = offsetof(struct tcphdr, check);
}

/* Headers around what is in skb: an options area of `options` bytes and data. */
static inline void vpipe_tcp_frame_finish(struct sk_buff *skb, u8 options, u32 seq, u32 ack_seq,
					  __be32 flags, u16 window, const u8 *guest_mac,
					  const struct xen_vpipe_tcp_state *st)
{
	struct tcphdr *tcp = skb_push(skb, sizeof(*tcp));
	struct ethhdr *eth;

	memset(tcp, 0, sizeof(*tcp));
	tcp->source = (__force __be16)st->peer_port;
	tcp->dest = (__force __be16)st->local_port;
	tcp->seq = htonl(seq);
	tcp->ack_seq = htonl(ack_seq);
	tcp_flag_word(tcp) = flags;
	tcp->doff = (sizeof(*tcp) + options) / 4;
	tcp->window = htons(window);
	skb_reset_transport_header(skb);
	vpipe_tcp_frame_sum(skb, tcp, st);
	vpipe_tcp_frame_ip(skb, st);
	eth = skb_push(skb, ETH_HLEN);
	ether_addr_copy(eth->h_dest, guest_mac);
	ether_addr_copy(eth->h_source, st->nexthop);
	eth->h_proto = skb->protocol;
	skb_reset_mac_header(skb);
	__skb_pull(skb, ETH_HLEN);
}

static inline struct sk_buff *vpipe_tcp_frame_alloc(u32 bytes, gfp_t gfp)
{
	struct sk_buff *skb = alloc_skb(LL_MAX_HEADER + VPIPE_TCP_FRAME_HEADERS + bytes, gfp);

	if (skb)
		skb_reserve(skb, LL_MAX_HEADER + VPIPE_TCP_FRAME_HEADERS);
	return skb;
}

/* A segment without any flag, which TCP ignores wherever it ends; NULL: no memory. */
static inline struct sk_buff *vpipe_tcp_frame_marker(const struct xen_vpipe_tcp_state *st,
						     const u8 *guest_mac, u64 mark, gfp_t gfp)
{
	struct sk_buff *skb = vpipe_tcp_frame_alloc(0, gfp);

	if (skb)
		vpipe_tcp_frame_finish(skb, 0, mark >> 32, (u32)mark, 0, 0, guest_mac, st);
	return skb;
}

/* A segment with an acknowledgement: of data from `from`, or with SACK blocks, or both. */
static inline void vpipe_tcp_frame_ack(const struct xen_vpipe_tcp_state *st, const u8 *guest_mac,
				       struct net_device *dev, struct sk_buff_head *frames,
				       u32 seq, const struct sk_buff *from, u32 offset, u32 len,
				       const struct tcp_sack_block *sack, unsigned int nr_sacks)
{
	u32 window = min_t(u32, st->snd_wnd >> st->snd_wscale, U16_MAX), options = 0;
	struct sk_buff *skb = vpipe_tcp_frame_alloc(len, GFP_KERNEL);
	__be32 *word;
	unsigned int i;

	if (!skb)
		return;
	if (len)
		skb_copy_bits(from, offset, skb_put(skb, len), len);
	if (nr_sacks) {
		options = 4 + nr_sacks * TCPOLEN_SACK_PERBLOCK;
		word = skb_push(skb, options);
		*word++ = htonl(TCPOPT_NOP << 24 | TCPOPT_NOP << 16 | TCPOPT_SACK << 8 |
				(TCPOLEN_SACK_BASE + nr_sacks * TCPOLEN_SACK_PERBLOCK));
		for (i = 0; i < nr_sacks; i++) {
			*word++ = htonl(sack[i].start_seq);
			*word++ = htonl(sack[i].end_seq);
		}
	}
	if (st->flags & XEN_VPIPE_TCP_F_TIMESTAMPS) {
		options += TCPOLEN_TSTAMP_ALIGNED;
		word = skb_push(skb, TCPOLEN_TSTAMP_ALIGNED);
		word[0] = htonl(TCPOPT_NOP << 24 | TCPOPT_NOP << 16 | TCPOPT_TIMESTAMP << 8 |
				TCPOLEN_TIMESTAMP);
		word[1] = htonl(st->ts_recent);
		word[2] = 0;			/* nothing is to be measured by it */
	}
	vpipe_tcp_frame_finish(skb, options, seq, st->snd_una, TCP_FLAG_ACK, window, guest_mac, st);
	skb->dev = dev;
	skb->skb_iif = dev ? dev->ifindex : 0;
	__skb_queue_tail(frames, skb);
}

/* What a frozen socket has received beyond a gap.  Socket locked. */
static inline void vpipe_tcp_frames_received(struct sock *sk, const struct xen_vpipe_tcp_state *st,
					     const u8 *guest_mac, struct net_device *dev,
					     struct sk_buff_head *frames)
{
	struct rb_node *node;

	for (node = rb_first(&tcp_sk(sk)->out_of_order_queue); node; node = rb_next(node)) {
		struct sk_buff *skb = rb_to_skb(node);
		u32 at, len;

		for (at = 0; at < skb->len && skb_queue_len(frames) < VPIPE_TCP_FRAMES_MAX;
		     at += len) {
			len = min(skb->len - at, VPIPE_TCP_FRAME_BYTES);
			vpipe_tcp_frame_ack(st, guest_mac, dev, frames, TCP_SKB_CB(skb)->seq + at,
					    skb, at, len, NULL, 0);
		}
	}
}

/* What the peer has told to have beyond a gap.  Socket locked. */
static inline void vpipe_tcp_frames_sacked(struct sock *sk, const struct xen_vpipe_tcp_state *st,
					   const u8 *guest_mac, struct net_device *dev,
					   struct sk_buff_head *frames)
{
	/* The peer's FIN has a place in the sequence, though rcv_nxt does not count it. */
	u32 seq = st->rcv_nxt + (st->state != XEN_VPIPE_TCP_ESTABLISHED);
	struct tcp_sack_block sack[VPIPE_TCP_FRAME_SACKS];
	unsigned int n = 0;
	struct sk_buff *skb;

	if (!(st->flags & XEN_VPIPE_TCP_F_SACK) || !tcp_sk(sk)->sacked_out)
		return;
	skb_rbtree_walk(skb, &sk->tcp_rtx_queue) {
		struct tcp_skb_cb *cb = TCP_SKB_CB(skb);

		if (!(cb->sacked & TCPCB_SACKED_ACKED))
			continue;
		if (n && sack[n - 1].end_seq == cb->seq) {
			sack[n - 1].end_seq = cb->end_seq;
			continue;
		}
		if (n == VPIPE_TCP_FRAME_SACKS) {
			vpipe_tcp_frame_ack(st, guest_mac, dev, frames, seq, NULL, 0, 0,
					    sack, n);
			n = 0;
		}
		sack[n++] = (struct tcp_sack_block){ cb->seq, cb->end_seq };
	}
	if (n)
		vpipe_tcp_frame_ack(st, guest_mac, dev, frames, seq, NULL, 0, 0, sack, n);
}

#endif /* _VPIPE_TCP_FRAMES_H */
