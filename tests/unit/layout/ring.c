// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * include/xen/interface/io/vpipe.h as frontends and backends in the field know it;
 * they need not be of the same width.  Compiled, never linked.
 */
#include <xen/interface/io/vpipe.h>

#include "pin.h"

#ifdef DEFINE_RING_TYPES
#error "the userspace branch does not bring ring.h"
#endif

MEMBER(xen_vpipe_attach, page, 0, 2);
MEMBER(xen_vpipe_attach, reserved, 2, 46);
SIZE(xen_vpipe_attach, 48);

MEMBER(xen_vpipe_queue, length, 0, 4);
MEMBER(xen_vpipe_queue, reserved, 4, 4);
MEMBER(xen_vpipe_queue, page, 8, 40);
SIZE(xen_vpipe_queue, 48);

MEMBER(xen_vpipe_end, type, 0, 2);
MEMBER(xen_vpipe_end, page, 2, 2);
MEMBER(xen_vpipe_end, id, 4, 4);
MEMBER(xen_vpipe_end, nr, 8, 4);
MEMBER(xen_vpipe_end, skip, 12, 4);
SIZE(xen_vpipe_end, 16);

MEMBER(xen_vpipe_extent, sector, 0, 8);
MEMBER(xen_vpipe_extent, nr, 8, 4);
MEMBER(xen_vpipe_extent, reserved, 12, 4);
SIZE(xen_vpipe_extent, 16);

MEMBER(xen_vpipe_transfer, cookie, 0, 8);
MEMBER(xen_vpipe_transfer, length, 8, 8);
MEMBER(xen_vpipe_transfer, source, 16, 16);
MEMBER(xen_vpipe_transfer, sink, 32, 16);
SIZE(xen_vpipe_transfer, 48);

MEMBER(xen_vpipe_cancel, reserved, 0, 48);
SIZE(xen_vpipe_cancel, 48);

MEMBER(xen_vpipe_detach, settle_ms, 0, 4);
MEMBER(xen_vpipe_detach, flags, 4, 4);
MEMBER(xen_vpipe_detach, reserved, 8, 40);
SIZE(xen_vpipe_detach, 48);

MEMBER(xen_vpipe_return, offset, 0, 4);
MEMBER(xen_vpipe_return, nr_pages, 4, 2);
MEMBER(xen_vpipe_return, reserved, 6, 2);
MEMBER(xen_vpipe_return, page, 8, 40);
SIZE(xen_vpipe_return, 48);

MEMBER(xen_vpipe_release, flags, 0, 4);
MEMBER(xen_vpipe_release, reserved, 4, 44);
SIZE(xen_vpipe_release, 48);

MEMBER(xen_vpipe_open, reserved, 0, 48);
SIZE(xen_vpipe_open, 48);

MEMBER(xen_vpipe_request, op, 0, 2);
MEMBER(xen_vpipe_request, reserved, 2, 2);
MEMBER(xen_vpipe_request, id, 4, 4);
MEMBER(xen_vpipe_request, flow, 8, 4);
MEMBER(xen_vpipe_request, reserved2, 12, 4);
MEMBER(xen_vpipe_request, u, 16, 48);
MEMBER(xen_vpipe_request, u.attach, 16, 48);
MEMBER(xen_vpipe_request, u.queue, 16, 48);
MEMBER(xen_vpipe_request, u.transfer, 16, 48);
MEMBER(xen_vpipe_request, u.cancel, 16, 48);
MEMBER(xen_vpipe_request, u.detach, 16, 48);
MEMBER(xen_vpipe_request, u.ret, 16, 48);
MEMBER(xen_vpipe_request, u.release, 16, 48);
MEMBER(xen_vpipe_request, u.open, 16, 48);
SIZE(xen_vpipe_request, 64);

MEMBER(xen_vpipe_response, id, 0, 4);
MEMBER(xen_vpipe_response, op, 4, 2);
MEMBER(xen_vpipe_response, reserved, 6, 2);
MEMBER(xen_vpipe_response, status, 8, 4);
MEMBER(xen_vpipe_response, value, 12, 4);
SIZE(xen_vpipe_response, 16);

MEMBER(xen_vpipe_event, type, 0, 2);
MEMBER(xen_vpipe_event, reserved, 2, 2);
MEMBER(xen_vpipe_event, flow, 4, 4);
MEMBER(xen_vpipe_event, cookie, 8, 8);
MEMBER(xen_vpipe_event, moved, 16, 8);
MEMBER(xen_vpipe_event, status, 24, 4);
MEMBER(xen_vpipe_event, reserved2, 28, 4);
SIZE(xen_vpipe_event, 32);

MEMBER(xen_vpipe_event_page, prod, 0, 4);
MEMBER(xen_vpipe_event_page, cons, 4, 4);
MEMBER(xen_vpipe_event_page, full, 8, 4);
MEMBER(xen_vpipe_event_page, reserved, 12, 20);
MEMBER(xen_vpipe_event_page, event, 32, 2048);
MEMBER(xen_vpipe_event_page, event[1], 64, 32);
SIZE(xen_vpipe_event_page, 2080);

MEMBER(xen_vpipe_tcp_state, state, 0, 2);
MEMBER(xen_vpipe_tcp_state, family, 2, 2);
MEMBER(xen_vpipe_tcp_state, vif, 4, 2);
MEMBER(xen_vpipe_tcp_state, nexthop, 6, 6);
MEMBER(xen_vpipe_tcp_state, local_port, 12, 2);
MEMBER(xen_vpipe_tcp_state, peer_port, 14, 2);
MEMBER(xen_vpipe_tcp_state, local_addr, 16, 16);
MEMBER(xen_vpipe_tcp_state, peer_addr, 32, 16);
MEMBER(xen_vpipe_tcp_state, snd_una, 48, 4);
MEMBER(xen_vpipe_tcp_state, snd_nxt, 52, 4);
MEMBER(xen_vpipe_tcp_state, write_seq, 56, 4);
MEMBER(xen_vpipe_tcp_state, snd_wl1, 60, 4);
MEMBER(xen_vpipe_tcp_state, snd_wnd, 64, 4);
MEMBER(xen_vpipe_tcp_state, max_window, 68, 4);
MEMBER(xen_vpipe_tcp_state, rcv_nxt, 72, 4);
MEMBER(xen_vpipe_tcp_state, rcv_wnd, 76, 4);
MEMBER(xen_vpipe_tcp_state, rcv_wup, 80, 4);
MEMBER(xen_vpipe_tcp_state, flags, 84, 4);
MEMBER(xen_vpipe_tcp_state, snd_wscale, 88, 1);
MEMBER(xen_vpipe_tcp_state, rcv_wscale, 89, 1);
MEMBER(xen_vpipe_tcp_state, tos, 90, 1);
MEMBER(xen_vpipe_tcp_state, ttl, 91, 1);
MEMBER(xen_vpipe_tcp_state, ts_val, 92, 4);
MEMBER(xen_vpipe_tcp_state, ts_recent, 96, 4);
MEMBER(xen_vpipe_tcp_state, mss_clamp, 100, 4);
MEMBER(xen_vpipe_tcp_state, advmss, 104, 4);
MEMBER(xen_vpipe_tcp_state, rcvbuf, 108, 4);
MEMBER(xen_vpipe_tcp_state, sndbuf, 112, 4);
MEMBER(xen_vpipe_tcp_state, window_clamp, 116, 4);
MEMBER(xen_vpipe_tcp_state, rcv_ssthresh, 120, 4);
MEMBER(xen_vpipe_tcp_state, cwnd, 124, 4);
MEMBER(xen_vpipe_tcp_state, ssthresh, 128, 4);
MEMBER(xen_vpipe_tcp_state, srtt_us, 132, 4);
MEMBER(xen_vpipe_tcp_state, mdev_us, 136, 4);
MEMBER(xen_vpipe_tcp_state, rttvar_us, 140, 4);
MEMBER(xen_vpipe_tcp_state, rto_us, 144, 4);
MEMBER(xen_vpipe_tcp_state, congestion, 148, 16);
MEMBER(xen_vpipe_tcp_state, error, 164, 4);
MEMBER(xen_vpipe_tcp_state, unread, 168, 4);
MEMBER(xen_vpipe_tcp_state, retransmits, 172, 4);
MEMBER(xen_vpipe_tcp_state, rcv_per_rtt, 176, 4);
MEMBER(xen_vpipe_tcp_state, age_first_us, 180, 4);
MEMBER(xen_vpipe_tcp_state, age_last_us, 184, 4);
MEMBER(xen_vpipe_tcp_state, user_timeout_ms, 188, 4);
MEMBER(xen_vpipe_tcp_state, keep_idle_s, 192, 4);
MEMBER(xen_vpipe_tcp_state, keep_interval_s, 196, 4);
MEMBER(xen_vpipe_tcp_state, keep_probes, 200, 4);
MEMBER(xen_vpipe_tcp_state, rcv_space, 204, 4);
MEMBER(xen_vpipe_tcp_state, max_pacing_rate, 208, 8);
MEMBER(xen_vpipe_tcp_state, bytes_acked, 216, 8);
MEMBER(xen_vpipe_tcp_state, bytes_received, 224, 8);
MEMBER(xen_vpipe_tcp_state, bytes_sent, 232, 8);
MEMBER(xen_vpipe_tcp_state, bytes_retransmitted, 240, 8);
MEMBER(xen_vpipe_tcp_state, segs_out, 248, 4);
MEMBER(xen_vpipe_tcp_state, segs_in, 252, 4);
MEMBER(xen_vpipe_tcp_state, data_segs_out, 256, 4);
MEMBER(xen_vpipe_tcp_state, data_segs_in, 260, 4);
MEMBER(xen_vpipe_tcp_state, flow_label, 264, 4);
MEMBER(xen_vpipe_tcp_state, peer_flow_label, 268, 4);
MEMBER(xen_vpipe_tcp_state, rcvbuf_most, 272, 4);
MEMBER(xen_vpipe_tcp_state, sndbuf_most, 276, 4);
SIZE(xen_vpipe_tcp_state, 280);

/* What lies in a page, fits a page. */
_Static_assert(sizeof(struct xen_vpipe_event_page) <= XEN_VPIPE_PAGE_SIZE, "event page");
_Static_assert(sizeof(struct xen_vpipe_tcp_state) <= XEN_VPIPE_PAGE_SIZE, "state page");
_Static_assert(XEN_VPIPE_MAX_POOL_PAGES * sizeof(uint32_t) <= XEN_VPIPE_PAGE_SIZE, "directory");
/* Free-running indices wrap at 2^32. */
_Static_assert(!(XEN_VPIPE_EVENTS & (XEN_VPIPE_EVENTS - 1)), "events are a power of two");

VALUE(XEN_VPIPE_VERSION, 1);
VALUE(XEN_VPIPE_MAX_RING_PAGE_ORDER, 4);
VALUE(XEN_VPIPE_MAX_POOL_PAGES, 512);
VALUE(XEN_VPIPE_PAGE_SIZE, 4096);
VALUE(XEN_VPIPE_OP_ATTACH, 1);
VALUE(XEN_VPIPE_OP_QUEUE, 2);
VALUE(XEN_VPIPE_OP_TRANSFER, 3);
VALUE(XEN_VPIPE_OP_CANCEL, 4);
VALUE(XEN_VPIPE_OP_DETACH, 5);
VALUE(XEN_VPIPE_OP_RETURN, 6);
VALUE(XEN_VPIPE_OP_RELEASE, 7);
VALUE(XEN_VPIPE_OP_OPEN, 8);
VALUE(XEN_VPIPE_OP_UNREAD, 9);
VALUE(XEN_VPIPE_MAX_UNREAD, 8388608);
VALUE(XEN_VPIPE_GATHER_MS, 20);
VALUE(XEN_VPIPE_EVT_TRANSFER_DONE, 1);
VALUE(XEN_VPIPE_EVT_DETACHED, 2);
VALUE(XEN_VPIPE_EVT_INPUT, 3);
VALUE(XEN_VPIPE_QUEUE_PAGES, 20);
VALUE(XEN_VPIPE_RETURN_PAGES, 20);
VALUE(XEN_VPIPE_END_SOCKET, 1);
VALUE(XEN_VPIPE_END_EXTENTS, 2);
VALUE(XEN_VPIPE_END_BUFFER, 3);
VALUE(XEN_VPIPE_END_FUA, 256);
VALUE(XEN_VPIPE_SECTOR_ZERO, 0xffffffffffffffffULL);
VALUE(XEN_VPIPE_MAX_EXTENTS, 256);
VALUE(XEN_VPIPE_HOLD_MS, 200);
VALUE(XEN_VPIPE_EVENTS, 64);
VALUE(XEN_VPIPE_TCP_ESTABLISHED, 1);
VALUE(XEN_VPIPE_TCP_CLOSE_WAIT, 2);
VALUE(XEN_VPIPE_TCP_CLOSED, 3);
VALUE(XEN_VPIPE_TCP_FIN_WAIT2, 4);
VALUE(XEN_VPIPE_TCP_TIME_WAIT, 5);
VALUE(XEN_VPIPE_TCP_DONE, 6);
VALUE(XEN_VPIPE_TCP_CLOSING, 7);
VALUE(XEN_VPIPE_TCP_F_SACK, 1);
VALUE(XEN_VPIPE_TCP_F_TIMESTAMPS, 2);
VALUE(XEN_VPIPE_TCP_F_WSCALE, 4);
VALUE(XEN_VPIPE_TCP_F_USEC_TS, 8);
VALUE(XEN_VPIPE_TCP_F_ECN, 16);
VALUE(XEN_VPIPE_TCP_F_NODELAY, 32);
