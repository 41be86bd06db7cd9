/* SPDX-License-Identifier: GPL-2.0 */
/*
 * trace.h: tracepoints of the backend, /sys/kernel/tracing/events/vpback/:
 *
 *   vpback_submit       a TRANSFER was accepted
 *   vpback_hand_over    a connection has changed hands, and how long it was nobody's
 *   vpback_dispatch     a flow's step runs; whether it may move something
 *   vpback_credit_wait  a domain begins to wait for credits, or waits no more
 *   vpback_complete     a TRANSFER has ended
 *
 * Ends are XEN_VPIPE_END_*: 1 socket, 2 extents, 3 buffer.  Needs are bits: 1 disk, 2 network.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM vpback

#if !defined(_VPBACK_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _VPBACK_TRACE_H

#include <linux/tracepoint.h>

#include "vpback.h"

TRACE_EVENT(vpback_submit,
	TP_PROTO(const struct vpback_flow *flow, const struct vpback_transfer *transfer),
	TP_ARGS(flow, transfer),
	TP_STRUCT__entry(
		__field(u16, domid)
		__field(u32, flow)
		__field(u64, cookie)
		__field(u16, from)
		__field(u16, to)
		__field(u64, length)
	),
	TP_fast_assign(
		__entry->domid = flow->dev->domid;
		__entry->flow = flow->id;
		__entry->cookie = transfer->cookie;
		__entry->from = transfer->from;
		__entry->to = transfer->to;
		__entry->length = transfer->length;
	),
	TP_printk("domain=%u flow=%u cookie=%llu from=%u to=%u length=%llu",
		  __entry->domid, __entry->flow, __entry->cookie, __entry->from, __entry->to,
		  __entry->length)
);

TRACE_EVENT(vpback_hand_over,
	TP_PROTO(const struct vpback_flow *flow, bool home, s64 us),
	TP_ARGS(flow, home, us),
	TP_STRUCT__entry(
		__field(u16, domid)
		__field(u32, flow)
		__field(bool, home)
		__field(s64, us)
	),
	TP_fast_assign(
		__entry->domid = flow->dev->domid;
		__entry->flow = flow->id;
		__entry->home = home;
		__entry->us = us;
	),
	TP_printk("domain=%u flow=%u to=%s us=%lld",
		  __entry->domid, __entry->flow, __entry->home ? "guest" : "dom0", __entry->us)
);

TRACE_EVENT(vpback_dispatch,
	TP_PROTO(const struct vpback_flow *flow, unsigned int needs, bool may),
	TP_ARGS(flow, needs, may),
	TP_STRUCT__entry(
		__field(u16, domid)
		__field(u32, flow)
		__field(u32, needs)
		__field(bool, may)
	),
	TP_fast_assign(
		__entry->domid = flow->dev->domid;
		__entry->flow = flow->id;
		__entry->needs = needs;
		__entry->may = may;
	),
	TP_printk("domain=%u flow=%u needs=%u may=%d",
		  __entry->domid, __entry->flow, __entry->needs, __entry->may)
);

TRACE_EVENT(vpback_credit_wait,
	TP_PROTO(unsigned int domid, bool begins, s64 left),
	TP_ARGS(domid, begins, left),
	TP_STRUCT__entry(
		__field(u16, domid)
		__field(bool, begins)
		__field(s64, left)
	),
	TP_fast_assign(
		__entry->domid = domid;
		__entry->begins = begins;
		__entry->left = left;
	),
	TP_printk("domain=%u %s credits=%lld",
		  __entry->domid, __entry->begins ? "waits" : "goes on", __entry->left)
);

TRACE_EVENT(vpback_complete,
	TP_PROTO(const struct vpback_flow *flow, const struct vpback_transfer *transfer,
		 int status),
	TP_ARGS(flow, transfer, status),
	TP_STRUCT__entry(
		__field(u16, domid)
		__field(u32, flow)
		__field(u64, cookie)
		__field(u64, moved)
		__field(int, status)
	),
	TP_fast_assign(
		__entry->domid = flow->dev->domid;
		__entry->flow = flow->id;
		__entry->cookie = transfer->cookie;
		__entry->moved = transfer->moved;
		__entry->status = status;
	),
	TP_printk("domain=%u flow=%u cookie=%llu moved=%llu status=%d",
		  __entry->domid, __entry->flow, __entry->cookie, __entry->moved, __entry->status)
);

#endif /* _VPBACK_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
