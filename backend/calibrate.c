// SPDX-License-Identifier: GPL-2.0
/*
 * calibrate.c: how much can the host move?  For the credits of the strict mode, and for
 * the length of a round in the other; disk_mbps and net_mbps override it.
 *
 * The network is measured when the module is loaded, and again when asked: one TCP
 * connection over the loopback device, which is what dom0's CPUs can do, and not what a
 * network card can.  Disks are measured when asked, those of one domain: read from the
 * beginning, as many bytes as there are or as some time allows, the fastest counts.
 */
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/completion.h>
#include <linux/inet.h>
#include <linux/slab.h>
#include <net/net_namespace.h>

#include "vpback.h"

#define MEASURE_MS	100U		/* each */
#define BATCH_CHUNKS	16U		/* reads at a disk at the same time */
#define SEND_BYTES	(256U << 10)

/* MB/s, at least 1. */
static unsigned int calibrate_rate(u64 bytes, ktime_t since)
{
	u64 us = max_t(s64, ktime_us_delta(ktime_get(), since), 1);

	return clamp_t(u64, div64_u64(bytes, us), 1, 1000000);
}

static bool calibrate_over(ktime_t since)
{
	return ktime_ms_delta(ktime_get(), since) >= MEASURE_MS;
}

/* --- the network --------------------------------------------------------------------- */

/* Two ends of a connection over the loopback device; both are the caller's. */
static int calibrate_connect(struct socket *end[2])
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	struct socket *listening;
	int ret;

	ret = sock_create_kern(&init_net, PF_INET, SOCK_STREAM, IPPROTO_TCP, &listening);
	if (ret)
		return ret;
	ret = kernel_bind(listening, (struct sockaddr *)&addr, sizeof(addr)) ?:
	      kernel_listen(listening, 1);
	if (!ret)
		ret = min(kernel_getsockname(listening, (struct sockaddr *)&addr), 0);
	if (!ret)
		ret = sock_create_kern(&init_net, PF_INET, SOCK_STREAM, IPPROTO_TCP, &end[0]);
	if (ret)
		goto out;
	end[0]->sk->sk_sndtimeo = HZ;	/* a firewall may drop it: not for minutes */
	ret = kernel_connect(end[0], (struct sockaddr *)&addr, sizeof(addr), 0) ?:
	      kernel_accept(listening, &end[1], O_NONBLOCK);
	if (ret)
		sock_release(end[0]);
out:
	sock_release(listening);
	return ret;
}

/* MB/s, or an error.  May sleep. */
static int calibrate_net(void)
{
	struct msghdr send = { .msg_flags = MSG_DONTWAIT };
	struct msghdr receive = { .msg_flags = MSG_DONTWAIT };
	void *data = kvmalloc(SEND_BYTES, GFP_KERNEL | __GFP_ZERO);
	struct socket *end[2];
	u64 bytes = 0;
	ktime_t since;
	int ret;

	if (!data)
		return -ENOMEM;
	ret = calibrate_connect(end);
	if (ret)
		goto out;
	since = ktime_get();
	do {
		struct kvec from = { data, SEND_BYTES }, to = { data, SEND_BYTES };

		ret = kernel_sendmsg(end[0], &send, &from, 1, SEND_BYTES);
		if (ret < 0 && ret != -EAGAIN)
			break;
		ret = kernel_recvmsg(end[1], &receive, &to, 1, SEND_BYTES, MSG_DONTWAIT);
		if (ret < 0 && ret != -EAGAIN)
			break;
		bytes += max(ret, 0);
		cond_resched();
		ret = 0;
	} while (!calibrate_over(since));
	if (!ret)
		ret = calibrate_rate(bytes, since);
	sock_release(end[0]);
	sock_release(end[1]);
out:
	kvfree(data);
	return ret;
}

/* --- disks -------------------------------------------------------------------------------- */

struct calibrate_batch {
	struct completion done;
	atomic_t pending;
	int error;
};

static void calibrate_read_done(struct bio *bio)
{
	struct calibrate_batch *batch = bio->bi_private;

	if (bio->bi_status)
		WRITE_ONCE(batch->error, blk_status_to_errno(bio->bi_status));
	bio_put(bio);
	if (atomic_dec_and_test(&batch->pending))
		complete(&batch->done);
}

/* As much as pages take, from this sector on; waits.  Bytes, or an error. */
static int calibrate_read(struct block_device *bdev, struct page **page, u64 sector, u64 sectors)
{
	struct calibrate_batch batch = { .pending = ATOMIC_INIT(1) };
	const u32 chunk = VPBACK_CHUNK_BYTES >> SECTOR_SHIFT;
	unsigned int i, n, bytes = 0;
	struct blk_plug plug;
	struct bio *bio;

	init_completion(&batch.done);
	blk_start_plug(&plug);
	for (i = 0; i < BATCH_CHUNKS && sector + chunk <= sectors; i++, sector += chunk) {
		bio = bio_alloc(bdev, 1 << VPBACK_CHUNK_ORDER, REQ_OP_READ, GFP_NOIO);
		bio->bi_iter.bi_sector = sector;
		bio->bi_private = &batch;
		bio->bi_end_io = calibrate_read_done;
		for (n = 0; n < 1 << VPBACK_CHUNK_ORDER; n++)
			__bio_add_page(bio, nth_page(page[i], n), PAGE_SIZE, 0);
		atomic_inc(&batch.pending);
		bytes += VPBACK_CHUNK_BYTES;
		submit_bio(bio);
	}
	blk_finish_plug(&plug);
	/* As long as the disk takes: the pages are its until then. */
	if (!atomic_dec_and_test(&batch.pending))
		wait_for_completion(&batch.done);
	return batch.error ?: bytes;
}

static int calibrate_disk(struct vpback_disk *disk)
{
	u64 sectors = bdev_nr_sectors(disk->bdev), bytes = 0;
	struct page *page[BATCH_CHUNKS] = { };
	ktime_t since;
	unsigned int i;
	int ret = 0;

	for (i = 0; !ret && i < BATCH_CHUNKS; i++) {
		page[i] = alloc_pages(GFP_KERNEL | __GFP_COMP | __GFP_NOWARN, VPBACK_CHUNK_ORDER);
		if (!page[i])
			ret = -ENOMEM;
	}
	since = ktime_get();
	while (!ret && !calibrate_over(since)) {
		ret = calibrate_read(disk->bdev, page, bytes >> SECTOR_SHIFT, sectors);
		if (!ret)
			break;		/* the disk's end */
		if (ret > 0) {
			bytes += ret;
			ret = 0;
		}
	}
	if (!ret)
		ret = bytes ? calibrate_rate(bytes, since) : -ENODATA;
	for (i = 0; i < BATCH_CHUNKS && page[i]; i++)
		__free_pages(page[i], VPBACK_CHUNK_ORDER);
	return ret;
}

/* The fastest of the domain's; MB/s, or why there is none. */
static int calibrate_disks(struct vpback_device *dev)
{
	int ret = -ENODEV, rate;
	struct vpback_disk *disk;
	char path[32], **names;
	unsigned int nr, i;
	u32 vdev;

	snprintf(path, sizeof(path), "backend/vbd/%u", dev->domid);
	names = xenbus_directory(XBT_NIL, path, "", &nr);
	if (IS_ERR(names))
		return PTR_ERR(names);
	for (i = 0; i < nr; i++) {
		if (kstrtou32(names[i], 10, &vdev))
			continue;
		disk = vpback_disk_get(dev, vdev);
		if (IS_ERR(disk))
			continue;
		rate = calibrate_disk(disk);
		vpback_disk_put(dev, disk);
		ret = max(ret, rate);
	}
	kfree(names);
	return ret;
}

/* --- both ------------------------------------------------------------------------------------- */

/*
 * The domain's disks and the network, again; with the device's lock, while it is
 * connected.  What cannot be measured stays as it was; then an error.  May take seconds.
 */
int vpback_calibrate(struct vpback_device *dev)
{
	int disk = calibrate_disks(dev), net = calibrate_net();

	vpback_credit_measured(max(disk, 0), max(net, 0));
	return min3(disk, net, 0);
}

/* When the module is loaded; a host without a loopback device keeps what is assumed. */
void vpback_calibrate_init(void)
{
	vpback_credit_measured(0, max(calibrate_net(), 0));
}
