/* SPDX-License-Identifier: GPL-2.0 */
/*
 * trace.h: tracepoints of the frontend, /sys/kernel/tracing/events/vpfront/:
 *
 *   vpfront_submit     an operation goes to dom0, or may (vpfront_complete tells)
 *   vpfront_hand_over  a connection is with dom0 from now on, or home again
 *   vpfront_dispatch   dom0 is asked for a part of an operation (a TRANSFER)
 *   vpfront_complete   an operation has ended: VPIPE_STATUS_*, VPIPE_REASON_*, errno
 *
 * Operations have the numbers that their open /dev/vpipe gave them (id); TRANSFERs have
 * cookies, by which they are found in the backend's trace.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM vpfront

#if !defined(_VPFRONT_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _VPFRONT_TRACE_H

#include <linux/tracepoint.h>

#include "vpfront.h"

TRACE_EVENT(vpfront_submit,
	TP_PROTO(const struct vpfront_pipe *pipe),
	TP_ARGS(pipe),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(u32, kind)
		__field(u64, length)
	),
	TP_fast_assign(
		__entry->id = pipe->id;
		__entry->kind = pipe->kind;
		__entry->length = pipe->length;
	),
	TP_printk("id=%llu kind=%u length=%llu", __entry->id, __entry->kind, __entry->length)
);

TRACE_EVENT(vpfront_hand_over,
	TP_PROTO(const struct vpfront_flow *flow, bool home),
	TP_ARGS(flow, home),
	TP_STRUCT__entry(
		__field(u32, flow)
		__field(bool, home)
	),
	TP_fast_assign(
		__entry->flow = flow->id;
		__entry->home = home;
	),
	TP_printk("flow=%u to=%s", __entry->flow, __entry->home ? "guest" : "dom0")
);

TRACE_EVENT(vpfront_dispatch,
	TP_PROTO(const struct vpfront_pipe *pipe, const struct vpfront_flow *flow,
		 const struct vpfront_segment *seg),
	TP_ARGS(pipe, flow, seg),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(u32, flow)
		__field(u64, cookie)
		__field(u64, length)
	),
	TP_fast_assign(
		__entry->id = pipe->id;
		__entry->flow = flow->id;
		__entry->cookie = seg->cookie;
		__entry->length = seg->length;
	),
	TP_printk("id=%llu flow=%u cookie=%llu length=%llu",
		  __entry->id, __entry->flow, __entry->cookie, __entry->length)
);

TRACE_EVENT(vpfront_complete,
	TP_PROTO(const struct vpfront_pipe *pipe),
	TP_ARGS(pipe),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(u64, moved)
		__field(u32, status)
		__field(u32, reason)
		__field(int, error)
	),
	TP_fast_assign(
		__entry->id = pipe->id;
		__entry->moved = pipe->result.moved;
		__entry->status = pipe->result.status;
		__entry->reason = pipe->result.reason;
		__entry->error = pipe->result.error;
	),
	TP_printk("id=%llu moved=%llu status=%u reason=%u error=%d",
		  __entry->id, __entry->moved, __entry->status, __entry->reason, __entry->error)
);

#endif /* _VPFRONT_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
