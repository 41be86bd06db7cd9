/* SPDX-License-Identifier: GPL-2.0 */
/*
 * compat.h: the code is written for the newest supported kernel; what older ones
 * lack is here.  Force-included by Kbuild.  Supported: Linux 6.12 (Debian 13)
 * fully; 6.1 (Debian 12) builds.
 */
#ifndef _VPIPE_COMPAT_H
#define _VPIPE_COMPAT_H

#include <linux/version.h>
#include <linux/kernel.h>
#include <linux/blkdev.h>
#include <linux/net.h>
#include <linux/socket.h>
#include <linux/ipv6.h>
#include <net/sock.h>
#include <net/tcp.h>

/* 6.12.100-odd and 6.18 gave __tcp_send_ack a third argument, also in stable. */
static inline void vpipe_compat_send_ack(struct sock *sk, u32 rcv_nxt)
{
	void (*with_flags)(struct sock *, u32, u16) = (void *)__tcp_send_ack;
	void (*without_flags)(struct sock *, u32) = (void *)__tcp_send_ack;

	if (__builtin_types_compatible_p(typeof(__tcp_send_ack) *, typeof(with_flags)))
		with_flags(sk, rcv_nxt, 0);
	else
		without_flags(sk, rcv_nxt);
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 7, 0)
/* 6.7: TCP timestamps may tick in microseconds. */
static inline bool vpipe_compat_tcp_usec_ts(const struct tcp_sock *tp)
{
	return tp->tcp_usec_ts;
}

static inline void vpipe_compat_tcp_set_usec_ts(struct tcp_sock *tp, bool usec)
{
	tp->tcp_usec_ts = usec;
}

static inline u32 vpipe_compat_tcp_clock_ts(const struct tcp_sock *tp)
{
	return tcp_clock_ts(tp->tcp_usec_ts);
}
#else
static inline bool vpipe_compat_tcp_usec_ts(const struct tcp_sock *tp)
{
	return false;
}

static inline void vpipe_compat_tcp_set_usec_ts(struct tcp_sock *tp, bool usec)
{
}

static inline u32 vpipe_compat_tcp_clock_ts(const struct tcp_sock *tp)
{
	return tcp_time_stamp_raw();
}
#endif

#if IS_ENABLED(CONFIG_IPV6)
/* 6.7: has the program said whether it wants flow labels?  Else: as the system has it. */
static inline bool vpipe_compat_autoflowlabel(const struct sock *sk, bool usual)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 7, 0)
	return inet6_test_bit(AUTOFLOWLABEL_SET, sk) ? inet6_test_bit(AUTOFLOWLABEL, sk) : usual;
#else
	const struct ipv6_pinfo *np = inet6_sk(sk);

	return np->autoflowlabel_set ? np->autoflowlabel : usual;
#endif
}
#endif

/* 6.6: how much of a receive buffer is for data is measured; before, it is a setting. */
static inline int vpipe_compat_tcp_space_from_win(const struct sock *sk, int win)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
	return tcp_space_from_win(sk, win);
#else
	int scale = READ_ONCE(sock_net(sk)->ipv4.sysctl_tcp_adv_win_scale);

	return scale > 0 ? win + win / ((1 << min(scale, 30)) - 1) : win << min(-scale, 2);
#endif
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 9, 0)
/* 6.9: a block device is opened as a file, and blk_alloc_disk takes limits. */
typedef struct file vpipe_bdev_handle;

static inline vpipe_bdev_handle *vpipe_compat_bdev_open(dev_t dev, bool write)
{
	return bdev_file_open_by_dev(dev, BLK_OPEN_READ | (write ? BLK_OPEN_WRITE : 0),
				     NULL, NULL);
}

static inline struct block_device *vpipe_compat_bdev(vpipe_bdev_handle *handle)
{
	return file_bdev(handle);
}

static inline void vpipe_compat_bdev_close(vpipe_bdev_handle *handle, bool write)
{
	bdev_fput(handle);
}

#define vpipe_compat_blk_alloc_disk()	blk_alloc_disk(NULL, NUMA_NO_NODE)
#else
typedef struct block_device vpipe_bdev_handle;

static inline vpipe_bdev_handle *vpipe_compat_bdev_open(dev_t dev, bool write)
{
	return blkdev_get_by_dev(dev, FMODE_READ | (write ? FMODE_WRITE : 0), NULL);
}

static inline struct block_device *vpipe_compat_bdev(vpipe_bdev_handle *handle)
{
	return handle;
}

static inline void vpipe_compat_bdev_close(vpipe_bdev_handle *handle, bool write)
{
	blkdev_put(handle, FMODE_READ | (write ? FMODE_WRITE : 0));
}

#define vpipe_compat_blk_alloc_disk()	(blk_alloc_disk(NUMA_NO_NODE) ?: ERR_PTR(-ENOMEM))
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 5, 0)
/* 6.5: MSG_SPLICE_PAGES.  6.1's headers may define the name and ignore it. */
#define VPIPE_COMPAT_SENDPAGE

/* A second way to send, by which sendfile() goes: make it sendmsg. */
static inline void vpipe_compat_no_sendpage(struct proto_ops *ops)
{
	ops->sendpage = sock_no_sendpage;
}
#else
static inline void vpipe_compat_no_sendpage(struct proto_ops *ops)
{
}
#endif

#endif /* _VPIPE_COMPAT_H */
