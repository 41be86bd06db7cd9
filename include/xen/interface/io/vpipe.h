/* SPDX-License-Identifier: MIT */
/*
 * vpipe.h: the protocol between the vPipe frontend (a guest) and the vPipe
 * backend (the driver domain).  This header is normative; docs/protocol.md
 * tells the same as a story.  tests/unit/layout pins every offset.
 *
 * What it does
 * ============
 * The frontend hands over a live TCP connection (a "flow") and lists of disk
 * blocks (extents); the backend moves bytes between them and gives the
 * connection back.  Data never crosses this interface, but for the short queues
 * of a socket at hand-over and return.
 *
 * Neither side trusts the other: every field is copied out of shared memory once
 * and validated.  A side that sees the other break the protocol stops using the
 * queue ("broken") and answers nothing more; it never crashes.
 *
 * Xenstore
 * ========
 * Backend, /local/domain/<backend-id>/backend/vpipe/<frontend-id>/<devid>/
 *
 *   node                     values        written by  meaning
 *   frontend, frontend-id    path, number  toolstack
 *   online                   0 | 1         toolstack   0: do not come back after Closed
 *   state                    XenbusState   backend
 *   network-status           waiting |     backend     waiting: wants its network namespace,
 *                            connected                 see docs/protocol.md and vpipectl(8)
 *   version                  1             backend     protocol version
 *   max-queues               1..           backend     queues it will serve
 *   max-ring-page-order      0..4          backend     pages of a ring, as a power of two
 *   max-pool-pages           1..512        backend     pool pages of a queue
 *   max-flows                1..           backend     flows of a queue
 *   feature-file-to-socket   0 | 1         backend     TRANSFER from EXTENTS to SOCKET
 *   feature-socket-to-file   0 | 1         backend     UNREAD; TRANSFER from SOCKET to
 *                                                      BUFFER and from BUFFER to EXTENTS
 *   feature-file-to-file     0 | 1         backend     OPEN; TRANSFER from EXTENTS to
 *                                                      BUFFER and from BUFFER to EXTENTS
 *   feature-socket-to-socket 0 | 1         backend     UNREAD; TRANSFER from SOCKET to
 *                                                      SOCKET
 *   feature-ipv6             0 | 1         backend     ATTACH of family 6
 *
 * Frontend, /local/domain/<frontend-id>/device/vpipe/<devid>/
 *
 *   backend, backend-id      path, number  toolstack
 *   state                    XenbusState   frontend
 *   version                  1             frontend    the version it speaks
 *   num-queues               1..           frontend
 *   queue-<n>/ring-page-order  number      frontend
 *   queue-<n>/ring-ref<m>    grant         frontend    command ring, page m
 *   queue-<n>/event-ref      grant         frontend    event page (struct xen_vpipe_event_page)
 *   queue-<n>/pool-ref       grant         frontend    directory page: pool-pages uint32_t grants
 *   queue-<n>/pool-pages     number        frontend    pages in the pool
 *   queue-<n>/event-channel  port          frontend    one for commands, responses and events
 *
 * States
 * ======
 *   Frontend                             Backend
 *   Initialising                         Initialising: waits for its network
 *                                          namespace (vpipectl attach)
 *                                        writes version, max-*, feature-*
 *                                        InitWait
 *   makes the queues, grants all pages,
 *   writes queue-<n>/
 *   Initialised
 *                                        maps all pages once, binds the channels
 *                                        Connected
 *   Connected
 *     ... commands, responses, events ...
 *                                        Closing (toolstack wrote it, online = 0)
 *   refuses new operations, cancels and
 *   returns all flows, then
 *   Closing, frees nothing yet
 *                                        unmaps everything
 *                                        Closed
 *   frees the queues
 *   Closed
 *
 * When the frontend's domain dies, the backend sees an unknown state: it unmaps
 * at once and closes all flows silently.  A backend that vanishes leaves the
 * flows lost: the frontend resets those connections.
 *
 * Queue
 * =====
 * A queue is a command ring (DEFINE_RING_TYPES, frontend produces), an event page
 * (backend produces) and a pool of pages which is granted and mapped as long as
 * the queue lives: commands name pool pages by index, so that an operation costs
 * no grant operation.  A page named by a command belongs to the backend until the
 * response.
 *
 * Each command is answered without waiting for a network peer: what takes long
 * (a TRANSFER, a DETACH) is accepted by its response and ends by an event.  So
 * the number of open flows does not depend on the size of the ring.
 *
 * The backend notifies of a response when rsp_event asks for it, and, whatever that
 * says, when it is a refusal.
 *
 * Commands are executed in order.  Flow numbers are the frontend's choice, so it
 * can push ATTACH, QUEUE, TRANSFER and DETACH at once; when one fails the later
 * ones of the same flow fail too.
 *
 * A flow's life
 * =============
 *   frontend (guest)                       backend (driver domain)
 *   freezes the socket, snapshot
 *   ATTACH(state)                     -->  makes the shadow socket, not live yet
 *   QUEUE(bytes of the send queue) *  -->  restores them; live (frames are steered)
 *                                          when all of snd_nxt - snd_una are there
 *   TRANSFER(extents, flow) *         -->  queued; moved in order
 *                                     <--  event TRANSFER_DONE(cookie, moved) *
 *   ... further TRANSFERs, as long as it likes
 *                                     <--  event INPUT: the peer has sent something that
 *                                          no TRANSFER takes
 *   DETACH                            -->  once the TRANSFERs have ended: freezes the
 *                                          shadow
 *                                     <--  event DETACHED
 *   RETURN(pages) *                   -->  first page: state; others: unread bytes,
 *                                          then the send queue
 *   thaws the socket with that state
 *   RELEASE                           -->  forgets the shadow, without a FIN
 *
 * No frame is lost on the way.  The backend holds those from the peer from ATTACH
 * until the shadow is live, and from the freeze of the shadow until RELEASE.  Those
 * that the frontend's kernel receives for a frozen socket, it sends back by the vif
 * as they are ("strays").  After ATTACH the backend sends a marker, a TCP segment
 * of the connection without any flag, to the vif: when it comes back as a stray, all
 * strays have come, and all that the guest itself had sent.  Until then (or for
 * about HOLD_MS) the shadow receives and sends nothing.
 *
 * A flow whose socket is a source has the bytes that the guest had received and
 * not read put first (UNREAD, after the last QUEUE).  A flow may be no connection
 * at all (OPEN instead of ATTACH; no QUEUE, no UNREAD, no RETURN): the context of
 * a copy from disk to disk.
 *
 * Files as sinks
 * ==============
 * A filesystem allocates the blocks of a write, and holds locks from then until
 * the data is on the disk.  So data waits for blocks, and no filesystem waits for
 * a network peer: each flow has a BUFFER in the backend (first in, first out).
 *
 *   TRANSFER(SOCKET or EXTENTS, BUFFER) *  -->  the source is read
 *                                     <--  event TRANSFER_DONE(cookie, moved)
 *   has its filesystem write that much,
 *   catches the bios
 *   TRANSFER(BUFFER, EXTENTS) *       -->  written
 *                                     <--  event TRANSFER_DONE(cookie, moved, status)
 *   ends the bios: the filesystem
 *   commits
 *
 * The TRANSFERs into the buffer are done in their order, those out of it in
 * theirs; both go on at the same time.  When a write fails its bytes are in the
 * buffer again, at its head.  What is in the buffer of a connection at its DETACH
 * is unread data: it goes home by RETURN, before what the shadow has not read.
 *
 * Numbers are in the byte order of the (one) machine; ports and addresses are in
 * network byte order.  Status values are 0 or negative, numbered as Linux's errno
 * on x86.
 */
#ifndef __XEN_PUBLIC_IO_VPIPE_H__
#define __XEN_PUBLIC_IO_VPIPE_H__

#ifdef __KERNEL__
#include <linux/types.h>
#include <xen/interface/io/ring.h>
#else
#include <stdint.h>
#endif

#define XEN_VPIPE_VERSION		1

#define XEN_VPIPE_MAX_RING_PAGE_ORDER	4
#define XEN_VPIPE_MAX_POOL_PAGES	512
#define XEN_VPIPE_HOLD_MS		200
#define XEN_VPIPE_PAGE_SIZE		4096

/* Commands */
#define XEN_VPIPE_OP_ATTACH	1
#define XEN_VPIPE_OP_QUEUE	2
#define XEN_VPIPE_OP_TRANSFER	3
#define XEN_VPIPE_OP_CANCEL	4
#define XEN_VPIPE_OP_DETACH	5
#define XEN_VPIPE_OP_RETURN	6
#define XEN_VPIPE_OP_RELEASE	7
#define XEN_VPIPE_OP_OPEN	8
#define XEN_VPIPE_OP_UNREAD	9

/* Events */
#define XEN_VPIPE_EVT_TRANSFER_DONE	1
#define XEN_VPIPE_EVT_DETACHED		2
#define XEN_VPIPE_EVT_INPUT		3

/*
 * ATTACH: make a flow.
 *         0        2        4                 8                12               16
 *   +----------------+-----------------------------------------------------------+
 *   | page           | reserved (0)                                              |
 *   +----------------+-----------------------------------------------------------+
 * page: pool page that holds a struct xen_vpipe_tcp_state.
 * Status: -EEXIST flow number in use, -EINVAL bad state, -EPERM an address that
 * is not the domain's, -ENODEV no such vif, -ENOSPC limit reached,
 * -EADDRINUSE another flow of the domain has these addresses, -ENOMEM.
 */
struct xen_vpipe_attach {
	uint16_t page;
	uint16_t reserved[23];
};

/*
 * QUEUE: the next `length` bytes of the flow's send queue, from snd_una on, in
 * pool pages, each full but the last.
 * Status: -ENOENT no such flow, -EINVAL more than announced or bad pages; -ENOMEM
 * the flow was not live, and nothing is lost when it is released; -ECONNRESET it was,
 * may have received already, and the connection is lost.
 */
#define XEN_VPIPE_QUEUE_PAGES	20
struct xen_vpipe_queue {
	uint32_t length;
	uint16_t reserved[2];
	uint16_t page[XEN_VPIPE_QUEUE_PAGES];
};

/*
 * UNREAD: the next `length` bytes of what the guest has received and its program
 * has not read, in pool pages as for QUEUE.  The flow's TRANSFERs read them before
 * the socket.  After one that fails nothing can be moved: the frontend takes the
 * connection home, and with it come the bytes of those that did not fail.  Status:
 * -ENOENT no such flow, -EINVAL bad pages or none, before the last QUEUE, after the
 * first TRANSFER, no connection, cancelled, being detached, the sink of another, or
 * more than MAX_UNREAD in all; -ENOMEM.
 */
#define XEN_VPIPE_MAX_UNREAD	(8U << 20)

/*
 * OPEN: make a flow that is no connection.  Status: -EEXIST flow number in use,
 * -EINVAL reserved members, -ENOSPC limit reached, -ENOMEM.
 */
struct xen_vpipe_open {
	uint32_t reserved[12];
};

/*
 * One end of a TRANSFER.
 *   XEN_VPIPE_END_SOCKET:  id = flow; nr, page, skip are 0
 *   XEN_VPIPE_END_EXTENTS: id = virtual device number of a vbd of this domain,
 *                          page = pool page with nr struct xen_vpipe_extent,
 *                          skip = bytes of the first extent to leave out
 *   XEN_VPIPE_END_BUFFER:  id = flow; nr, page, skip are 0
 * As a sink EXTENTS may have the flag XEN_VPIPE_END_FUA added to its type: the data
 * is on stable storage when TRANSFER_DONE comes, and not only in a volatile cache
 * of the disk (which a flush of the vbd writes out).
 */
#define XEN_VPIPE_END_SOCKET	1
#define XEN_VPIPE_END_EXTENTS	2
#define XEN_VPIPE_END_BUFFER	3
#define XEN_VPIPE_END_FUA	0x100
struct xen_vpipe_end {
	uint16_t type;
	uint16_t page;
	uint32_t id;
	uint32_t nr;
	uint32_t skip;
};

/*
 * An extent: `nr` sectors of 512 bytes from `sector` on, counted on the vbd; or,
 * at XEN_VPIPE_SECTOR_ZERO, that many sectors of zeros (a hole).  In one TRANSFER
 * extents must not overlap, must lie within the vbd, and must hold at least
 * skip + length bytes, with none left over.
 */
#define XEN_VPIPE_SECTOR_ZERO	(~(uint64_t)0)
struct xen_vpipe_extent {
	uint64_t sector;
	uint32_t nr;
	uint32_t reserved;
};

#define XEN_VPIPE_MAX_EXTENTS	(XEN_VPIPE_PAGE_SIZE / sizeof(struct xen_vpipe_extent))

/*
 * TRANSFER: move `length` bytes from source to sink.  The response says that it
 * is valid and queued; event TRANSFER_DONE with `cookie` tells its end.  Source,
 * sink and what is special:
 *   EXTENTS, SOCKET  the command's flow is the sink's
 *   SOCKET, BUFFER   the command's flow is both.  Ends early, with status 0, when
 *                    some bytes have come and the next take longer than about
 *                    GATHER_MS, and at the end of the stream.  moved = 0 with
 *                    status 0 means that the stream has ended, with -ENOBUFS that
 *                    for about STARVE_MS there was no room for a single byte.
 *   EXTENTS, BUFFER  the command's flow is the sink's.  Ends early, with status 0,
 *                    when for about GATHER_MS there is no room in the flow's buffer
 *                    (32 MiB), or for STARVE_MS in what the domain's flows share
 *   BUFFER, EXTENTS  the command's flow is the source's.  `length` is whole blocks
 *                    of the vbd, exactly those of the list, which has no zeros and
 *                    skip 0; and no more than the TRANSFERs into the buffer have
 *                    said to have moved less what was asked of it already.
 *   SOCKET, SOCKET   two flows of this queue; the command's flow is the source's.
 *                    Ends at the end of the stream with status 0 and moved <
 *                    length.  Of the sink nothing else may be asked meanwhile but
 *                    CANCEL, DETACH (which waits for the end of this) and RELEASE.
 * What ends one of them in error (a disk that fails, a connection that is reset or
 * cancelled, also that of the other flow) ends all that come after it on the flow, but
 * for writes from the buffer, which go on; a write that fails ends the writes.
 * Status: -ENOENT no such flow, -ENODEV no such vbd or none that can be used,
 * -EROFS a vbd that the domain may not write, -EINVAL bad list (also: not whole
 * blocks of the vbd), -ERANGE outside the vbd, -EOPNOTSUPP a pair of ends that is
 * not served, -EBUSY the flow is the sink of another, or the sink is in use, -ENOSPC
 * too many on this flow, or too many events not taken, -ESHUTDOWN cancelled, being
 * detached, or a write has failed; -ENOMEM.
 */
#define XEN_VPIPE_GATHER_MS	20
#define XEN_VPIPE_STARVE_MS	1000
struct xen_vpipe_transfer {
	uint64_t cookie;
	uint64_t length;
	struct xen_vpipe_end source;
	struct xen_vpipe_end sink;
};

/*
 * CANCEL: end the flow's TRANSFERs now (event with -ECANCELED and an exact count,
 * or their own end; a write to EXTENTS that has begun is finished).  No TRANSFER is
 * accepted after it.  Status: -ENOENT.
 */
struct xen_vpipe_cancel {
	uint32_t reserved[12];
};

/*
 * DETACH: end the flow once its TRANSFERs have ended.  With settle_ms it waits before
 * that, at most so many milliseconds (and a minute), until the peer has acknowledged
 * all, so that no send queue has to go home; a further DETACH sets another time, from
 * then on.  Event DETACHED follows.  With XEN_VPIPE_DETACH_FIN the program has closed
 * its socket: unless it has left something unread, a FIN follows what is in the send
 * queue.  When that is acknowledged in time the state is one of a closed connection;
 * otherwise it is that without the FIN, which the frontend then sends (again).
 * Status: -ENOENT, -EALREADY detached, -EINVAL unknown flags; -ENOMEM, -ECONNRESET a
 * QUEUE has failed.
 */
#define XEN_VPIPE_DETACH_FIN	1
struct xen_vpipe_detach {
	uint32_t settle_ms;
	uint32_t flags;
	uint32_t reserved[10];
};

/*
 * RETURN: after DETACHED of a connection.  Pool page page[0] receives a struct
 * xen_vpipe_tcp_state; page[1] and on receive, from `offset` on and as many as fit,
 * the flow's unread bytes and behind them its send queue (snd_una to write_seq); the
 * response's value is their number.
 * Status: -ENOENT, -EBUSY not detached yet, -EINVAL no connection, bad pages, or not
 * where the last one ended.
 */
#define XEN_VPIPE_RETURN_PAGES	20
struct xen_vpipe_return {
	uint32_t offset;
	uint16_t nr_pages;
	uint16_t reserved;
	uint16_t page[XEN_VPIPE_RETURN_PAGES];
};

/*
 * RELEASE: forget the flow, at any time.  Its shadow socket goes without a FIN
 * (with a RST when it was live and did not detach with status 0, or when the frontend
 * says with XEN_VPIPE_RELEASE_LOST that it could not take the connection home); frames
 * go to the frontend again.  Status: -ENOENT, -EINVAL unknown flags.
 */
#define XEN_VPIPE_RELEASE_LOST	1
struct xen_vpipe_release {
	uint32_t flags;
	uint32_t reserved[11];
};

struct xen_vpipe_request {
	uint16_t op;		/* XEN_VPIPE_OP_* */
	uint16_t reserved;
	uint32_t id;		/* comes back in the response */
	uint32_t flow;		/* 0 .. max-flows - 1 */
	uint32_t reserved2;
	union {
		struct xen_vpipe_attach attach;
		struct xen_vpipe_queue queue;
		struct xen_vpipe_transfer transfer;
		struct xen_vpipe_cancel cancel;
		struct xen_vpipe_detach detach;
		struct xen_vpipe_return ret;
		struct xen_vpipe_release release;
		struct xen_vpipe_open open;
	} u;			/* UNREAD: queue */
};

struct xen_vpipe_response {
	uint32_t id;
	uint16_t op;
	uint16_t reserved;
	int32_t status;
	uint32_t value;		/* RETURN: bytes */
};

/*
 * An event.
 *   TRANSFER_DONE: flow (the command's), cookie, moved = bytes given to the sink,
 *                  status
 *   DETACHED:      flow, status
 *   INPUT:         flow: it has no TRANSFER, and there is something that a program
 *                  would see: bytes, the end of the stream, an error.  Once until
 *                  the next TRANSFER has ended.
 */
struct xen_vpipe_event {
	uint16_t type;		/* XEN_VPIPE_EVT_* */
	uint16_t reserved;
	uint32_t flow;
	uint64_t cookie;
	uint64_t moved;
	int32_t status;
	uint32_t reserved2;
};

/*
 * The event page: a ring of its own, backend to frontend, free-running indices.
 * The backend writes events and prod.  When it finds the page full it sets
 * `full`, keeps its events and looks at cons once more; a frontend that has
 * advanced cons and finds `full` set clears it and notifies.
 */
#define XEN_VPIPE_EVENTS	64	/* event n is event[n % XEN_VPIPE_EVENTS] */
struct xen_vpipe_event_page {
	uint32_t prod;		/* backend */
	uint32_t cons;		/* frontend */
	uint32_t full;		/* set by backend, cleared by frontend */
	uint32_t reserved[5];
	struct xen_vpipe_event event[XEN_VPIPE_EVENTS];
};

/* struct xen_vpipe_tcp_state: what a live connection is */
#define XEN_VPIPE_TCP_ESTABLISHED	1
#define XEN_VPIPE_TCP_CLOSE_WAIT	2	/* the peer has sent its FIN */
#define XEN_VPIPE_TCP_CLOSED		3	/* reset or timed out: see error */
/* From the backend, after DETACH_FIN: the FIN is in the sequence space, acknowledged. */
#define XEN_VPIPE_TCP_FIN_WAIT2		4	/* the peer has not sent its own */
#define XEN_VPIPE_TCP_TIME_WAIT		5	/* it has, after that */
#define XEN_VPIPE_TCP_DONE		6	/* it had, before that: all is over */
/* Likewise, but the FIN is not acknowledged: as if it had not been sent yet. */
#define XEN_VPIPE_TCP_CLOSING		7	/* the peer has sent its own after that */

#define XEN_VPIPE_TCP_F_SACK		(1U << 0)
#define XEN_VPIPE_TCP_F_TIMESTAMPS	(1U << 1)
#define XEN_VPIPE_TCP_F_WSCALE		(1U << 2)
#define XEN_VPIPE_TCP_F_USEC_TS		(1U << 3)	/* timestamps tick in microseconds */
#define XEN_VPIPE_TCP_F_ECN		(1U << 4)
#define XEN_VPIPE_TCP_F_NODELAY		(1U << 5)
#define XEN_VPIPE_TCP_F_KEEPALIVE	(1U << 6)
#define XEN_VPIPE_TCP_F_RCVBUF_LOCK	(1U << 7)	/* the program has set rcvbuf */
#define XEN_VPIPE_TCP_F_SNDBUF_LOCK	(1U << 8)	/* ... and sndbuf */

/*
 * Addresses are unicast and leave by the vif.  Family 4: the first four bytes, the rest
 * is 0.  Not in family 4: 0/8, 127/8, 224/3.  Not in family 6: ::/80 (unspecified,
 * loopback, IPv4 in IPv6; a connection of ::ffff:0:0/96 is one of family 4), fe80::/10
 * (means nothing without an interface), ff00::/8.
 *
 * What IPv6 has and is not carried: extension headers and a flow label that the program
 * has leased (such connections stay in the guest).  An automatic flow label (RFC 6437) is
 * carried: by it, network interfaces, GRO and multipath routers tell which frames must
 * stay in order.
 */
struct xen_vpipe_tcp_state {
	uint16_t state;		/* XEN_VPIPE_TCP_* */
	uint16_t family;	/* 4 or 6 (RFC 791, RFC 8200) */
	uint16_t vif;		/* handle of the vif by which it leaves */
	uint8_t nexthop[6];	/* MAC address of the next hop */
	uint16_t local_port;
	uint16_t peer_port;
	uint8_t local_addr[16];
	uint8_t peer_addr[16];

	/* sequence space (RFC 9293, 3.3.1) */
	uint32_t snd_una;	/* oldest unacknowledged */
	uint32_t snd_nxt;	/* next to be sent */
	uint32_t write_seq;	/* end of the send queue */
	uint32_t snd_wl1;	/* sequence of the last window update */
	uint32_t snd_wnd;	/* peer's window, bytes */
	uint32_t max_window;	/* largest that it ever offered, bytes */
	uint32_t rcv_nxt;	/* next expected, a FIN not counted */
	uint32_t rcv_wnd;	/* our window, bytes */
	uint32_t rcv_wup;	/* rcv_nxt at the last window update sent */

	/* options (RFC 7323, RFC 2018) */
	uint32_t flags;		/* XEN_VPIPE_TCP_F_* */
	uint8_t snd_wscale;	/* 0..14 */
	uint8_t rcv_wscale;	/* 0..14 */
	uint8_t tos;		/* family 6: traffic class */
	uint8_t ttl;		/* family 6: hop limit; 0: the backend's default */
	uint32_t ts_val;	/* the TSval that would be sent now */
	uint32_t ts_recent;	/* the peer's last TSval */
	uint32_t mss_clamp;	/* what the peer announced or, if less, the path takes; bytes */
	uint32_t advmss;	/* what we announced, bytes */

	/* buffers, bytes */
	uint32_t rcvbuf;
	uint32_t sndbuf;
	uint32_t window_clamp;
	uint32_t rcv_ssthresh;

	/* congestion control */
	uint32_t cwnd;		/* segments */
	uint32_t ssthresh;	/* segments */
	uint32_t srtt_us;	/* smoothed RTT, microseconds << 3 */
	uint32_t mdev_us;	/* mean deviation, microseconds << 2 */
	uint32_t rttvar_us;	/* as above, smoothed */
	uint32_t rto_us;	/* retransmission time-out, microseconds */
	uint8_t congestion[16];	/* name of the algorithm, NUL-terminated */

	uint32_t error;		/* from the backend: CLOSED: why, a positive errno */
	/* bytes received in order and not read (to the backend: so that there is less room,
	 * whether they come by UNREAD or stay), or not moved (from it: RETURN's)
	 */
	uint32_t unread;
	uint32_t retransmits;	/* from the backend: segments sent again by the shadow */
	uint32_t rcv_per_rtt;	/* most bytes ever taken in a round trip: sizes buffers */

	/* when snd_nxt is not snd_una: how long ago the first and the last of that was
	 * sent, microseconds
	 */
	uint32_t age_first_us;
	uint32_t age_last_us;

	/* what the program has set; to the backend only */
	uint32_t user_timeout_ms;	/* RFC 5482; 0: the system's */
	uint32_t keep_idle_s;		/* with F_KEEPALIVE: 1..32767 */
	uint32_t keep_interval_s;	/* the same */
	uint32_t keep_probes;		/* the same: 1..127 */
	uint32_t rcv_space;		/* with F_RCVBUF_LOCK: bytes of data that rcvbuf holds */
	uint64_t max_pacing_rate;	/* bytes a second; all ones: no limit */

	/* from the backend only: what happened there, to be added to RFC 4898's counters */
	uint64_t bytes_acked;
	uint64_t bytes_received;
	uint64_t bytes_sent;
	uint64_t bytes_retransmitted;
	uint32_t segs_out;
	uint32_t segs_in;
	uint32_t data_segs_out;
	uint32_t data_segs_in;

	/* family 6, else 0; of the frames, 20 bits (RFC 8200, 6) */
	uint32_t flow_label;		/* to the backend only: ours; 0: none */
	uint32_t peer_flow_label;	/* the peer's, as seen last; 0: none, or not known */

	/* to the backend only: as far as the guest's buffers grow by themselves, bytes; 0: the
	 * backend's own limit.  What is in the shadow's has to find room there in the end.
	 */
	uint32_t rcvbuf_most;
	uint32_t sndbuf_most;
};

#ifdef DEFINE_RING_TYPES	/* whoever wants the ring includes ring.h first */
DEFINE_RING_TYPES(xen_vpipe, struct xen_vpipe_request, struct xen_vpipe_response);
#endif

#endif /* __XEN_PUBLIC_IO_VPIPE_H__ */
