/* SPDX-License-Identifier: GPL-2.0 */
/*
 * vpback.h: what the files of the backend module offer each other.
 *
 * The way of a transfer: ring.c (copy once, dispatch) -> transfer.c (validate)
 * -> pipe.c (the flow's state machine, run by sched.c) -> source.c (bytes into pages of pool.c, by
 * disk.c or sock.c) -> sink.c (out of them: sock.c, disk.c, or they stay in the
 * flow's buffer) -> netdev.c, steer.c, hold.c (frames of the flow, as if the guest had
 * sent them) -> ... -> ring.c (events).
 */
#ifndef _VPBACK_H
#define _VPBACK_H

#include <linux/blk_types.h>
#include <linux/in6.h>
#include <linux/kthread.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/netdevice.h>
#include <linux/netfilter.h>
#include <linux/spinlock.h>
#include <linux/timer.h>
#include <linux/types.h>
#include <linux/wait.h>
#include <linux/xarray.h>
#include <xen/xenbus.h>
#include <xen/interface/io/ring.h>
#include <xen/interface/io/vpipe.h>

#include "credit.h"

struct vpback_device;
struct vpback_flow;

/* --- stats.c: counters of a device, in sysfs ------------------------------- */

enum vpback_stat {
	VPBACK_STAT_REQUESTS,
	VPBACK_STAT_REFUSED,		/* requests that were invalid */
	VPBACK_STAT_ATTACHES,
	VPBACK_STAT_DETACHES,
	VPBACK_STAT_TRANSFERS,
	VPBACK_STAT_BYTES,
	VPBACK_STAT_REFERENCED,		/* from socket to socket, not copied */
	VPBACK_STAT_FRAMES_IN,		/* steered to shadow sockets */
	VPBACK_STAT_FRAMES_OUT,		/* sent by shadow sockets */
	VPBACK_STAT_FRAMES_HELD,	/* while their flow was between its homes */
	VPBACK_STAT_FRAMES_STRAY,	/* likewise, which the guest had received and sent back */
	VPBACK_STAT_FRAMES_DROPPED,	/* late frames of the guest, or no room */
	VPBACK_STAT_ATTACH_US,		/* from ATTACH until the shadow receives, sum */
	VPBACK_STAT_ATTACH_US_MAX,
	VPBACK_STAT_RETURN_US,		/* from the shadow's freeze to RELEASE, sum */
	VPBACK_STAT_RETURN_US_MAX,
	VPBACK_STAT_RETRANSMITS,
	VPBACK_STAT_EVENTS,		/* notifications sent to the guest */
	VPBACK_STATS
};

/* --- credit.c: which domain may move bytes now ----------------------------------- */

struct vpback_account {
	struct vpback_credit credit;	/* the gate's; its tasks and running the scheduler's */
	bool joined;			/* it is in the pool */
	u32 weight;			/* as xenstore says */
	u64 cap;
	u32 open;			/* bits of credit.waiting: these may try again */
	wait_queue_head_t *work;	/* where the domain's threads wait */
	ktime_t waits_since;
	u64 waits, waited_us;		/* how often, and for how long */
	atomic64_t charged, regular;	/* bytes; of them by blkback and netback */
};

bool vpback_credit_ask(struct vpback_account *account, unsigned int needs);
void vpback_credit_spend(struct vpback_account *account, unsigned int kinds, u64 bytes);
bool vpback_credit_ask_command(struct vpback_account *account);
void vpback_credit_spend_time(struct vpback_account *account, u64 ns);
void vpback_credit_force(struct vpback_account *account, u64 disk, u64 net);
void vpback_credit_wait(struct vpback_account *account, unsigned int needs);
void vpback_credit_go_on(struct vpback_account *account, unsigned int needs);
void vpback_credit_stepped(void);
void vpback_credit_configure(struct vpback_account *account, u32 weight, u64 cap);
s64 vpback_credit_left(struct vpback_account *account);
u64 vpback_credit_waits(struct vpback_account *account, bool us);
void vpback_credit_join(struct vpback_account *account, wait_queue_head_t *work,
			unsigned int threads);
void vpback_credit_leave(struct vpback_account *account);
unsigned int vpback_credit_capacity(enum vpback_credit_kind kind, bool *set);
void vpback_credit_measured(unsigned int disk, unsigned int net);
void vpback_credit_init(void);
void vpback_credit_exit(void);

/* --- sched.c: who runs when -------------------------------------------------- */

struct vpback_sched;

enum vpback_step {
	VPBACK_STEP_IDLE,	/* somebody will kick it */
	VPBACK_STEP_MORE,	/* there is more to do now */
	VPBACK_STEP_CREDIT,	/* ... when the domain has credits */
};

/* Something that moves bytes when it is kicked; never on two threads at once. */
struct vpback_task {
	struct list_head node;
	bool queued, running, again, dead;	/* under the scheduler's lock, and: */
	bool waits;			/* for credits */
	bool passed_over;		/* it waited, and has moved nothing since */
	unsigned int runs;			/* that have ended */
	unsigned int needs;		/* bits of credit.h; the step's */
	enum vpback_step (*step)(struct vpback_task *task);
};

struct vpback_sched *vpback_sched_create(struct vpback_device *dev);
void vpback_sched_destroy(struct vpback_sched *sched);
void vpback_sched_kick(struct vpback_sched *sched, struct vpback_task *task);
void vpback_sched_retire(struct vpback_sched *sched, struct vpback_task *task);
void vpback_sched_flush(struct vpback_sched *sched, struct vpback_task *task);

/* --- pool.c: pages for data on its way -------------------------------------- */

#define VPBACK_CHUNK_ORDER	4
#define VPBACK_CHUNK_BYTES	(PAGE_SIZE << VPBACK_CHUNK_ORDER)

/* A run of the stream, in one compound page. */
struct vpback_chunk {
	struct list_head node;
	struct page *page;
	struct vpback_flow *flow;
	struct vpback_transfer *transfer;	/* while on the flow's chunks */
	u32 offset, length;		/* the bytes of the stream that are in it */
	atomic_t pending;		/* bios (and the submitter) still at it */
	int error;			/* of any of its bios */
};

struct vpback_pool {
	spinlock_t lock;		/* serialises all below */
	struct list_head free;
	unsigned int nr_free, nr_used, max;	/* used: with what flows are charged */
	struct list_head waiters;	/* flows that found it empty */
	struct list_head spare_waiters;	/* ... or half empty, which is not enough for them */
};

void vpback_pool_init(struct vpback_pool *pool);
void vpback_pool_set_max(struct vpback_pool *pool, unsigned int chunks);
void vpback_pool_exit(struct vpback_pool *pool);
struct vpback_chunk *vpback_pool_get(struct vpback_pool *pool, struct vpback_flow *flow);
struct vpback_chunk *vpback_pool_get_spare(struct vpback_pool *pool, struct vpback_flow *flow,
					   bool wait);
struct vpback_chunk *vpback_pool_split(struct vpback_pool *pool, struct vpback_chunk *chunk,
				       u32 at);
void vpback_pool_put(struct vpback_pool *pool, struct vpback_chunk *chunk);
bool vpback_pool_full(struct vpback_pool *pool);
void vpback_pool_charge(struct vpback_pool *pool, struct vpback_flow *flow, unsigned int chunks);
bool vpback_pool_chunk_idle(const struct vpback_chunk *chunk);
void vpback_pool_forget(struct vpback_pool *pool, struct vpback_flow *flow);

/* --- disk.c: the domain's virtual disks -------------------------------------- */

struct vpback_disk {
	struct list_head node;
	u32 vdev;
	vpipe_bdev_handle *handle;
	struct block_device *bdev;
	unsigned int users;		/* transfers */
	bool writable;			/* opened for that */
	bool stale;			/* xenstore changed: look again for the next one */
};

struct vpback_disk *vpback_disk_get(struct vpback_device *dev, u32 vdev);
void vpback_disk_put(struct vpback_device *dev, struct vpback_disk *disk);
bool vpback_disk_writable(const struct vpback_disk *disk);
void vpback_disk_submit(struct vpback_disk *disk, blk_opf_t opf, u64 sector,
			struct vpback_chunk *chunk, u32 at, u32 bytes);
int vpback_disk_init(struct vpback_device *dev);
void vpback_disk_exit(struct vpback_device *dev);

/* --- netdev.c and steer.c: the frames of offloaded flows ---------------------- */

#define VPBACK_HASH_BITS	10	/* of the flows of a link */
#define VPBACK_MAX_FRAMES	4096	/* waiting in a link, each way; held, of a domain */
#define VPBACK_MAX_ADDRS	16	/* of a vif, of those that xenstore allows */

/* Frames on their way, in order, delivered by a NAPI. */
struct vpback_lane {
	struct sk_buff_head frames;	/* its lock serialises bytes and put as well */
	u32 bytes;			/* of memory that they take */
	struct napi_struct napi;
	u32 put, done;			/* frames that were put in, that have arrived */
	wait_queue_head_t wait;		/* for done */
};

/* A guest's vif and its counterpart in the device's network namespace. */
struct vpback_link {
	struct list_head node;		/* of the device's links */
	unsigned int users;		/* flows; under links_lock */
	struct net *net;		/* where netdev is, and the shadow sockets that use it */
	struct list_head all;		/* of all links; under RTNL */
	struct vpback_device *dev;
	u16 handle;
	u8 mac[ETH_ALEN];		/* the guest's */
	struct net_device *netdev;	/* ours, where shadow sockets live */
	struct net_device __rcu *vif;	/* NULL once it has gone */
	struct net *vif_net;
	struct nf_hook_ops hook[2];
	bool hooked;
	struct in6_addr addr[VPBACK_MAX_ADDRS];	/* the guest's; IPv4 as ::ffff:0:0/96 */
	unsigned int nr_addrs;
	bool any_addr;			/* xenstore does not say which */
	struct hlist_head flows[1 << VPBACK_HASH_BITS];	/* RCU; writers: flows_lock */
	spinlock_t flows_lock;
	u32 hash_seed;
	struct vpback_lane in, out;	/* to the shadow sockets, and from them */
};

struct vpback_link *vpback_netdev_create(struct vpback_device *dev, struct net *net, u16 handle);
void vpback_netdev_destroy(struct vpback_link *link);
void vpback_netdev_receive(struct vpback_link *link, struct sk_buff *skb);
void vpback_netdev_send(struct vpback_link *link, struct sk_buff *skb);
void vpback_netdev_flush(struct vpback_lane *lane);
void vpback_netdev_purge(struct vpback_lane *lane);

int vpback_steer_hook(struct vpback_link *link, struct net_device *vif);
void vpback_steer_unhook(struct vpback_link *link);
int vpback_steer_add(struct vpback_link *link, struct vpback_flow *flow);
void vpback_steer_del(struct vpback_flow *flow);
void vpback_steer_address(u16 family, const u8 *addr, struct in6_addr *to);
struct vpback_flow *vpback_steer_find_outbound(struct vpback_link *link, struct sk_buff *skb);
int vpback_netdev_init(void);
void vpback_netdev_exit(void);

/* On frames that we put on a vif, either way, until they have passed its hook. */
#define VPBACK_STEER_MARK	0x76706970U

/* --- links.c: which links a device has ---------------------------------------------- */

struct vpback_link *vpback_links_get(struct vpback_device *dev,
				     const struct xen_vpipe_tcp_state *st);
void vpback_links_put(struct vpback_link *link);
int vpback_links_set_netns(struct vpback_device *dev, struct net *net);
int vpback_links_update(struct vpback_device *dev, struct net *net);
void vpback_links_drop(struct vpback_device *dev);
ssize_t vpback_links_show(struct vpback_device *dev, char *buf);
u64 vpback_links_bytes(struct vpback_device *dev);

/* --- hold.c: the frames of a flow between its two homes ----------------------------- */

enum vpback_frames {
	VPBACK_FRAMES_HELD,	/* are kept for whoever will have the connection */
	VPBACK_FRAMES_OURS,	/* are the shadow's */
	VPBACK_FRAMES_GUEST,	/* are the guest's */
};

struct tcphdr;

void vpback_hold_init(struct vpback_flow *flow);
void vpback_hold_mark(struct vpback_flow *flow);
unsigned int vpback_hold_inbound(struct vpback_flow *flow, struct sk_buff *skb);
void vpback_hold_overhear(struct vpback_flow *flow, struct sk_buff *skb);
void vpback_hold_stray(struct vpback_flow *flow, struct sk_buff *skb, const struct tcphdr *tcp);
void vpback_hold_over(struct vpback_flow *flow);
void vpback_hold_outbound(struct vpback_flow *flow, struct sk_buff *skb);
void vpback_hold_drained(struct vpback_flow *flow);
void vpback_hold_live(struct vpback_flow *flow);
void vpback_hold_again(struct vpback_flow *flow);
void vpback_hold_carry(struct vpback_flow *flow);
void vpback_hold_release(struct vpback_flow *flow);
void vpback_hold_end(struct vpback_flow *flow, bool guest_lives);

/* --- sock.c: shadow sockets ----------------------------------------------------- */

#define VPBACK_MAX_BUFFER	(8U << 20)	/* of a socket, whatever the guest wants */

void vpback_sock_set_callbacks(struct sock *sk, struct vpback_flow *flow);
u32 vpback_sock_room(struct vpback_flow *flow);
int vpback_sock_send(struct vpback_flow *flow, const struct bio_vec *vec, unsigned int nr,
		     u32 len, bool more);
int vpback_sock_receive(struct vpback_flow *flow, struct vpback_chunk *chunk, u32 len);
void vpback_sock_charge(struct vpback_flow *flow, int bytes);
void vpback_sock_open_window(struct vpback_flow *flow);
int vpback_sock_ended(struct vpback_flow *flow);
bool vpback_sock_settled(struct vpback_flow *flow);
void vpback_sock_finish(struct vpback_flow *flow);
bool vpback_sock_input(struct vpback_flow *flow);
void vpback_sock_freeze(struct vpback_flow *flow);
int vpback_sock_read_unread(struct vpback_flow *flow, void *to, u32 len);
u32 vpback_sock_read_queue(struct vpback_flow *flow, u32 offset, void *to, u32 len);
void vpback_sock_release(struct vpback_flow *flow, bool reset);

/* --- shadow.c: makes them ----------------------------------------------------------- */

bool vpback_shadow_has_ipv6(struct net *net);
int vpback_shadow_create(struct vpback_flow *flow);
int vpback_shadow_queue(struct vpback_flow *flow, const void *data, u32 len);

/* --- event.c: the event page of a queue -------------------------------------------- */

/* Something to tell the frontend; waits in the queue while the event page is full. */
struct vpback_event {
	struct list_head node;
	struct xen_vpipe_event evt;
};

struct vpback_events {
	spinlock_t lock;		/* serialises all of it, and the page's producer side */
	struct xen_vpipe_event_page *page;	/* the frontend's */
	u32 prod;
	struct list_head waiting;	/* those for which there was no room */
	unsigned int nr;		/* how many these are */
};

void vpback_events_init(struct vpback_events *events);
void vpback_events_drop(struct vpback_events *events);
int vpback_events_flush(struct vpback_events *events);
int vpback_events_add(struct vpback_events *events, struct vpback_event *event);
void vpback_events_forget(struct vpback_events *events, u32 flow);
bool vpback_events_congested(struct vpback_events *events);

/* --- pipe.c: a flow's state machine ---------------------------------------------- */

#define VPBACK_MAX_TRANSFERS	8	/* queued on a flow, into something and to disk each */
#define VPBACK_READ_AHEAD	32U	/* chunks between source and sink: 2 MiB */
#define VPBACK_MAX_CHUNKS	512U	/* of a flow, with those in its buffer: 32 MiB */
#define VPBACK_STEP_CHUNKS	16U	/* then it is another flow's turn: 1 MiB */
#define VPBACK_RETRY_MS		20U	/* the first time that nothing moves */

struct vpback_transfer {
	struct list_head node;
	u16 from, to;			/* XEN_VPIPE_END_* */
	bool fua;
	bool begun;			/* a write: its bios were submitted */
	u32 size;			/* of this, reserved; bytes */
	u64 cookie;
	u64 length, moved;		/* bytes */
	u64 unread;			/* bytes not yet asked from the source */
	u64 seen;			/* moved, when we last looked; at first: U64_MAX */
	struct vpback_flow *sink;	/* from socket to socket; under the device's feed_lock */
	struct vpback_disk *disk;	/* NULL: no end is on one */
	u32 align;			/* the disk's blocks, bytes */
	u32 extent_index;		/* the next bytes to ask for: */
	u64 extent_offset;		/* ... offset in that extent, bytes */
	u32 nr;
	struct xen_vpipe_extent extent[];
};

struct vpback_flow {
	struct rcu_head rcu;
	struct vpback_device *dev;
	struct vpback_queue *queue;
	u32 id;
	struct xen_vpipe_tcp_state state;	/* as it came; as it goes, once detached */

	/* steer.c's */
	struct vpback_link *link;	/* NULL: no connection */
	struct hlist_node hash_node;
	bool hashed;
	u32 guest_limit;		/* the guest's own frames end here, in sequence space */

	/* hold.c's */
	spinlock_t frames_lock;		/* serialises all of these; softirq */
	enum vpback_frames frames;	/* whose those of the peer are */
	bool drained;			/* the guest has no frame of the flow any more */
	bool home;			/* the shadow is (about to be) frozen: the guest may send */
	bool over;			/* the shadow is no more: nothing may be sent by it */
	struct sk_buff_head strays, held;	/* from the peer: by the guest, and after that */
	struct sk_buff_head gated;	/* from the shadow */
	u64 marker;			/* how the last stray is known */
	bool marked_again;		/* the peer's flow label was not known at first */
	struct timer_list hold_timer;	/* if it does not come */
	ktime_t moves_since;		/* the last hand-over or return began */

	/* sock.c's */
	struct socket *socket;
	u32 queued;			/* bytes of the send queue that came */
	int queue_status;		/* that of a QUEUE which failed: none may follow */
	bool complete;			/* all of them */
	bool live;			/* what had been sent came: it can receive */
	bool lost;			/* the frontend could not take it home */
	int sock_error;			/* as sendmsg said it, negative */
	bool want_acks;			/* kick at each acknowledgement */
	bool want_space;		/* kick when there is room again */
	bool want_data;			/* kick when something has come */
	bool want_input;		/* likewise, when it is nobody's turn to read */
	bool fin_sent;			/* for a program that has closed its socket */
	bool fin_second;		/* the peer had sent its own before */
	int unread_charged;		/* bytes that UNREAD brought, as the shadow's own */
	int tcp_state;			/* the shadow's, when it was frozen */

	struct vpback_task task;
	struct timer_list settle_timer;	/* before a detach */
	struct timer_list retry_timer;	/* when nobody may kick us */
	unsigned int retry_ms;
	struct timer_list gather_timer;	/* no more has come for a while */
	unsigned long gather_until;	/* jiffies */
	u64 reserved;			/* socket memory that it may take, bytes */

	struct vpback_flow *feeder;	/* gives to our socket; under the device's feed_lock */

	spinlock_t lock;		/* serialises the members below, between ring and step */
	struct list_head transfers;	/* into something; in order */
	struct list_head writes;	/* from the buffer to disk; in order */
	unsigned int nr_transfers, nr_writes;
	u64 buffered;			/* told to be in the buffer, and not asked for; bytes */
	bool started;			/* there was a TRANSFER */
	bool write_failed;		/* what is at the buffer's head is not what was expected */
	bool cancelled, detach, detached;
	unsigned long settle_until;	/* jiffies; of a detach */
	bool finish;			/* with that: a FIN is wanted */
	bool input_told;		/* there is something to be read, and nobody reads */

	/* The ring's before `started` and once `detached`. */
	struct list_head unread;	/* what precedes that which the socket has received */
	u32 nr_unread;			/* bytes that UNREAD has brought */

	/* The step's alone; the buffer is the ring's once `detached`. */
	struct list_head chunks;	/* on their way from source to sink, in stream order */
	struct list_head sent;		/* given to a socket, which may still need them */
	struct list_head buffer;	/* in order; all bytes of the list are in the buffer */
	struct list_head writing;	/* of the first of `writes` */
	unsigned int nr_chunks, nr_sent;
	unsigned int nr_buffer;		/* in buffer and writing */
	int failed;			/* why TRANSFERs into something end; negative */
	bool starved;			/* this step found no memory */
	struct list_head pool_node;	/* on the pool's waiters; under the pool's lock */
	unsigned int charged;		/* chunks, for what its socket keeps; the same */
	atomic_t bios;			/* chunks with bios in flight */
	wait_queue_head_t bios_wait;
	u32 returned;			/* bytes given back: unread ones, then the send queue */
	struct vpback_event detached_event, input_event;
};

/* Chunks that count against VPBACK_MAX_CHUNKS. */
static inline unsigned int vpback_pipe_held(const struct vpback_flow *flow)
{
	return flow->nr_chunks + flow->nr_sent + flow->nr_buffer;
}

int vpback_pipe_transfer(struct vpback_flow *flow, struct vpback_transfer *transfer,
			 struct vpback_flow *sink);
bool vpback_pipe_fresh(struct vpback_flow *flow);
void vpback_pipe_cancel(struct vpback_flow *flow);
int vpback_pipe_detach(struct vpback_flow *flow, u32 settle_ms, bool finish);
enum vpback_step vpback_pipe_step(struct vpback_task *task);
void vpback_pipe_kick(struct vpback_flow *flow);
void vpback_pipe_chunk_done(struct vpback_flow *flow, struct vpback_chunk *chunk);
void vpback_pipe_done(struct vpback_flow *flow, struct vpback_transfer *transfer, int status);
void vpback_pipe_bio_done(struct vpback_chunk *chunk, int error);

/* --- flow.c: a flow's life, and who feeds whom ---------------------------------------- */

struct vpback_flow *vpback_flow_create(struct vpback_queue *queue, struct vpback_device *dev,
				       u32 id, const struct xen_vpipe_tcp_state *st);
struct vpback_flow *vpback_flow_open(struct vpback_queue *queue, struct vpback_device *dev,
				     u32 id);
void vpback_flow_destroy(struct vpback_flow *flow, bool released);
void vpback_flow_drop(struct vpback_flow *flow, struct vpback_transfer *transfer);
int vpback_flow_may_feed(struct vpback_flow *flow, struct vpback_flow *sink);
void vpback_flow_feed(struct vpback_flow *flow, struct vpback_transfer *transfer,
		      struct vpback_flow *sink);
void vpback_flow_kick_all(struct vpback_flow *flow);

/* --- source.c: bytes into chunks ---------------------------------------------------- */

int vpback_source_read(struct vpback_flow *flow);
bool vpback_source_more(struct vpback_flow *flow);
int vpback_source_put(struct vpback_flow *flow, const void *data, u32 len);
void vpback_source_take_back(struct vpback_flow *flow, u32 len);
u32 vpback_source_held(struct vpback_flow *flow);
int vpback_source_return(struct vpback_flow *flow, void *to, u32 len);

/* --- sink.c: bytes out of chunks ----------------------------------------------------- */

struct vpback_flow *vpback_sink_of(struct vpback_flow *flow, struct vpback_transfer *transfer);
int vpback_sink_give(struct vpback_flow *flow);
bool vpback_sink_keeps(const struct vpback_flow *flow, const struct vpback_chunk *chunk);
void vpback_sink_write(struct vpback_flow *flow, bool stop, bool begin);
void vpback_sink_reclaim(struct vpback_flow *flow, bool all);

/* --- frags.c: from socket to socket by reference ---------------------------------- */

int vpback_frags_pass(struct vpback_flow *flow, struct vpback_flow *sink,
		      struct vpback_transfer *transfer, struct vpback_chunk *rest, u32 len);
void vpback_frags_charge(struct vpback_flow *flow);

/* --- ring.c: one queue from the frontend -------------------------------------------- */

struct vpback_queue *vpback_ring_connect(struct vpback_device *dev, unsigned int index);
void vpback_ring_disconnect(struct vpback_queue *queue);
void vpback_ring_event(struct vpback_queue *queue, struct vpback_event *event);
void vpback_ring_forget(struct vpback_queue *queue, struct vpback_flow *flow);

void vpback_ring_each(struct vpback_queue *queue,
		      void (*fn)(struct vpback_flow *flow, unsigned int queue, void *data),
		      void *data);
int vpback_ring_cancel(struct vpback_queue *queue, u32 id);
void *vpback_ring_page(struct vpback_queue *queue, u16 page);
struct vpback_flow *vpback_ring_flow(struct vpback_queue *queue, u32 id);
bool vpback_ring_congested(struct vpback_queue *queue);

/* --- transfer.c: may this be asked for? --------------------------------------------- */

int vpback_transfer_request(struct vpback_queue *queue, struct vpback_flow *flow,
			    const struct xen_vpipe_transfer *args);

/* --- xenbus.c: the device -------------------------------------------------------------- */

struct vpback_device {
	struct xenbus_device *xbdev;
	domid_t domid;

	struct mutex lock;		/* serialises state changes: netns, connect, disconnect */
	struct net *net;		/* that of the links which attach has made */
	bool ipv6;			/* ... and those of IPv6 can */
	bool configured;		/* the toolstack has set it up */
	struct mutex links_lock;	/* serialises links, and their users; inside of lock */
	struct list_head links;
	struct vpback_queue **queue;
	unsigned int nr_queues;

	struct vpback_account account;
	struct vpback_sched *sched;
	struct vpback_pool pool;
	struct xenbus_watch policy_watch;
	unsigned int max_ops, max_chunks, max_held;	/* 0: as the module's parameters */

	struct delayed_work regular_work;	/* the members below are its */
	u64 regular_disk, regular_net;	/* bytes, at the last look */
	bool regular_known;		/* ... was one */
	bool regular_on;		/* under the device's lock: it goes on */

	struct mutex disks_lock;	/* serialises disks, and those that are missing */
	u32 missing_disk[32];		/* numbers that were asked for since disks changed */
	unsigned int nr_missing_disks;
	struct list_head disks;
	struct xenbus_watch disk_watch;
	bool disk_watched;

	spinlock_t feed_lock;		/* serialises which flow feeds which; softirq */
	atomic_t nr_flows;
	atomic_t nr_ops;		/* TRANSFERs */
	atomic_t frames_held, bytes_held;	/* by all flows */
	atomic64_t reserved;		/* by all flows, bytes */
	atomic64_t stat[VPBACK_STATS];
	struct ratelimit_state complaints;
	struct dentry *debug;
};

static inline void vpback_stat_add(struct vpback_device *dev, enum vpback_stat stat, u64 n)
{
	atomic64_add(n, &dev->stat[stat]);
}

/* How long something took, into a sum and the maximum behind it. */
static inline void vpback_stat_time(struct vpback_device *dev, enum vpback_stat sum,
				    ktime_t since)
{
	s64 us = ktime_us_delta(ktime_get(), since), max = atomic64_read(&dev->stat[sum + 1]);

	atomic64_add(us, &dev->stat[sum]);
	while (us > max && !atomic64_try_cmpxchg(&dev->stat[sum + 1], &max, us))
		;
}

/* --- calibrate.c: how much can the host move? ---------------------------------------------- */

int vpback_calibrate(struct vpback_device *dev);
void vpback_calibrate_init(void);

/* --- regular.c: what goes by blkback and netback ------------------------------------------- */

void vpback_regular_start(struct vpback_device *dev);
void vpback_regular_stop(struct vpback_device *dev);

/* --- policy.c: weight, cap and limits from xenstore -------------------------------------- */

int vpback_policy_init(struct vpback_device *dev);
void vpback_policy_exit(struct vpback_device *dev);

/* --- debug.c: what goes on, in debugfs ----------------------------------------------------- */

void vpback_debug_add(struct vpback_device *dev);
void vpback_debug_remove(struct vpback_device *dev);
void vpback_debug_init(void);
void vpback_debug_exit(void);

int vpback_xenbus_configured(struct vpback_device *dev);
int vpback_xenbus_calibrate(struct vpback_device *dev);
int vpback_xenbus_cancel(struct vpback_device *dev, unsigned int queue, u32 flow);
int vpback_xenbus_init(void);
void vpback_xenbus_exit(void);

extern const struct attribute_group *vpback_stats_groups[];

extern unsigned int vpback_max_flows;
extern unsigned int vpback_max_held;
extern unsigned int vpback_max_ops;
extern unsigned int vpback_pool_mib;
extern unsigned int vpback_flow_mib;
extern unsigned int vpback_threads;

static inline unsigned int vpback_ops_limit(struct vpback_device *dev)
{
	return READ_ONCE(dev->max_ops) ?: READ_ONCE(vpback_max_ops);
}

static inline unsigned int vpback_held_limit(struct vpback_device *dev)
{
	return READ_ONCE(dev->max_held) ?: READ_ONCE(vpback_max_held);
}

#endif /* _VPBACK_H */
