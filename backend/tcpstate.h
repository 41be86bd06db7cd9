/* SPDX-License-Identifier: GPL-2.0 */
/*
 * tcpstate.h: could this be the state of a live connection, and is it harmless to
 * act on it?  Pure logic on a private copy; also compiled in userspace by
 * tests/unit/tcpstate.
 */
#ifndef _VPBACK_TCPSTATE_H
#define _VPBACK_TCPSTATE_H

#ifdef __KERNEL__
#include <linux/errno.h>
#include <linux/string.h>
#include <linux/types.h>
#else
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#endif
#include <xen/interface/io/vpipe.h>

#define VPBACK_MAX_SEND_QUEUE	(16U << 20)	/* bytes that may come with a flow */
#define VPBACK_TCP_FLAGS	(XEN_VPIPE_TCP_F_SACK | XEN_VPIPE_TCP_F_TIMESTAMPS | \
				 XEN_VPIPE_TCP_F_WSCALE | XEN_VPIPE_TCP_F_USEC_TS | \
				 XEN_VPIPE_TCP_F_ECN | XEN_VPIPE_TCP_F_NODELAY | \
				 XEN_VPIPE_TCP_F_KEEPALIVE | \
				 XEN_VPIPE_TCP_F_RCVBUF_LOCK | XEN_VPIPE_TCP_F_SNDBUF_LOCK)
#define VPBACK_MAX_KEEP_S	32767U		/* as Linux has it, like the next */
#define VPBACK_MAX_KEEP_PROBES	127U
#define VPBACK_MAX_FLOW_LABEL	0xfffffU	/* RFC 8200, 6 */
#define VPBACK_MAX_WINDOW	(1U << 30)	/* RFC 7323: 65535 << 14 */

/* A unicast address that may stand on the wire (network byte order). */
static inline bool vpback_ipv4_sane(const uint8_t *addr)
{
	static const uint8_t rest[12];

	return addr[0] && addr[0] != 127 && addr[0] < 224 && !memcmp(addr + 4, rest, 12);
}

/* Neither ::/80 (unspecified, loopback, IPv4), nor link-local, nor multicast. */
static inline bool vpback_ipv6_sane(const uint8_t *addr)
{
	static const uint8_t low[10];

	return memcmp(addr, low, 10) && addr[0] != 0xff &&
	       !(addr[0] == 0xfe && (addr[1] & 0xc0) == 0x80);
}

static inline bool vpback_address_sane(const struct xen_vpipe_tcp_state *st, const uint8_t *addr)
{
	return st->family == 6 ? vpback_ipv6_sane(addr) : vpback_ipv4_sane(addr);
}

/* 0, or -EINVAL.  Whether the address is the domain's is another question. */
static inline int vpback_tcpstate_check(const struct xen_vpipe_tcp_state *st)
{
	if ((st->family != 4 && st->family != 6) ||
	    (st->state != XEN_VPIPE_TCP_ESTABLISHED && st->state != XEN_VPIPE_TCP_CLOSE_WAIT))
		return -EINVAL;
	if (!st->local_port || !st->peer_port ||
	    !vpback_address_sane(st, st->local_addr) || !vpback_address_sane(st, st->peer_addr))
		return -EINVAL;
	if (!memcmp(st->local_addr, st->peer_addr, 16))
		return -EINVAL;
	if (st->flags & ~VPBACK_TCP_FLAGS)
		return -EINVAL;
	if (st->nexthop[0] & 1)			/* a group address */
		return -EINVAL;
	if ((st->flow_label | st->peer_flow_label) &
	    ~(st->family == 6 ? VPBACK_MAX_FLOW_LABEL : 0))
		return -EINVAL;
	/* snd_una <= snd_nxt <= write_seq, in sequence space */
	if (st->write_seq - st->snd_una > VPBACK_MAX_SEND_QUEUE ||
	    st->snd_nxt - st->snd_una > st->write_seq - st->snd_una)
		return -EINVAL;
	if (st->snd_wscale > 14 || st->rcv_wscale > 14 || st->max_window < st->snd_wnd ||
	    st->max_window > VPBACK_MAX_WINDOW || st->rcv_wnd > VPBACK_MAX_WINDOW)
		return -EINVAL;
	/*
	 * rcv_wup <= rcv_nxt.  The last window update may have come from behind the window,
	 * which shrinks when there is no memory.
	 */
	if ((int32_t)(st->rcv_wup - st->rcv_nxt) > 0)
		return -EINVAL;
	if (st->mss_clamp < 88 || st->mss_clamp > 65535 ||	/* RFC 9293, 3.7.1; 48 + headers */
	    st->advmss < 88 || st->advmss > 65535)
		return -EINVAL;
	if (st->flags & XEN_VPIPE_TCP_F_KEEPALIVE &&
	    (!st->keep_idle_s || st->keep_idle_s > VPBACK_MAX_KEEP_S || !st->keep_interval_s ||
	     st->keep_interval_s > VPBACK_MAX_KEEP_S || !st->keep_probes ||
	     st->keep_probes > VPBACK_MAX_KEEP_PROBES))
		return -EINVAL;
	return 0;
}

#endif /* _VPBACK_TCPSTATE_H */
