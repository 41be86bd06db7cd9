/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* sample.h: the state of an ordinary connection, and small changes to it. */
#ifndef TCPSTATE_SAMPLE_H
#define TCPSTATE_SAMPLE_H

#include <arpa/inet.h>
#include <stdint.h>
#include <string.h>
#include <xen/interface/io/vpipe.h>

static inline struct xen_vpipe_tcp_state sample_state(void)
{
	return (struct xen_vpipe_tcp_state){
		.state = XEN_VPIPE_TCP_ESTABLISHED,
		.family = 4,
		.nexthop = { 0x00, 0x16, 0x3e, 0x01, 0x02, 0x03 },
		.local_port = htons(80),
		.peer_port = htons(40000),
		.local_addr = { 192, 0, 2, 1 },
		.peer_addr = { 198, 51, 100, 7 },
		.snd_una = 1000000,
		.snd_nxt = 1014480,
		.write_seq = 1100000,
		.snd_wl1 = 5000,
		.snd_wnd = 65535 << 7,
		.max_window = 65535 << 7,
		.rcv_nxt = 5000,
		.rcv_wnd = 64256,
		.rcv_wup = 5000,
		.flags = XEN_VPIPE_TCP_F_SACK | XEN_VPIPE_TCP_F_TIMESTAMPS |
			 XEN_VPIPE_TCP_F_WSCALE,
		.snd_wscale = 7,
		.rcv_wscale = 7,
		.ttl = 64,
		.ts_val = 123456,
		.ts_recent = 654321,
		.mss_clamp = 1460,
		.advmss = 1460,
		.rcvbuf = 131072,
		.sndbuf = 87040,
		.window_clamp = 65536,
		.rcv_ssthresh = 65536,
		.cwnd = 10,
		.ssthresh = 0x7fffffff,
		.srtt_us = 8000,
		.mdev_us = 2000,
		.rttvar_us = 4000,
		.rto_us = 200000,
		.congestion = "cubic",
	};
}

/* The same over IPv6. */
static inline struct xen_vpipe_tcp_state sample_state6(void)
{
	struct xen_vpipe_tcp_state st = sample_state();

	st.family = 6;
	memcpy(st.local_addr, (uint8_t[16]){ 0x20, 0x01, 0x0d, 0xb8, [15] = 1 }, 16);
	memcpy(st.peer_addr, (uint8_t[16]){ 0x20, 0x01, 0x0d, 0xb8, 1, [15] = 7 }, 16);
	st.mss_clamp = 1440;
	st.advmss = 1440;
	return st;
}

/* Sequence numbers by their distance from snd_una. */
static inline void sample_send(struct xen_vpipe_tcp_state *st, uint32_t una, uint32_t nxt,
			       uint32_t end)
{
	st->snd_una = una;
	st->snd_nxt = una + nxt;
	st->write_seq = una + end;
}

/* ... and from rcv_nxt. */
static inline void sample_receive(struct xen_vpipe_tcp_state *st, uint32_t nxt, uint32_t wup,
				  uint32_t wl1)
{
	st->rcv_nxt = nxt;
	st->rcv_wup = nxt + wup;
	st->snd_wl1 = nxt + wl1;
}

/*
 * Change one thing: which and how is in the two numbers.  Values next to the edges
 * of the rules are as likely as any other.
 */
static inline void sample_edit(struct xen_vpipe_tcp_state *st, uint64_t what, uint64_t value)
{
	static const uint32_t edges[] = {
		0, 1, 14, 15, 87, 88, 65535, 65536, 1U << 24, (1U << 24) + 1, 1U << 30,
		(1U << 30) + 1, 0x7fffffff, 0x80000000, 0x80000001, 0xffffffff,
	};
	uint32_t edge = edges[(value >> 32) % (sizeof(edges) / sizeof(*edges))];
	uint32_t near = edge + (uint32_t)(value % 3) - 1, far = value;
	uint32_t word = what & (1ULL << 40) ? near : far >> (what >> 48) % 32;
	uint8_t byte = word;

	switch (what % 24) {
	case 0:
		st->state = word % 5;
		break;
	case 1:
		st->family = word % 8;
		break;
	case 2:
		st->nexthop[0] = byte;
		break;
	case 3:
		st->local_port = word;
		break;
	case 4:
		st->peer_port = word;
		break;
	case 5:
		st->local_addr[0] = byte;
		break;
	case 6:
		st->peer_addr[0] = byte;
		break;
	case 7:		/* the whole send queue, elsewhere */
		sample_send(st, far, st->snd_nxt - st->snd_una, st->write_seq - st->snd_una);
		break;
	case 8:
		st->snd_nxt = st->snd_una + word;
		break;
	case 9:
		st->write_seq = st->snd_una + word;
		break;
	case 10:
		st->snd_nxt = st->write_seq + (uint32_t)(value % 3) - 1;
		break;
	case 11:	/* all of the receive side, elsewhere */
		sample_receive(st, far, st->rcv_wup - st->rcv_nxt, st->snd_wl1 - st->rcv_nxt);
		break;
	case 12:
		st->rcv_wup = st->rcv_nxt + word;
		break;
	case 13:
		st->snd_wl1 = st->rcv_nxt + st->rcv_wnd + word;
		break;
	case 14:
		st->rcv_wnd = word;
		break;
	case 15:
		st->snd_wnd = word;
		break;
	case 16:
		st->max_window = word;
		break;
	case 17:
		*(what & (1ULL << 41) ? &st->snd_wscale : &st->rcv_wscale) = byte;
		break;
	case 18:
		*(what & (1ULL << 41) ? &st->mss_clamp : &st->advmss) = word;
		break;
	case 19:
		memcpy(st->peer_addr, st->local_addr, byte % 5);
		break;
	case 20:
		st->flags = word;
		break;
	case 21:
		st->rcv_per_rtt = word;
		break;
	case 22:
		*(what & (1ULL << 41) ? &st->flow_label : &st->peer_flow_label) =
			what & (1ULL << 42) ? byte : word;
		break;
	case 23:	/* one of IPv6's reserved prefixes, or its neighbour */
	{
		static const uint8_t prefix[][2] = {
			{ 0, 0 }, { 0xfe, 0x7f }, { 0xfe, 0x80 }, { 0xfe, 0xbf },
			{ 0xfe, 0xc0 }, { 0xff, 0x02 }, { 0xfd, 0x80 }, { 0, 0x64 },
		};
		uint8_t *addr = what & (1ULL << 41) ? st->local_addr : st->peer_addr;

		memcpy(addr, prefix[byte % 8], 2);
		if (what & (1ULL << 42))
			memset(addr + 2, 0, (what >> 32) % 15);
		break;
	}
	default:	/* any byte of it */
		((uint8_t *)st)[(what >> 8) % sizeof(*st)] = byte;
	}
}

#endif
