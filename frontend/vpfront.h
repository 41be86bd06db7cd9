/* SPDX-License-Identifier: GPL-2.0 */
/*
 * vpfront.h: what the files of the frontend module offer each other.
 *
 * The way of a transfer: chardev.c (ioctl) -> pipe.c (one operation's life) ->
 * file.c (file to extents) and sock.c (socket to TCP state) -> command.c and ring.c
 * (to the backend) -> ... events -> ring.c -> pipe.c -> chardev.c.
 */
#ifndef _VPFRONT_H
#define _VPFRONT_H

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
	bool file_to_socket;		/* feature-file-to-socket */
	bool broken;			/* the backend broke the protocol or is gone */
	bool closing;			/* no new operations; the running ones come home */
	bool connected;
	unsigned int users;		/* operations, under the lock of xenbus.c */
	enum xenbus_state backend_state;
	wait_queue_head_t wait;		/* for users and backend_state to change */
	struct work_struct close_work;	/* sees the operations off */
};

struct vpfront_device *vpfront_xenbus_get(void);
void vpfront_xenbus_put(struct vpfront_device *dev);
int vpfront_xenbus_init(void);
void vpfront_xenbus_exit(void);

/* --- ring.c: one queue: commands out, responses and events in ------------ */

struct vpfront_pipe;

/* A command on its way.  The caller fills req but for its id, and pages. */
struct vpfront_call {
	struct list_head node;		/* for the caller, who may keep several */
	struct xen_vpipe_request req;
	u16 page[XEN_VPIPE_QUEUE_PAGES + 1];	/* pool pages, given back by _free */
	unsigned int nr_pages;
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
void vpfront_ring_kick(struct vpfront_queue *queue);
int vpfront_ring_wait(struct vpfront_queue *queue, struct vpfront_call *call);
int vpfront_ring_flow_get(struct vpfront_queue *queue, struct vpfront_pipe *pipe, u32 *flow);
void vpfront_ring_flow_put(struct vpfront_queue *queue, u32 flow);
void vpfront_ring_kick_flows(struct vpfront_queue *queue);

/* --- capture.c: which disk blocks a read would have touched -------------- */

struct vpfront_segment;

ssize_t vpfront_capture_read(struct file *file, struct gendisk *disk, loff_t pos, size_t len,
			     bool nowait, struct vpfront_segment *seg, u64 *end);
int vpfront_capture_init(void);
void vpfront_capture_exit(void);

/* --- file.c: a file's range as extents of a virtual disk ----------------- */

struct vpfront_file {
	struct file *file;		/* our own, so that the file position is too */
	struct gendisk *disk;
	u32 vdev;			/* virtual device number */
	unsigned int align;		/* bytes, a power of two */
	bool by_lock;			/* how its blocks are pinned, see file.c */
};

/* A piece of a file, with its blocks pinned until it is released. */
struct vpfront_segment {
	struct inode *pinned;		/* whose blocks stay where they are, or NULL */
	bool locked;			/* by its lock, else by an inode_dio_begin() */
	u64 length;			/* bytes, from the first extent's skip on */
	u32 skip;
	u32 nr;
	struct xen_vpipe_extent *extent; /* XEN_VPIPE_MAX_EXTENTS of them */
	u64 cookie;
	int busy;			/* with the backend: who clears it unpins */
};

int vpfront_file_open(struct file *user, struct vpfront_file *vf);
void vpfront_file_close(struct vpfront_file *vf);
int vpfront_file_flush(struct vpfront_file *vf, u64 pos, u64 end);
int vpfront_file_map(struct vpfront_file *vf, u64 pos, u64 end, bool nowait,
		     struct vpfront_segment *seg);
bool vpfront_file_contended(struct vpfront_file *vf);
void vpfront_file_unpin(struct vpfront_segment *seg);
int vpfront_file_extent_add(struct vpfront_segment *seg, u64 sector, u64 bytes);

/* --- sock.c: a live connection, out of and back into a socket ------------ */

struct vpfront_sock {
	struct socket *socket;
	struct xen_vpipe_tcp_state state;	/* as frozen */
	int tcp_state;				/* TCP_ESTABLISHED or TCP_CLOSE_WAIT */
	bool frozen;
};

int vpfront_sock_freeze(struct vpfront_sock *vs);
u32 vpfront_sock_copy_queue(struct vpfront_sock *vs, u32 offset, void *to, u32 len);
void vpfront_sock_unfreeze(struct vpfront_sock *vs);
void vpfront_sock_thaw_begin(struct vpfront_sock *vs, const struct xen_vpipe_tcp_state *st);
int vpfront_sock_thaw_data(struct vpfront_sock *vs, const void *data, u32 len);
void vpfront_sock_thaw_end(struct vpfront_sock *vs, const struct xen_vpipe_tcp_state *st);
void vpfront_sock_abort(struct vpfront_sock *vs, int error);

/* --- guard.c: keeps callers off a socket that is away -------------------- */

bool vpfront_guard_possible(struct socket *socket);
void vpfront_guard_set(struct socket *socket);
void vpfront_guard_clear(struct socket *socket);
void vpfront_guard_init(void);

/* --- pipe.c: one operation's life ---------------------------------------- */

enum vpfront_stage {
	VPFRONT_START,		/* nothing has happened yet */
	VPFRONT_MOVING,		/* the backend has the socket */
	VPFRONT_DONE,
};

#define VPFRONT_SEGMENTS	2	/* in flight at once */

struct vpfront_context;

struct vpfront_pipe {
	struct kref ref;
	struct work_struct work;	/* the only one who moves the stage */
	struct vpfront_device *dev;
	struct vpfront_queue *queue;
	u32 flow;
	u32 kind;
	enum vpfront_stage stage;

	struct file *in, *out;		/* references, so that close() does no harm */
	struct vpfront_file file;
	struct vpfront_sock sock;
	u64 length;			/* bytes asked for, cut at the end of the file */
	u64 pos, end;			/* what is still to be mapped, bytes */
	u64 cookie;
	bool started;			/* the source was flushed */
	bool detach_sent;
	u32 linger_sent;		/* with CANCEL, ms; 0: not sent */
	u64 mapped;			/* bytes handed to segments */
	bool revoked;			/* somebody else wants the file */
	unsigned int contended;		/* times in a row that this was seen */
	struct timer_list pin_timer;	/* looks after it while segments are pinned */
	struct vpfront_segment segment[VPFRONT_SEGMENTS];

	struct list_head calls;		/* commands pushed, answers not looked at */
	int attach_status, queue_status, transfer_status;
	int reason;			/* enum vpipe_reason: why the rest is declined */
	int map_error;			/* the source file failed */

	/* Written by the event handler under the queue's lock. */
	bool detached;
	s32 detach_status;
	u64 moved;
	s32 error;			/* the first failure of a TRANSFER */

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

struct vpfront_pipe *vpfront_pipe_create(u32 kind, struct file *in, struct file *out,
					 u64 in_offset, u64 length);
void vpfront_pipe_start(struct vpfront_pipe *pipe);
void vpfront_pipe_cancel(struct vpfront_pipe *pipe, bool orphaned);
void vpfront_pipe_kick(struct vpfront_pipe *pipe);
void vpfront_pipe_put(struct vpfront_pipe *pipe);
void vpfront_pipe_event(struct vpfront_pipe *pipe, const struct xen_vpipe_event *evt);
int vpfront_pipe_init(void);
void vpfront_pipe_exit(void);

/* --- command.c: what an operation tells the backend ------------------------ */

int vpfront_command_attach(struct vpfront_pipe *pipe);
int vpfront_command_queue(struct vpfront_pipe *pipe);
int vpfront_command_transfer(struct vpfront_pipe *pipe, struct vpfront_segment *seg);
int vpfront_command_simple(struct vpfront_pipe *pipe, u16 op);
int vpfront_command_return(struct vpfront_pipe *pipe, u32 offset, struct xen_vpipe_tcp_state *st,
			   u32 *bytes);
void vpfront_command_collect(struct vpfront_pipe *pipe);

/* --- chardev.c: /dev/vpipe ------------------------------------------------ */

void vpfront_chardev_finished(struct vpfront_pipe *pipe);
int vpfront_chardev_init(void);
void vpfront_chardev_exit(void);

extern unsigned int vpfront_max_ops;

#endif /* _VPFRONT_H */
