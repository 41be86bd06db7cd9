/* SPDX-License-Identifier: GPL-2.0 */
/*
 * vpfront.h: what the files of the frontend module offer each other.
 *
 * The way of a transfer: chardev.c (ioctl) -> ends.c (may it be?) -> pipe.c (one
 * operation's life) -> flow.c (connections that are away) and feed.c (what is moved next) ->
 * file.c (file to extents), sink.c (extents to be written), sock.c (socket to TCP state) ->
 * command.c and ring.c (to the backend) -> ... events -> ring.c -> pipe.c -> chardev.c.
 */
#ifndef _VPFRONT_H
#define _VPFRONT_H

#include <linux/bio.h>
#include <linux/fs.h>
#include <linux/kref.h>
#include <linux/net.h>
#include <linux/spinlock.h>
#include <linux/timer.h>
#include <linux/types.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>
#include <xen/grant_table.h>
#include <xen/xenbus.h>
#include <xen/interface/io/ring.h>
#include <xen/interface/io/vpipe.h>
#include <linux/vpipe.h>

/* --- xenbus.c: the device, and who may use it -------------------------- */

struct vpfront_queue;

struct vpfront_device {
	struct xenbus_device *xbdev;
	struct vpfront_queue **queue;
	unsigned int nr_queues;
	unsigned int max_flows;		/* of a queue, as the backend said */
	u32 kinds;			/* bit (1 << enum vpipe_kind) for each that it serves */
	bool ipv6;			/* it serves connections of IPv6 */
	bool broken;			/* the backend broke the protocol or is gone */
	bool closing;			/* no new operations; the running ones come home */
	bool connected;
	bool gone;			/* the backend touches nothing of ours any more */
	unsigned int users;		/* operations and flows, under the lock of xenbus.c */
	atomic_t to_file;		/* operations with a file as sink */
	enum xenbus_state backend_state;
	wait_queue_head_t wait;		/* for users, backend_state, gone; for a write to end */
	struct work_struct close_work;	/* sees the operations off */
};

struct vpfront_device *vpfront_xenbus_get(void);
void vpfront_xenbus_hold(struct vpfront_device *dev);
void vpfront_xenbus_put(struct vpfront_device *dev);
bool vpfront_xenbus_gone(struct vpfront_device *dev);
int vpfront_xenbus_init(void);
void vpfront_xenbus_exit(void);

/* --- ring.c: one queue: commands out, responses and events in ------------ */

struct vpfront_pipe;
struct vpfront_flow;

/* A command on its way.  The caller fills req but for its id, and pages. */
struct vpfront_call {
	struct list_head node;		/* for the caller, who may keep several */
	struct xen_vpipe_request req;
	u16 page[XEN_VPIPE_QUEUE_PAGES + 1];	/* pool pages, given back by _free */
	unsigned int nr_pages;
	bool posted;			/* the ring's: freed by its answer */
	bool answered;
	s32 status;
	u32 value;
};

struct vpfront_queue *vpfront_ring_create(struct vpfront_device *dev, unsigned int index,
					  unsigned int ring_order, unsigned int pool_pages);
void vpfront_ring_quiesce(struct vpfront_queue *queue);
void vpfront_ring_destroy(struct vpfront_queue *queue);
int vpfront_ring_publish(struct vpfront_queue *queue, struct xenbus_transaction xbt);
void vpfront_ring_break(struct vpfront_queue *queue);

struct vpfront_call *vpfront_ring_call_alloc(struct vpfront_queue *queue, u16 op, u32 flow,
					     unsigned int nr_pages, bool wait);
void vpfront_ring_call_free(struct vpfront_queue *queue, struct vpfront_call *call);
void *vpfront_ring_page(struct vpfront_queue *queue, u16 page);
int vpfront_ring_push(struct vpfront_queue *queue, struct vpfront_call *call);
int vpfront_ring_post(struct vpfront_queue *queue, struct vpfront_call *call, bool wait);
void vpfront_ring_kick(struct vpfront_queue *queue);
int vpfront_ring_wait(struct vpfront_queue *queue, struct vpfront_call *call);
int vpfront_ring_flow_get(struct vpfront_queue *queue, struct vpfront_flow *flow,
			  struct vpfront_pipe *pipe, u32 *id);
struct vpfront_pipe *vpfront_ring_flow_bind(struct vpfront_queue *queue,
					    struct vpfront_flow *flow, struct vpfront_pipe *pipe);
struct vpfront_pipe *vpfront_ring_flow_put(struct vpfront_queue *queue,
					   struct vpfront_flow *flow);
void vpfront_ring_kick_flows(struct vpfront_queue *queue);
void vpfront_ring_kick_pipe(struct vpfront_queue *queue, struct vpfront_flow *flow);

/* --- capture.c: the bios of reads and writes that never reach the disk --- */

struct vpfront_capture {
	struct list_head node;
	struct gendisk *disk;		/* where the bios must be going */
	enum req_op op;
	struct bio_vec *bvec;		/* how they are recognised; clones share it */
	unsigned int nr_bvec;
	unsigned int mark_bytes;	/* of the marked pages, that each of them points at */
	unsigned int spoilt;		/* how often the marked pages had been, before */
	struct block_device *bdev;	/* where they were going */
	/* Byte `pos` of the range, in the submitter's context; _end_bio must follow. */
	void (*caught)(struct vpfront_capture *cap, struct bio *bio, u64 pos);
};

int vpfront_capture_begin(struct vpfront_capture *cap, size_t len);
void vpfront_capture_end(struct vpfront_capture *cap);
void vpfront_capture_end_bio(struct vpfront_capture *cap, struct bio *bio, blk_status_t status);
bool vpfront_capture_clean(const struct vpfront_capture *cap, size_t len);
int vpfront_capture_init(void);
void vpfront_capture_exit(void);

/* --- blocks.c: which disk blocks a read would have touched --------------- */

struct vpfront_segment;

ssize_t vpfront_blocks_list(struct file *file, struct gendisk *disk, loff_t pos, size_t len,
			    bool nowait, struct vpfront_segment *seg, u64 *end);

/* --- file.c: a file's range as extents of a virtual disk ----------------- */

struct vpfront_file {
	struct file *file;		/* our own, so that the file position is too */
	struct gendisk *disk;
	u32 vdev;			/* virtual device number */
	unsigned int align;		/* bytes, a power of two */
	bool by_lock;			/* how its blocks are pinned, see file.c */
};

/* A piece of the source; of a file: with its blocks pinned until it is released. */
struct vpfront_segment {
	struct inode *pinned;		/* whose blocks stay where they are, or NULL */
	bool locked;			/* by its lock, else by an inode_dio_begin() */
	u64 length;			/* bytes, from the first extent's skip on */
	u32 skip;
	u32 nr;
	struct xen_vpipe_extent *extent; /* XEN_VPIPE_MAX_EXTENTS of them */
	u64 cookie;
	bool mapped;			/* and not yet given to the backend */
	int busy;			/* with the backend: who clears it unpins */
};

int vpfront_file_open(struct file *user, struct vpfront_file *vf, bool sink);
void vpfront_file_close(struct vpfront_file *vf);
int vpfront_file_flush(struct vpfront_file *vf, u64 pos, u64 end);
int vpfront_file_map(struct vpfront_file *vf, u64 pos, u64 end, bool nowait,
		     struct vpfront_segment *seg);
bool vpfront_file_contended(struct vpfront_file *vf);
void vpfront_file_unpin(struct vpfront_segment *seg);
int vpfront_file_extents_alloc(struct vpfront_segment *seg);
int vpfront_file_extent_add(struct vpfront_segment *seg, u64 sector, u64 bytes);

/* --- route.c: how a connection's frames leave ------------------------------- */

struct vpfront_sock;

int vpfront_route_find(struct sock *sk, struct xen_vpipe_tcp_state *st);
bool vpfront_route_changed(struct vpfront_sock *vs);

/* --- sock.c: a live connection, out of and back into a socket ------------ */

struct vpfront_sock {
	struct sock *sk;
	struct socket *socket;			/* whose it is; socket lock */
	struct socket *carrier;			/* that, once the program has closed its own */
	struct xen_vpipe_tcp_state state;	/* as frozen */
	int tcp_state;				/* TCP_ESTABLISHED or TCP_CLOSE_WAIT */
	u32 unread;				/* bytes received and not read, as frozen */
	u64 bytes_received;			/* as tcp_info has it */
	bool source;				/* they have gone along */
	bool frozen;				/* a shell */
	bool shown;				/* which looks like a connection */
	bool thawing, ended;			/* on its way back; which nobody wants */
	struct rcu_work show;			/* ... from when no frame can reach it */

	/* strays.c's */
	struct hlist_node stray_node;		/* RCU */
	struct net *net;			/* the socket's, and its hash: */
	u32 txhash;				/* a hook does not look at the socket */
	struct sk_buff_head strays;		/* that wait; its lock serialises: */
	bool strays_go;				/* the driver domain takes them */
	bool strays_over;			/* the socket takes them itself */
	int ifindex;				/* the interface by which they should come */
	struct sk_buff_head foreign;		/* those that came by another; the same lock */
	bool astray;				/* there were any */
};

void vpfront_sock_init(struct vpfront_sock *vs, struct socket *socket, bool source);
int vpfront_sock_freeze(struct vpfront_sock *vs);
u32 vpfront_sock_copy_queue(struct vpfront_sock *vs, u32 offset, void *to, u32 len);
u32 vpfront_sock_copy_unread(struct vpfront_sock *vs, u32 offset, void *to, u32 len);
void vpfront_sock_left(struct vpfront_sock *vs);
void vpfront_sock_unfreeze(struct vpfront_sock *vs);
bool vpfront_sock_awaited(struct vpfront_sock *vs);
bool vpfront_sock_awaits_room(struct vpfront_sock *vs);
bool vpfront_sock_all_read(struct vpfront_sock *vs, u32 taken);
bool vpfront_sock_carry(struct vpfront_sock *vs, struct socket *carrier);
int vpfront_sock_thaw_begin(struct vpfront_sock *vs, const struct xen_vpipe_tcp_state *st);
int vpfront_sock_thaw_data(struct vpfront_sock *vs, const struct xen_vpipe_tcp_state *st,
			   u32 offset, struct iov_iter *from);
void vpfront_sock_thaw_end(struct vpfront_sock *vs, const struct xen_vpipe_tcp_state *st,
			   bool finish);
void vpfront_sock_abort(struct vpfront_sock *vs, int error);

/* --- conntrack.c: what this kernel's connection tracking thinks of it ------- */

int vpfront_conntrack_leave(struct sock *sk, const struct xen_vpipe_tcp_state *st);
void vpfront_conntrack_closed(struct sock *sk, const struct xen_vpipe_tcp_state *st);

/* --- strays.c: frames that come for a connection that is away -------------- */

void vpfront_strays_begin(struct vpfront_sock *vs);
void vpfront_strays_carry(struct vpfront_sock *vs);
void vpfront_strays_go(struct vpfront_sock *vs);
void vpfront_strays_stay(struct vpfront_sock *vs);
void vpfront_strays_end(struct vpfront_sock *vs);
int vpfront_strays_init(void);
void vpfront_strays_exit(void);

/* --- guard.c: keeps callers off a socket that is away -------------------- */

bool vpfront_guard_set(struct socket *socket);
bool vpfront_guard_stands(struct socket *socket);
void vpfront_guard_clear(struct socket *socket);
int vpfront_guard_init(void);

/* --- flow.c: a connection that is away, or the context of a copy ------------- */

enum vpfront_flow_state {
	VPFRONT_FLOW_BUSY,	/* an operation's */
	VPFRONT_FLOW_IDLE,	/* with the backend, and nobody's */
	VPFRONT_FLOW_RETURNING,	/* on its way home */
	VPFRONT_FLOW_HOME,
};

struct vpfront_flow {
	struct kref ref;
	struct rcu_head rcu;		/* strays.c may be looking at it */
	struct vpfront_device *dev;	/* held */
	struct vpfront_queue *queue;
	u32 id;
	struct vpfront_sock sock;	/* no sk: a flow that is no connection */
	struct hlist_node node;		/* by its sk; these three under flows_lock */
	enum vpfront_flow_state state;
	bool wanted;			/* somebody waits for the socket */
	bool away;			/* the backend has it */
	bool look;			/* has its way changed?  The work is to see */
	bool rerouted;			/* it has: it must come home */
	struct work_struct work;	/* takes it home */
	struct timer_list idle_timer;
	unsigned long idle_until;	/* jiffies */
	struct list_head calls;		/* commands pushed, answers not looked at */
	int attach_status, queue_status, unread_status;
	u32 unread_sent;		/* bytes that the backend has taken */
	u32 unread_kept;		/* of them: those that the socket has still got */
	u32 sent, taken;		/* bytes moved into the socket and out of it, modulo 2^32 */
	bool cancel_sent, detach_sent;
	bool lost;			/* it could not be taken home: RELEASE says so */
	bool fin_sent;			/* with DETACH: the program has closed its socket */
	u32 settle_sent;		/* likewise, ms */

	/* Written by the event handler under the queue's lock. */
	struct vpfront_pipe *pipe;	/* whose it is; by whoever binds it */
	bool input;			/* the peer has sent something */
	bool detached;
};

void vpfront_flow_put(struct vpfront_flow *flow);
void vpfront_flow_kick(struct vpfront_flow *flow);
void vpfront_flow_queue_rcu(struct rcu_work *work);
void vpfront_flow_astray(struct vpfront_sock *vs);
bool vpfront_flow_look_all(void);
void vpfront_flow_event(struct vpfront_flow *flow, const struct xen_vpipe_event *evt);
int vpfront_flow_get(struct vpfront_pipe *pipe, struct socket *socket, bool source);
bool vpfront_flow_get_kept(struct vpfront_pipe *pipe, struct socket *socket);
int vpfront_flow_freeze(struct vpfront_flow *flow);
int vpfront_flow_attach(struct vpfront_flow *flow);
void vpfront_flow_unfreeze(struct vpfront_flow *flow);
int vpfront_flow_judge(struct vpfront_flow *flow);
int vpfront_flow_cancel(struct vpfront_flow *flow);
void vpfront_flow_lost(struct vpfront_flow *flow);
void vpfront_flow_give_back(struct vpfront_flow *flow, u32 sent, u32 taken, bool stay);
bool vpfront_flow_want(struct sock *sk);
bool vpfront_flow_close(struct socket *socket);
void vpfront_flow_quiesce(struct vpfront_device *dev);
int vpfront_flow_init(void);
void vpfront_flow_exit(void);

/* --- watch.c: has the way of those that are away changed? -------------------- */

void vpfront_watch_begin(void);
int vpfront_watch_init(void);
void vpfront_watch_exit(void);

/* --- sink.c: the backend's data into a file --------------------------------- */

struct vpfront_sink {
	struct vpfront_file file;
	struct vpfront_capture cap;
	struct work_struct work;	/* hands to the backend what was caught */
	spinlock_t lock;		/* serialises held and caught */
	struct bio_list held;
	u64 caught;			/* bytes of this write that were caught */
	struct vpfront_segment batch;	/* what the backend writes just now */
	bool fua;			/* to stable storage */
	u64 written;			/* bytes of this write that the backend has written */
	bool failed;			/* or one that it has not: no more of this write */

	/* Written by the event handler under the queue's lock. */
	s32 status;
	u64 moved;
};

int vpfront_sink_open(struct vpfront_sink *sink, struct file *user);
void vpfront_sink_close(struct vpfront_sink *sink);
ssize_t vpfront_sink_write(struct vpfront_pipe *pipe, u64 pos, size_t len);
int vpfront_sink_init(void);
void vpfront_sink_exit(void);

/* --- pipe.c: one operation's life ---------------------------------------- */

enum vpfront_stage {
	VPFRONT_START,		/* nothing has happened yet */
	VPFRONT_MOVING,		/* the backend is at it */
	VPFRONT_RETURNING,	/* all has ended; its connections come home */
	VPFRONT_DONE,
};

#define VPFRONT_SEGMENTS	2	/* in flight at once */
#define VPFRONT_FLOWS		2	/* source and sink, if both are sockets */

struct vpfront_context;

struct vpfront_pipe {
	struct kref ref;
	struct work_struct work;	/* moves the stage, and so does who waits for the end */
	struct mutex run;		/* serialises these two */
	bool by_caller;			/* somebody waits, and is told of the last event */
	bool told;			/* he was */
	struct vpfront_device *dev;
	struct vpfront_queue *queue;
	u32 kind;
	enum vpfront_stage stage;

	struct file *in, *out;		/* references, so that close() does no harm */
	struct vpfront_flow *flow[VPFRONT_FLOWS];	/* commands name the first */
	unsigned int nr_flows;
	struct vpfront_file file;	/* the source */
	struct vpfront_sink sink;
	u64 length;			/* bytes asked for, cut at the end of the file */
	u64 pos, end;			/* of the source, what is still to be asked for, bytes */
	u64 out_pos;			/* where in the sink file the next byte goes */
	atomic64_t cookie;		/* the last one used */
	bool started;			/* the source was flushed */
	bool fed;			/* nothing more will be asked for */
	u64 mapped;			/* bytes handed to segments */
	u64 taken;			/* bytes that left the backend's buffer for a disk */
	bool revoked;			/* somebody else wants the file */
	unsigned int contended;		/* times in a row that this was seen */
	struct timer_list pin_timer;	/* looks after it while segments are pinned */
	struct vpfront_segment segment[VPFRONT_SEGMENTS];

	int reason;			/* enum vpipe_reason: why the rest is declined */
	bool in_use;			/* with that: another operation has one of the sockets */
	int file_error;			/* the source file or the sink file failed */

	/* Written by the event handler under the queue's lock. */
	int transfer_status;		/* the first refusal of a TRANSFER of the source */
	u64 filled;			/* bytes that came into the backend's buffer */
	u64 moved;			/* of a sink that is a file: written by the work */
	s32 error;			/* the first failure of a TRANSFER */
	bool ended;			/* the source's stream has ended */
	bool cut;			/* the buffer had no room for all of a segment */

	bool cancelled;			/* set once, by anyone */
	bool orphaned;			/* likewise: its process is gone */
	bool finished;			/* the result is final */
	struct vpipe_result result;

	/* chardev.c's: under the context's lock */
	bool sync;			/* its submitter waits for it and reaps it */
	struct vpfront_context *ctx;	/* NULL once reaped, or when the open file has gone */
	struct list_head node;
	u64 id, user_data;
	wait_queue_head_t wait;
};

static inline bool vpfront_pipe_from_socket(const struct vpfront_pipe *pipe)
{
	return pipe->kind == VPIPE_KIND_SOCKET_TO_FILE ||
	       pipe->kind == VPIPE_KIND_SOCKET_TO_SOCKET;
}

static inline bool vpfront_pipe_to_socket(const struct vpfront_pipe *pipe)
{
	return pipe->kind == VPIPE_KIND_FILE_TO_SOCKET ||
	       pipe->kind == VPIPE_KIND_SOCKET_TO_SOCKET;
}

struct vpfront_pipe *vpfront_pipe_create(u32 kind, struct file *in, struct file *out,
					 u64 in_offset, u64 out_offset, u64 length);
void vpfront_pipe_start(struct vpfront_pipe *pipe);
int vpfront_pipe_wait(struct vpfront_pipe *pipe);
void vpfront_pipe_cancel(struct vpfront_pipe *pipe, bool orphaned);
bool vpfront_pipe_must_stop(struct vpfront_pipe *pipe);
void vpfront_pipe_kick(struct vpfront_pipe *pipe);
void vpfront_pipe_put(struct vpfront_pipe *pipe);
void vpfront_pipe_event(struct vpfront_pipe *pipe, const struct xen_vpipe_event *evt);
void vpfront_pipe_refused(struct vpfront_pipe *pipe, u64 cookie, int status);
int vpfront_pipe_init(void);
void vpfront_pipe_exit(void);

/* --- ends.c: the two ends of a transfer -------------------------------------- */

bool vpfront_ends_kind_known(u32 kind);
int vpfront_ends_check(u32 kind, struct file *in, struct file *out);
int vpfront_ends_get(u32 kind, int in_fd, int out_fd, struct file **in, struct file **out);
bool vpfront_ends_may_be_held(struct file *in, struct file *out);
int vpfront_ends_open(struct vpfront_pipe *pipe);

/* --- feed.c: what an operation asks the backend to move next ---------------- */

bool vpfront_feed_prepare(struct vpfront_pipe *pipe);
bool vpfront_feed_first(struct vpfront_pipe *pipe);
int vpfront_feed(struct vpfront_pipe *pipe);
bool vpfront_feed_pinned(struct vpfront_pipe *pipe);

/* --- command.c: what an operation tells the backend ------------------------ */

int vpfront_command_attach(struct vpfront_flow *flow);
int vpfront_command_queue(struct vpfront_flow *flow, u16 op);
int vpfront_command_transfer(struct vpfront_pipe *pipe, struct vpfront_segment *seg, bool wait);
int vpfront_command_simple(struct vpfront_flow *flow, u16 op);
int vpfront_command_write(struct vpfront_pipe *pipe, struct vpfront_segment *batch, bool fua);
int vpfront_command_return(struct vpfront_flow *flow, u32 offset,
			   struct xen_vpipe_tcp_state *st, u32 *bytes);
void vpfront_command_collect(struct vpfront_flow *flow);
void vpfront_command_collect_all(struct vpfront_pipe *pipe);

/* --- chardev.c: /dev/vpipe ------------------------------------------------ */

void vpfront_chardev_finished(struct vpfront_pipe *pipe);
int vpfront_chardev_init(void);
void vpfront_chardev_exit(void);

extern unsigned int vpfront_max_ops;

#endif /* _VPFRONT_H */
