/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * model.h: what the state of a live connection may be, one rule after the other, by
 * the protocol's text and the RFCs; sequence numbers as distances on a circle.
 */
#ifndef TCPSTATE_MODEL_H
#define TCPSTATE_MODEL_H

#include <stdbool.h>
#include <stdint.h>
#include <xen/interface/io/vpipe.h>

#define MODEL_SEND_QUEUE	(16LL * 1024 * 1024)	/* bytes, what the backend takes */
#define MODEL_WINDOW		(1LL << 30)		/* RFC 7323, 2.3 */
#define MODEL_LEAST_MSS		88			/* Linux's TCP_MIN_MSS */

/* How far one has to go up from one number to the other (RFC 9293, 3.4). */
static inline int64_t model_distance(uint32_t from, uint32_t to)
{
	int64_t distance = (int64_t)to - (int64_t)from;

	return distance < 0 ? distance + (1LL << 32) : distance;
}

/* At most half the circle. */
static inline bool model_not_after(uint32_t a, uint32_t b)
{
	return model_distance(a, b) <= 1LL << 31;
}

/* Of the bytes from one to the other. */
static inline bool model_all_zero(const uint8_t *addr, int from, int to)
{
	for (int i = from; i < to; i++)
		if (addr[i] != 0)
			return false;
	return true;
}

static inline bool model_ipv6_address(const uint8_t *addr)
{
	if (model_all_zero(addr, 0, 16))			/* RFC 4291, 2.5.2: unspecified */
		return false;
	if (model_all_zero(addr, 0, 15) && addr[15] == 1)	/* 2.5.3: loopback */
		return false;
	if (model_all_zero(addr, 0, 10))			/* 2.5.5: IPv4, and what is near */
		return false;
	if (addr[0] == 0xfe && addr[1] / 64 == 2)		/* 2.5.6: link-local */
		return false;
	if (addr[0] == 0xff)					/* 2.7: multicast */
		return false;
	return true;
}

static inline bool model_ipv4_address(const uint8_t *addr)
{
	if (!model_all_zero(addr, 4, 16))	/* no part of it */
		return false;
	if (addr[0] == 0)		/* RFC 1122, 3.2.1.3: this network */
		return false;
	if (addr[0] == 127)		/* loopback */
		return false;
	if ((addr[0] & 0xe0) == 0xe0)	/* class D and E, and broadcast */
		return false;
	return true;
}

static inline bool model_host_address(const struct xen_vpipe_tcp_state *st, const uint8_t *addr)
{
	return st->family == 4 ? model_ipv4_address(addr) : model_ipv6_address(addr);
}

static inline bool model_tcpstate(const struct xen_vpipe_tcp_state *st)
{
	int64_t queued = model_distance(st->snd_una, st->write_seq);

	if (st->family == 4 && (st->flow_label || st->peer_flow_label))
		return false;
	if (st->flow_label >= 1 << 20 || st->peer_flow_label >= 1 << 20)
		return false;
	if (st->family != 4 && st->family != 6)
		return false;
	if (!(st->state == XEN_VPIPE_TCP_ESTABLISHED || st->state == XEN_VPIPE_TCP_CLOSE_WAIT))
		return false;
	if (st->local_port == 0 || st->peer_port == 0)
		return false;
	if (!model_host_address(st, st->local_addr) || !model_host_address(st, st->peer_addr))
		return false;
	int same = 0;

	while (same < (st->family == 4 ? 4 : 16) &&
	       st->local_addr[same] == st->peer_addr[same])
		same++;
	if (same == (st->family == 4 ? 4 : 16))
		return false;		/* nothing that leaves by a vif */
	if (st->flags >= 512)
		return false;
	if (st->flags & 64) {		/* keepalive: as tcp(7) takes these */
		if (st->keep_idle_s - 1 >= 32767 || st->keep_interval_s - 1 >= 32767)
			return false;
		if (st->keep_probes - 1 >= 127)
			return false;
	}
	if (st->nexthop[0] % 2 == 1)
		return false;
	if (queued > MODEL_SEND_QUEUE)
		return false;
	if (model_distance(st->snd_una, st->snd_nxt) + model_distance(st->snd_nxt, st->write_seq) !=
	    queued)			/* snd_nxt does not lie on the way */
		return false;
	if (st->snd_wscale > 14 || st->rcv_wscale > 14)
		return false;
	if (st->snd_wnd > st->max_window)
		return false;
	if (st->max_window > MODEL_WINDOW || st->rcv_wnd > MODEL_WINDOW)
		return false;
	if (!model_not_after(st->rcv_wup, st->rcv_nxt))
		return false;
	if (st->mss_clamp < MODEL_LEAST_MSS || st->mss_clamp > UINT16_MAX)
		return false;
	if (st->advmss < MODEL_LEAST_MSS || st->advmss > UINT16_MAX)
		return false;
	return true;
}

#endif
