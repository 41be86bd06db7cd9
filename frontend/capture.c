// SPDX-License-Identifier: GPL-2.0
/*
 * capture.c: catches the bios of a direct read or write that this module has a
 * filesystem do (blocks.c, sink.c), before they reach the disk.
 *
 * The pages that are read into or written from are marked ones, nobody's data, and
 * always zero.  The bios are seen at the tracepoint block_bio_queue, after partition
 * remap and before any queue: for our own bios, and only for those, the probe points
 * bi_bdev at a hidden disk of this module, whose submit_bio hands them over.  This
 * is an off-label use of a tracepoint; a self-test at load decides whether it works
 * here.
 */
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/bvec.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/tracepoint.h>
#include <trace/events/block.h>

#include "vpfront.h"

/*
 * The marked pages: 16 KiB, of which a short range uses only the first 4.  Larger ones take
 * longer to look through after each read (_clean), smaller ones make more bvecs.
 */
#define MARK_ORDER	2
#define MARK_BYTES	(PAGE_SIZE << MARK_ORDER)
#define SHORT_BYTES	(1UL << 20)

static DEFINE_SPINLOCK(captures_lock);	/* serialises the list of captures, and `spoilt` */
static LIST_HEAD(captures);
static atomic_t nr_captures = ATOMIC_INIT(0);
/* Of reads, and of writes: a read that goes wrong must not change what is written. */
static struct page *mark[2];
/*
 * How often something had come into those of reads.  They are the same for all: who
 * finds them clean may come after another who has cleaned them.
 */
static unsigned int spoilt;
static struct gendisk *trap;
static struct tracepoint *bio_queue;

/* The bio's vector points into the array of its capture; clones share it. */
static struct vpfront_capture *capture_of(struct bio *bio)
{
	struct vpfront_capture *cap, *found = NULL;
	unsigned long flags;

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
	struct vpfront_capture *cap;

	if (!atomic_read(&nr_captures) || !bio_has_data(bio))
		return;
	cap = capture_of(bio);
	/* What is not caught is read or written as it is: for a write, that is zeros. */
	if (!cap || (bio_op(bio) == REQ_OP_READ && bio->bi_bdev->bd_disk != cap->disk))
		return;
	cap->bdev = bio->bi_bdev;
	bio->bi_bdev = trap->part0;
}

/* Which byte of the range the bio begins with: where in the array it points. */
static u64 capture_position(const struct vpfront_capture *cap, const struct bio *bio)
{
	return (u64)(bio->bi_io_vec - cap->bvec + bio->bi_iter.bi_idx) * cap->mark_bytes +
	       bio->bi_iter.bi_bvec_done;
}

/* The caught bio goes back to who submitted it.  Any context. */
void vpfront_capture_end_bio(struct vpfront_capture *cap, struct bio *bio, blk_status_t status)
{
	bio->bi_bdev = cap->bdev;
	bio->bi_status = status;
	bio_endio(bio);
}

static void trap_submit_bio(struct bio *bio)
{
	struct vpfront_capture *cap = capture_of(bio);

	if (WARN_ON_ONCE(!cap))
		bio_io_error(bio);
	else if (cap->bdev->bd_disk != cap->disk || bio_op(bio) != cap->op)
		vpfront_capture_end_bio(cap, bio, BLK_STS_NOTSUPP);
	else
		cap->caught(cap, bio, capture_position(cap, bio));
}

static const struct block_device_operations trap_fops = {
	.owner = THIS_MODULE,
	.submit_bio = trap_submit_bio,
};

/*
 * From here to _end, bios over cap->bvec are caught: `len` bytes in bvecs of marked
 * pages.  The caller has set disk, op and caught.  May sleep.
 */
int vpfront_capture_begin(struct vpfront_capture *cap, size_t len)
{
	struct page *page = mark[cap->op == REQ_OP_WRITE];
	unsigned int i;

	cap->mark_bytes = len <= SHORT_BYTES ? PAGE_SIZE : MARK_BYTES;
	cap->nr_bvec = DIV_ROUND_UP(len, cap->mark_bytes);
	cap->bvec = kvcalloc(cap->nr_bvec, sizeof(*cap->bvec), GFP_KERNEL);
	if (!cap->bvec)
		return -ENOMEM;
	for (i = 0; i < cap->nr_bvec; i++) {
		unsigned int n = min_t(size_t, len, cap->mark_bytes);

		bvec_set_page(&cap->bvec[i], page, n, 0);
		len -= n;
	}
	spin_lock_irq(&captures_lock);
	cap->spoilt = spoilt;
	list_add(&cap->node, &captures);
	spin_unlock_irq(&captures_lock);
	atomic_inc(&nr_captures);
	return 0;
}

/* All its bios have ended. */
void vpfront_capture_end(struct vpfront_capture *cap)
{
	atomic_dec(&nr_captures);
	spin_lock_irq(&captures_lock);
	list_del(&cap->node);
	spin_unlock_irq(&captures_lock);
	kvfree(cap->bvec);
}

/*
 * After _end: did nothing come into the marked pages while the read of `len` bytes went on,
 * of this read or of another?  They are clean afterwards.
 */
bool vpfront_capture_clean(const struct vpfront_capture *cap, size_t len)
{
	void *marked = page_address(mark[0]);

	len = min_t(size_t, len, cap->mark_bytes);
	if (memchr_inv(marked, 0, len)) {
		spin_lock_irq(&captures_lock);
		WRITE_ONCE(spoilt, spoilt + 1);
		smp_wmb();	/* told before it can be seen clean: pairs with the one below */
		memset(marked, 0, len);
		spin_unlock_irq(&captures_lock);
		return false;
	}
	smp_rmb();	/* pairs with the one above */
	return READ_ONCE(spoilt) == cap->spoilt;
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

struct self_test {
	struct vpfront_capture cap;
	unsigned int bytes;
};

static void self_test_caught(struct vpfront_capture *cap, struct bio *bio, u64 pos)
{
	container_of(cap, struct self_test, cap)->bytes += bio->bi_iter.bi_size;
	vpfront_capture_end_bio(cap, bio, BLK_STS_OK);
}

static int self_test(enum req_op op)
{
	struct self_test test = { .cap = { .op = op, .caught = self_test_caught } };
	struct gendisk *victim = hidden_disk("vpipe-victim", &victim_fops);
	struct bio *bio;
	int ret;

	if (IS_ERR(victim))
		return PTR_ERR(victim);
	test.cap.disk = victim;
	ret = vpfront_capture_begin(&test.cap, PAGE_SIZE);
	if (ret)
		goto out;
	bio = bio_alloc(victim->part0, 0, op, GFP_KERNEL);
	bio->bi_io_vec = test.cap.bvec;
	bio->bi_vcnt = test.cap.nr_bvec;
	bio->bi_iter.bi_size = PAGE_SIZE;
	bio_set_flag(bio, BIO_CLONED);
	ret = submit_bio_wait(bio);
	if (!ret && test.bytes != PAGE_SIZE)
		ret = -EIO;
	bio_put(bio);
	vpfront_capture_end(&test.cap);
out:
	hidden_disk_remove(victim);
	return ret;
}

static void find_tracepoint(struct tracepoint *tp, void *priv)
{
	if (!strcmp(tp->name, "block_bio_queue"))
		*(struct tracepoint **)priv = tp;
}

static void free_marks(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(mark); i++)
		if (mark[i])
			__free_pages(mark[i], MARK_ORDER);
}

int vpfront_capture_init(void)
{
	int ret = -ENOMEM;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(mark); i++) {
		mark[i] = alloc_pages(GFP_KERNEL | __GFP_COMP | __GFP_ZERO, MARK_ORDER);
		if (!mark[i])
			goto err_mark;
	}
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
	ret = self_test(REQ_OP_READ) ?: self_test(REQ_OP_WRITE);
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
	free_marks();
	return ret;
}

void vpfront_capture_exit(void)
{
	tracepoint_probe_unregister(bio_queue, capture_probe, NULL);
	tracepoint_synchronize_unregister();
	hidden_disk_remove(trap);
	free_marks();
}
