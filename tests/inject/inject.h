/* SPDX-License-Identifier: GPL-2.0 */
/*
 * inject.h: forced into a second build of both modules (lab/build-payload.sh), in which
 * whatever may fail does so when a test says it (tests/system/test_inject.py).  The
 * modules' sources know nothing of it: the names that they call are macros here.
 *
 * /sys/module/vpipe_{front,back}/parameters/
 *   fail_nth  the n-th call from now fails, once (0: none); counts down
 *   drop_nth  the n-th frame from now is lost, likewise
 *   again     so many further calls in the same function fail as well
 *   calls     how many of both there have been
 *   failed    which was the last that failed: "function: what it called"
 *   live      allocations that were not freed yet
 *
 * Not here: what the kernel lets nobody see fail (__GFP_NOFAIL, bio_alloc(),
 * xenbus_read_unsigned()), or calls through a pointer (fallocate, write_iter, setsockopt).
 */
#ifndef _VPIPE_INJECT_H
#define _VPIPE_INJECT_H

#include <linux/bio.h>
#include <linux/bitmap.h>
#include <linux/blkdev.h>
#include <linux/etherdevice.h>
#include <linux/fs.h>
#include <linux/kthread.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/netfilter_netdev.h>
#include <linux/pagemap.h>
#include <linux/slab.h>
#include <linux/tracepoint.h>
#include <net/inet_common.h>
#include <net/mptcp.h>
#include <net/neighbour.h>
#include <net/route.h>
#include <net/tcp.h>
#include <trace/events/block.h>
#include <xen/events.h>
#include <xen/grant_table.h>
#include <xen/interface/io/ring.h>
#include <xen/xenbus.h>

extern atomic_t inject_fail, inject_drop, inject_again, inject_calls, inject_live;
extern const char *inject_function;
extern char inject_failed[96];

/* Each module has one description: there is the place for what all its files share. */
#undef MODULE_DESCRIPTION
#define MODULE_DESCRIPTION(text)						\
	MODULE_INFO(description, text ", with failures injected");		\
	atomic_t inject_fail, inject_drop, inject_again, inject_calls, inject_live; \
	const char *inject_function;						\
	char inject_failed[96];							\
	module_param_named(fail_nth, inject_fail.counter, int, 0644);		\
	module_param_named(drop_nth, inject_drop.counter, int, 0644);		\
	module_param_named(again, inject_again.counter, int, 0644);		\
	module_param_named(calls, inject_calls.counter, int, 0444);		\
	module_param_named(live, inject_live.counter, int, 0444);		\
	module_param_string(failed, inject_failed, sizeof(inject_failed), 0444)

static inline bool inject(atomic_t *nth, const char *caller, const char *callee)
{
	int left = atomic_dec_if_positive(nth);

	atomic_inc(&inject_calls);
	if (left < 0)
		return caller == READ_ONCE(inject_function) &&
		       atomic_dec_if_positive(&inject_again) >= 0;
	WRITE_ONCE(inject_function, left ? NULL : caller);
	if (left)
		return false;
	scnprintf(inject_failed, sizeof(inject_failed), "%s: %s", caller, callee);
	return true;
}

/* Make the call, or have it fail in this way. */
#define INJECT(failure, call, ...)						\
	(inject(&inject_fail, __func__, #call) ? (failure) : call(__VA_ARGS__))

/* The same for what is done with each frame. */
#define INJECT_DROP(failure, call, ...)						\
	(inject(&inject_drop, __func__, #call) ? (failure) : call(__VA_ARGS__))

static inline void *inject_allocated(void *p)
{
	if (!IS_ERR_OR_NULL(p))
		atomic_inc(&inject_live);
	return p;
}

static inline void *inject_freed(const void *p)
{
	if (p)
		atomic_dec(&inject_live);
	return (void *)p;
}

#define INJECT_ALLOC(gfp, call, ...)						\
	inject_allocated((gfp) & __GFP_NOFAIL ? call(__VA_ARGS__) :		\
			 INJECT(NULL, call, __VA_ARGS__))

/* --- memory: what the allocators' macros call ------------------------------- */

#define kzalloc_noprof(size, gfp)						\
	INJECT_ALLOC(gfp, kzalloc_noprof, size, gfp)
#define kmalloc_array_noprof(n, size, gfp)					\
	INJECT_ALLOC(gfp, kmalloc_array_noprof, n, size, gfp)
#define kvmalloc_array_node_noprof(n, size, gfp, node)				\
	INJECT_ALLOC(gfp, kvmalloc_array_node_noprof, n, size, gfp, node)
#define __kvmalloc_node_noprof(size, gfp, node)					\
	INJECT_ALLOC(gfp, __kvmalloc_node_noprof, size, gfp, node)
#define kmemdup_noprof(from, size, gfp)						\
	INJECT_ALLOC(gfp, kmemdup_noprof, from, size, gfp)
#define alloc_pages_noprof(gfp, order)						\
	INJECT_ALLOC(gfp, alloc_pages_noprof, gfp, order)
#define kstrdup(s, gfp)			INJECT_ALLOC(gfp, kstrdup, s, gfp)
#define bitmap_zalloc(n, gfp)		INJECT_ALLOC(gfp, bitmap_zalloc, n, gfp)
#define kasprintf(gfp, ...)		INJECT_ALLOC(gfp, kasprintf, gfp, __VA_ARGS__)
#define get_page(page)			get_page(inject_allocated(page))

/* What the kernel allocates there is ours to free; only the first call of a plug does. */
static inline struct blk_plug_cb *inject_check_plugged(blk_plug_cb_fn unplug, void *data, int size)
{
	struct blk_plug_cb *cb;

	if (current->plug)
		list_for_each_entry(cb, &current->plug->cb_list, list)
			if (cb->callback == unplug && cb->data == data)
				return cb;
	cb = blk_check_plugged(unplug, data, size);
	if (cb)
		atomic_inc(&inject_live);
	return cb;
}
#define blk_check_plugged(unplug, data, size)	inject_check_plugged(unplug, data, size)

#undef kfree_rcu
#define kfree_rcu(p, member)							\
	do {									\
		inject_freed(p);						\
		kvfree_rcu_arg_2(p, member);					\
	} while (0)
#define kfree(p)			kfree(inject_freed(p))
#define kvfree(p)			kvfree(inject_freed(p))
#define bitmap_free(p)			bitmap_free(inject_freed(p))
#define put_page(page)			put_page(inject_freed(page))
#define __free_pages(page, order)	__free_pages(inject_freed(page), order)
#define gnttab_end_foreign_access(ref, page)					\
	gnttab_end_foreign_access(ref, inject_freed(page))

#define xa_alloc(...)			INJECT(-ENOMEM, xa_alloc, __VA_ARGS__)
#define xa_alloc_irq(...)		INJECT(-ENOMEM, xa_alloc_irq, __VA_ARGS__)
#define xa_insert(...)			INJECT(-ENOMEM, xa_insert, __VA_ARGS__)
#define xa_reserve(...)			INJECT(-ENOMEM, xa_reserve, __VA_ARGS__)

/* --- Xen ---------------------------------------------------------------------- */

/* The pages of the queue's pool, and the places on its ring, are all taken: for a moment. */
#define bitmap_weight(map, bits)	INJECT(bits, bitmap_weight, map, bits)
#undef RING_FULL
#define RING_FULL(ring)								\
	(inject(&inject_fail, __func__, "RING_FULL") || !RING_FREE_REQUESTS(ring))
#define xenbus_read(...)							\
	inject_allocated(INJECT(ERR_PTR(-ENOMEM), xenbus_read, __VA_ARGS__))
#define xenbus_directory(...)							\
	inject_allocated(INJECT(ERR_PTR(-ENOMEM), xenbus_directory, __VA_ARGS__))
#define xenbus_scanf(...)		INJECT(-ENOMEM, xenbus_scanf, __VA_ARGS__)
#define xenbus_gather(...)		INJECT(-ENOMEM, xenbus_gather, __VA_ARGS__)
#define xenbus_printf(...)		INJECT(-ENOMEM, xenbus_printf, __VA_ARGS__)
#define xenbus_transaction_start(...)						\
	INJECT(-ENOMEM, xenbus_transaction_start, __VA_ARGS__)
#define register_xenbus_watch(...)	INJECT(-ENOMEM, register_xenbus_watch, __VA_ARGS__)
#define __xenbus_register_frontend(...)						\
	INJECT(-ENOMEM, __xenbus_register_frontend, __VA_ARGS__)
#define __xenbus_register_backend(...)						\
	INJECT(-ENOMEM, __xenbus_register_backend, __VA_ARGS__)
#define xenbus_setup_ring(...)		INJECT(-ENOMEM, xenbus_setup_ring, __VA_ARGS__)
#define xenbus_map_ring_valloc(...)	INJECT(-ENOMEM, xenbus_map_ring_valloc, __VA_ARGS__)
#define xenbus_alloc_evtchn(...)	INJECT(-ENOSPC, xenbus_alloc_evtchn, __VA_ARGS__)
#define bind_evtchn_to_irqhandler_lateeoi(...)					\
	INJECT(-ENOMEM, bind_evtchn_to_irqhandler_lateeoi, __VA_ARGS__)
#define bind_interdomain_evtchn_to_irqhandler_lateeoi(...)			\
	INJECT(-ENOMEM, bind_interdomain_evtchn_to_irqhandler_lateeoi, __VA_ARGS__)
#define gnttab_alloc_pages(...)		INJECT(-ENOMEM, gnttab_alloc_pages, __VA_ARGS__)
#define gnttab_map_refs(...)		INJECT(-ENOMEM, gnttab_map_refs, __VA_ARGS__)
#define gnttab_grant_foreign_access(...)					\
	INJECT(-ENOSPC, gnttab_grant_foreign_access, __VA_ARGS__)

/* --- files and disks ------------------------------------------------------------ */

/* Called only by who catches bios: this one is not caught. */
#define bio_has_data(...)		INJECT(false, bio_has_data, __VA_ARGS__)
#define dentry_open(...)		INJECT(ERR_PTR(-ENOMEM), dentry_open, __VA_ARGS__)
#define vfs_iocb_iter_read(...)		INJECT(-ENOMEM, vfs_iocb_iter_read, __VA_ARGS__)
#define vfs_getattr_nosec(...)		INJECT(-ENOMEM, vfs_getattr_nosec, __VA_ARGS__)
#define filemap_write_and_wait_range(...)					\
	INJECT(-ENOMEM, filemap_write_and_wait_range, __VA_ARGS__)
#define invalidate_inode_pages2_range(...)					\
	INJECT(-EBUSY, invalidate_inode_pages2_range, __VA_ARGS__)
#define bdev_file_open_by_dev(...)						\
	INJECT(ERR_PTR(-ENOMEM), bdev_file_open_by_dev, __VA_ARGS__)
#define __blk_alloc_disk(...)		INJECT(ERR_PTR(-ENOMEM), __blk_alloc_disk, __VA_ARGS__)
#define add_disk(...)			INJECT(-ENOMEM, add_disk, __VA_ARGS__)
#define tracepoint_probe_register(...)						\
	INJECT(-ENOMEM, tracepoint_probe_register, __VA_ARGS__)
#define submit_bio_wait(...)		INJECT(-EIO, submit_bio_wait, __VA_ARGS__)
#define submit_bio(bio)			INJECT(bio_io_error(bio), submit_bio, bio)

/* --- network ---------------------------------------------------------------------- */

#define sock_create_kern(...)		INJECT(-ENOMEM, sock_create_kern, __VA_ARGS__)
#define sock_bindtoindex(...)		INJECT(-ENOMEM, sock_bindtoindex, __VA_ARGS__)
#define kernel_bind(...)		INJECT(-ENOMEM, kernel_bind, __VA_ARGS__)
#define kernel_connect(...)		INJECT(-ENOMEM, kernel_connect, __VA_ARGS__)
#define tcp_sendmsg_locked(...)		INJECT(-ENOMEM, tcp_sendmsg_locked, __VA_ARGS__)
#define sock_sendmsg(...)		INJECT(-EAGAIN, sock_sendmsg, __VA_ARGS__)
#define inet_sk_rebuild_header(...)						\
	INJECT(-EHOSTUNREACH, inet_sk_rebuild_header, __VA_ARGS__)
#define dst_neigh_lookup(...)		INJECT(NULL, dst_neigh_lookup, __VA_ARGS__)
#define skb_cow_head(...)		INJECT_DROP(-ENOMEM, skb_cow_head, __VA_ARGS__)
#define skb_share_check(skb, gfp)						\
	INJECT_DROP((kfree_skb(skb), NULL), skb_share_check, skb, gfp)
#define alloc_netdev_mqs(...)		INJECT(NULL, alloc_netdev_mqs, __VA_ARGS__)
#define register_netdev(...)		INJECT(-ENOMEM, register_netdev, __VA_ARGS__)
#define nf_register_net_hooks(...)	INJECT(-ENOMEM, nf_register_net_hooks, __VA_ARGS__)
#define register_netdevice_notifier(...)					\
	INJECT(-ENOMEM, register_netdevice_notifier, __VA_ARGS__)

/* --- the rest --------------------------------------------------------------------- */

#define kthread_create_on_node(...)						\
	INJECT(ERR_PTR(-ENOMEM), kthread_create_on_node, __VA_ARGS__)
#define alloc_workqueue(...)		INJECT(NULL, alloc_workqueue, __VA_ARGS__)
#define misc_register(...)		INJECT(-ENOMEM, misc_register, __VA_ARGS__)

#endif /* _VPIPE_INJECT_H */
