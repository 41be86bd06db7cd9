// SPDX-License-Identifier: GPL-2.0
/*
 * capture.c: finds out which disk blocks hold a range of a file by letting the
 * filesystem read that range itself, directly, into marked pages that are nobody's
 * data, and taking the bios away before they reach the disk.
 *
 * So the filesystem does all that it would do for O_DIRECT: it writes back dirty
 * pages, takes its locks, maps, and refuses what it cannot do.  The bios are seen
 * at the tracepoint block_bio_queue, after partition remap and before any queue:
 * for our own bios, and only for those, the probe points bi_bdev at a hidden disk
 * of this module, whose submit_bio notes sectors and ends the bio.  This is an
 * off-label use of a tracepoint; a self-test at load decides whether it works here.
 */
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/bvec.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/tracepoint.h>
#include <linux/uio.h>
#include <trace/events/block.h>

#include "vpfront.h"

#define MARK_ORDER	4			/* the marked pages: 64 KiB */
#define MARK_BYTES	(PAGE_SIZE << MARK_ORDER)

/* One read under way.  Lives on the stack of its caller. */
struct capture {
	struct list_head node;
	struct gendisk *disk;			/* bios to any other are left alone */
	struct bio_vec *bvec;			/* how our bios are recognised */
	unsigned int nr_bvec;
	struct block_device *bdev;		/* where the bios were going */
	struct vpfront_segment *seg;
	struct inode *inode;
	u64 at;					/* bytes of the range that are accounted for */
	int error;
};

static DEFINE_SPINLOCK(captures_lock);		/* serialises the list of captures */
static LIST_HEAD(captures);
static atomic_t nr_captures = ATOMIC_INIT(0);
static struct page *mark;
static struct gendisk *trap;
static struct tracepoint *bio_queue;

/* The bio's vector points into the array of its capture; clones share it. */
static struct capture *capture_of(struct bio *bio)
{
	struct capture *cap, *found = NULL;
	unsigned long flags;

	if (!atomic_read(&nr_captures) || !bio_has_data(bio))
		return NULL;
	spin_lock_irqsave(&captures_lock, flags);
	list_for_each_entry(cap, &captures, node) {
		if (bio->bi_io_vec >= cap->bvec && bio->bi_io_vec < cap->bvec + cap->nr_bvec) {
			found = cap;
			break;
		}
	}
	spin_unlock_irqrestore(&captures_lock, flags);
	return found;
}

static void capture_probe(void *data, struct bio *bio)
{
	struct capture *cap = capture_of(bio);

	if (!cap || bio_op(bio) != REQ_OP_READ || bio->bi_bdev->bd_disk != cap->disk)
		return;
	cap->bdev = bio->bi_bdev;
	bio->bi_bdev = trap->part0;
}

/* Which byte of the range the bio begins with: where in the array it points. */
static u64 capture_position(const struct capture *cap, const struct bio *bio)
{
	return (u64)(bio->bi_io_vec - cap->bvec + bio->bi_iter.bi_idx) * MARK_BYTES +
	       bio->bi_iter.bi_bvec_done;
}

/*
 * Bytes [pos, pos + bytes) of the range lie at `sector`.  What no bio asked for
 * before them is a hole or not written yet, which the filesystem fills with zeros.
 * Once the list is full, the rest is left to the next segment.
 */
static void capture_account(struct capture *cap, u64 pos, u64 sector, u64 bytes)
{
	if (cap->error)
		return;
	if (pos < cap->at) {
		cap->error = -EOPNOTSUPP;	/* out of order */
		return;
	}
	if (pos > cap->at)
		cap->error = vpfront_file_extent_add(cap->seg, XEN_VPIPE_SECTOR_ZERO,
						     pos - cap->at);
	if (cap->error)
		return;
	cap->at = pos;
	if (!bytes)
		return;
	cap->error = vpfront_file_extent_add(cap->seg, sector, bytes);
	if (!cap->error)
		cap->at += bytes;
}

static void trap_submit_bio(struct bio *bio)
{
	struct capture *cap = capture_of(bio);
	u32 bytes = bio->bi_iter.bi_size;

	if (WARN_ON_ONCE(!cap)) {
		bio_io_error(bio);
		return;
	}
	/*
	 * The filesystem holds its lock against truncation here.  Taken now, the
	 * count makes truncate, hole punch and defragmentation wait for the backend.
	 */
	if (!cap->seg->pinned) {
		inode_dio_begin(cap->inode);
		cap->seg->pinned = cap->inode;
	}
	capture_account(cap, capture_position(cap, bio), bio->bi_iter.bi_sector, bytes);
	bio->bi_bdev = cap->bdev;
	bio_endio(bio);
}

static const struct block_device_operations trap_fops = {
	.owner = THIS_MODULE,
	.submit_bio = trap_submit_bio,
};

static int capture_begin(struct capture *cap, size_t len)
{
	unsigned int i;

	cap->nr_bvec = DIV_ROUND_UP(len, MARK_BYTES);
	cap->bvec = kvcalloc(cap->nr_bvec, sizeof(*cap->bvec), GFP_KERNEL);
	if (!cap->bvec)
		return -ENOMEM;
	for (i = 0; i < cap->nr_bvec; i++) {
		unsigned int n = min_t(size_t, len, MARK_BYTES);

		bvec_set_page(&cap->bvec[i], mark, n, 0);
		len -= n;
	}
	spin_lock_irq(&captures_lock);
	list_add(&cap->node, &captures);
	spin_unlock_irq(&captures_lock);
	atomic_inc(&nr_captures);
	return 0;
}

static void capture_end(struct capture *cap)
{
	atomic_dec(&nr_captures);
	spin_lock_irq(&captures_lock);
	list_del(&cap->node);
	spin_unlock_irq(&captures_lock);
	kvfree(cap->bvec);
}

/*
 * Fill the segment with the blocks of [pos, pos + len), which must be aligned for
 * direct I/O; it may end early, at the end of the file or when its list is full.
 * With `nowait`, -EAGAIN when a lock or writeback would have to be waited for.
 * Returns the bytes that the list covers (whole blocks) and in *end the bytes that
 * are in the file from pos on, or:
 *   -EOPNOTSUPP the filesystem read (some of) it otherwise, or elsewhere
 */
ssize_t vpfront_capture_read(struct file *file, struct gendisk *disk, loff_t pos, size_t len,
			     bool nowait, struct vpfront_segment *seg, u64 *end)
{
	struct capture cap = { .disk = disk, .seg = seg, .inode = file_inode(file) };
	struct iov_iter iter;
	struct kiocb kiocb;
	ssize_t ret;

	ret = capture_begin(&cap, len);
	if (ret)
		return ret;
	iov_iter_bvec(&iter, ITER_DEST, cap.bvec, cap.nr_bvec, len);
	init_sync_kiocb(&kiocb, file);
	kiocb.ki_pos = pos;
	kiocb.ki_flags |= IOCB_DIRECT | (nowait ? IOCB_NOWAIT : 0);
	ret = vfs_iocb_iter_read(file, &kiocb, &iter);
	capture_end(&cap);

	/* The filesystem takes the flag away when it falls back to its cache. */
	if (ret >= 0 && !(kiocb.ki_flags & IOCB_DIRECT))
		ret = -EOPNOTSUPP;
	/* Nobody's data may have come here: what the list calls zeros must be zeros. */
	if (memchr_inv(page_address(mark), 0, MARK_BYTES)) {
		pr_err_once("vpipe-front: a read went past the capture\n");
		memset(page_address(mark), 0, MARK_BYTES);
		ret = -EOPNOTSUPP;
	}
	if (ret < 0)
		return ret == -EINVAL ? -EOPNOTSUPP : ret;
	*end = ret;
	/* A hole at the end of what was read. */
	if (cap.at < ret)
		capture_account(&cap, round_up((u64)ret, i_blocksize(cap.inode)), 0, 0);
	if (cap.error && cap.error != -E2BIG)
		return cap.error;
	return cap.at;
}

/* --- self-test: does a bio to one disk arrive at the trap instead? --------- */

static void victim_submit_bio(struct bio *bio)
{
	bio_io_error(bio);
}

static const struct block_device_operations victim_fops = {
	.owner = THIS_MODULE,
	.submit_bio = victim_submit_bio,
};

static struct gendisk *hidden_disk(const char *name, const struct block_device_operations *fops)
{
	struct gendisk *disk = vpipe_compat_blk_alloc_disk();
	int ret;

	if (IS_ERR(disk))
		return disk;
	disk->fops = fops;
	disk->flags |= GENHD_FL_NO_PART | GENHD_FL_HIDDEN;
	strscpy(disk->disk_name, name, sizeof(disk->disk_name));
	set_capacity(disk, 8);
	ret = add_disk(disk);
	if (ret) {
		put_disk(disk);
		return ERR_PTR(ret);
	}
	return disk;
}

static void hidden_disk_remove(struct gendisk *disk)
{
	del_gendisk(disk);
	put_disk(disk);
}

static int self_test(void)
{
	struct vpfront_segment seg = {};
	struct capture cap = { .seg = &seg };
	struct gendisk *victim;
	struct bio *bio;
	int ret;

	seg.extent = kcalloc(1, sizeof(*seg.extent), GFP_KERNEL);
	cap.inode = kzalloc(sizeof(*cap.inode), GFP_KERNEL);	/* only its dio count is used */
	victim = hidden_disk("vpipe-victim", &victim_fops);
	if (!seg.extent || !cap.inode || IS_ERR(victim)) {
		ret = -ENOMEM;
		goto out;
	}
	cap.disk = victim;
	ret = capture_begin(&cap, PAGE_SIZE);
	if (ret)
		goto out;
	bio = bio_alloc(victim->part0, 0, REQ_OP_READ, GFP_KERNEL);
	bio->bi_io_vec = cap.bvec;
	bio->bi_vcnt = cap.nr_bvec;
	bio->bi_iter.bi_size = PAGE_SIZE;
	bio_set_flag(bio, BIO_CLONED);
	ret = submit_bio_wait(bio);
	if (!ret && (cap.at != PAGE_SIZE || seg.nr != 1 || seg.extent[0].nr != 8))
		ret = -EIO;
	bio_put(bio);
	capture_end(&cap);
out:
	if (!IS_ERR_OR_NULL(victim))
		hidden_disk_remove(victim);
	kfree(cap.inode);
	kfree(seg.extent);
	return ret;
}

static void find_tracepoint(struct tracepoint *tp, void *priv)
{
	if (!strcmp(tp->name, "block_bio_queue"))
		*(struct tracepoint **)priv = tp;
}

int vpfront_capture_init(void)
{
	int ret = -ENOMEM;

	mark = alloc_pages(GFP_KERNEL | __GFP_COMP | __GFP_ZERO, MARK_ORDER);
	if (!mark)
		return ret;
	trap = hidden_disk("vpipe-trap", &trap_fops);
	if (IS_ERR(trap)) {
		ret = PTR_ERR(trap);
		goto err_mark;
	}
	for_each_kernel_tracepoint(find_tracepoint, &bio_queue);
	ret = bio_queue ? tracepoint_probe_register(bio_queue, capture_probe, NULL) : -ENOENT;
	if (ret) {
		pr_err("vpipe-front: no tracepoint block_bio_queue in this kernel\n");
		goto err_trap;
	}
	ret = self_test();
	if (ret) {
		pr_err("vpipe-front: this kernel does not let bios be captured: %d\n", ret);
		goto err_probe;
	}
	return 0;

err_probe:
	tracepoint_probe_unregister(bio_queue, capture_probe, NULL);
	tracepoint_synchronize_unregister();
err_trap:
	hidden_disk_remove(trap);
err_mark:
	__free_pages(mark, MARK_ORDER);
	return ret;
}

void vpfront_capture_exit(void)
{
	tracepoint_probe_unregister(bio_queue, capture_probe, NULL);
	tracepoint_synchronize_unregister();
	hidden_disk_remove(trap);
	__free_pages(mark, MARK_ORDER);
}
