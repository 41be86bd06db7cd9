// SPDX-License-Identifier: GPL-2.0
/*
 * sink.c: bytes that wait in the backend's buffer become a file's.
 *
 * The filesystem is made to write zeros of ours directly, and the bios are caught
 * (capture.c) and held: allocation, size, locks, journal and commit are its own.  The
 * backend writes its data where the bios were going; when that is on the disk the
 * bios end, and the filesystem goes on: it tells of no byte that is not there, and no
 * old content of a block is ever seen.  What it waits for is one disk, never a peer.
 *
 * A bio ends in error only when the backend will certainly not write any more: it said
 * so, or it is gone.  Else the blocks could be somebody else's when it does.
 *
 * The one thing to be wary of is a filesystem that writes our zeros otherwise, through
 * its cache: those that would are asked beforehand and left alone, and the cache is
 * emptied first, because pages that stay there are a reason too.  What was written
 * that way after all is never counted: the caller writes it by ordinary calls.
 */
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/cred.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/fsnotify.h>
#include <linux/pagemap.h>
#include <linux/slab.h>
#include <linux/stat.h>
#include <linux/uio.h>

#include "vpfront.h"

/*
 * Not the operations' own queue: one of those waits, in the filesystem, for this.
 * Nor is it frozen: only so does that one end before the guest is suspended.
 */
static struct workqueue_struct *sink_wq;

/* The filesystem has submitted what it had, and is about to wait for it. */
static void sink_unplug(struct blk_plug_cb *cb, bool from_schedule)
{
	queue_work(sink_wq, &((struct vpfront_sink *)cb->data)->work);
	kfree(cb);
}

/*
 * From the submitter's context.  The bios of a write are handed over together: when one
 * of them fails then nothing of the others, which another CPU could have been faster
 * with, has left the backend's buffer.
 */
static void sink_caught(struct vpfront_capture *cap, struct bio *bio, u64 pos)
{
	struct vpfront_sink *sink = container_of(cap, struct vpfront_sink, cap);
	bool next;

	spin_lock(&sink->lock);
	next = pos == sink->caught;
	if (next) {
		sink->caught += bio->bi_iter.bi_size;
		bio_list_add(&sink->held, bio);
	}
	spin_unlock(&sink->lock);
	if (!next)
		vpfront_capture_end_bio(cap, bio, BLK_STS_NOTSUPP);	/* out of order */
	else if (!blk_check_plugged(sink_unplug, sink, sizeof(struct blk_plug_cb)))
		queue_work(sink_wq, &sink->work);
}

/* Bios that wait, as many as one TRANSFER takes: into *bios and sink->batch. */
static bool sink_take(struct vpfront_sink *sink, struct bio_list *bios)
{
	struct vpfront_segment *batch = &sink->batch;
	struct bio *bio;

	bio_list_init(bios);
	batch->nr = 0;
	batch->length = 0;
	sink->fua = false;
	spin_lock(&sink->lock);
	while ((bio = bio_list_pop(&sink->held))) {
		if (vpfront_file_extent_add(batch, bio->bi_iter.bi_sector, bio->bi_iter.bi_size)) {
			bio_list_add_head(&sink->held, bio);
			break;
		}
		batch->length += bio->bi_iter.bi_size;
		sink->fua = sink->fua || (bio->bi_opf & REQ_FUA);
		bio_list_add(bios, bio);
	}
	spin_unlock(&sink->lock);
	return batch->length;
}

/*
 * Have the backend write the batch, and wait until it has, or never will.  Neither a
 * signal nor time can end this wait, as with any I/O that a disk has been given.
 */
static int sink_transfer(struct vpfront_pipe *pipe)
{
	struct vpfront_sink *sink = &pipe->sink;
	struct vpfront_segment *batch = &sink->batch;
	struct vpfront_device *dev = pipe->dev;
	int ret;

	batch->cookie = atomic64_inc_return(&pipe->cookie);
	smp_store_release(&batch->busy, 1);	/* after the cookie */
	ret = vpfront_command_write(pipe, batch, sink->fua);
	if (ret) {
		WRITE_ONCE(batch->busy, 0);
		return ret;
	}
	/* Before what the event told. */
	wait_event(dev->wait, !smp_load_acquire(&batch->busy) || vpfront_xenbus_gone(dev));
	if (xchg(&batch->busy, 0))
		return -EIO;
	if (sink->status)
		return sink->status < 0 ? sink->status : -EIO;
	return sink->moved == batch->length ? 0 : -EIO;
}

static void sink_work(struct work_struct *work)
{
	struct vpfront_sink *sink = container_of(work, struct vpfront_sink, work);
	struct vpfront_pipe *pipe = container_of(sink, struct vpfront_pipe, sink);
	struct bio_list bios;
	struct bio *bio;

	while (sink_take(sink, &bios)) {
		/* After a failure nothing may follow: the buffer would be out of step. */
		sink->failed = sink->failed || sink_transfer(pipe);
		if (!sink->failed)
			sink->written += sink->batch.length;
		while ((bio = bio_list_pop(&bios)))
			vpfront_capture_end_bio(&sink->cap, bio,
						sink->failed ? BLK_STS_IOERR : BLK_STS_OK);
	}
}

/* Would the filesystem write this directly?  It says so by statx(2) (Linux 6.1). */
static bool sink_is_direct(struct file *file, u64 pos, size_t len)
{
	struct kstat stat;

	return !vfs_getattr_nosec(&file->f_path, &stat, STATX_DIOALIGN, AT_STATX_DONT_SYNC) &&
	       stat.result_mask & STATX_DIOALIGN && stat.dio_mem_align && stat.dio_offset_align &&
	       !((pos | len) & (stat.dio_offset_align - 1));
}

/*
 * Have blocks reserved for the whole range, so that a write does not find the disk full
 * when part of it is done.  The file's size stays; -EOPNOTSUPP where blocks are not
 * mapped by extents (ext2, ext3): there a write into a hole would not be direct either.
 */
static int sink_reserve(struct file *file, u64 pos, size_t len)
{
	if (!file->f_op->fallocate)
		return -EOPNOTSUPP;
	return file->f_op->fallocate(file, FALLOC_FL_KEEP_SIZE, pos, len);
}

/* Nothing of the range stays cached; -EBUSY when somebody keeps using it. */
static int sink_empty_cache(struct address_space *mapping, u64 pos, size_t len)
{
	u64 start = round_down(pos, PAGE_SIZE), end = round_up(pos + len, PAGE_SIZE);

	if (!mapping->nrpages)
		return 0;
	return filemap_write_and_wait_range(mapping, start, end - 1) ?:
	       invalidate_inode_pages2_range(mapping, start >> PAGE_SHIFT,
					     (end - 1) >> PAGE_SHIFT);
}

/*
 * Write the next `len` bytes of the backend's buffer to [pos, pos + len) of the file;
 * both are whole blocks.  May sleep for the disk.  Returns the bytes that are in the
 * file, or
 *   -EAGAIN     somebody else keeps using that part of the file, or it is frozen
 *   -EOPNOTSUPP the filesystem wrote (some of) it otherwise
 * or the filesystem's error.  What has left the buffer is added to pipe->taken.
 */
ssize_t vpfront_sink_write(struct vpfront_pipe *pipe, u64 pos, size_t len)
{
	struct vpfront_sink *sink = &pipe->sink;
	struct file *file = sink->file.file;
	const struct cred *cred;
	struct iov_iter iter;
	struct kiocb kiocb;
	ssize_t ret;

	if (IS_IMMUTABLE(file_inode(file)) || IS_SWAPFILE(file_inode(file)) ||
	    !sink_is_direct(file, pos, len))
		return -EOPNOTSUPP;
	ret = sink_empty_cache(file->f_mapping, pos, len);
	if (ret)
		return ret == -EBUSY ? -EAGAIN : ret;
	sink->cap.disk = sink->file.disk;
	sink->caught = 0;
	sink->written = 0;
	sink->failed = false;
	ret = vpfront_capture_begin(&sink->cap, len);
	if (ret)
		return ret;
	/* Waiting for a frozen filesystem is the ordinary path's business. */
	if (!file_start_write_trylock(file)) {
		ret = -EAGAIN;
		goto out;
	}
	iov_iter_bvec(&iter, ITER_SOURCE, sink->cap.bvec, sink->cap.nr_bvec, len);
	init_sync_kiocb(&kiocb, file);
	kiocb.ki_pos = pos;
	kiocb.ki_flags |= IOCB_DIRECT;
	/* Whoever asked for it pays: no other quota, and no block that is kept for root. */
	cred = override_creds(file->f_cred);
	/*
	 * Not vfs_iocb_iter_write(): since Linux 6.8 it guards against freezing by
	 * itself, and would wait behind a freeze that waits for us.
	 */
	ret = sink_reserve(file, pos, len) ?: file->f_op->write_iter(&kiocb, &iter);
	revert_creds(cred);
	if (ret > 0)
		fsnotify_modify(file);
	file_end_write(file);
	flush_work(&sink->work);
out:
	vpfront_capture_end(&sink->cap);
	pipe->taken += sink->written;
	if (ret > 0 && ret > sink->written) {
		pr_warn_once("vpipe-front: a write went past the capture\n");
		return sink->written ?: -EOPNOTSUPP;
	}
	return ret;
}

/* 0, or the enum vpipe_reason why this file cannot be a sink. */
int vpfront_sink_open(struct vpfront_sink *sink, struct file *user)
{
	int reason;

	if (vpfront_file_extents_alloc(&sink->batch))
		return VPIPE_REASON_BUSY;
	INIT_WORK(&sink->work, sink_work);
	spin_lock_init(&sink->lock);
	bio_list_init(&sink->held);
	sink->cap.op = REQ_OP_WRITE;
	sink->cap.caught = sink_caught;
	reason = vpfront_file_open(user, &sink->file, true);
	if (!reason && !sink_is_direct(sink->file.file, 0, sink->file.align))
		reason = VPIPE_REASON_FILESYSTEM;
	return reason;
}

void vpfront_sink_close(struct vpfront_sink *sink)
{
	vpfront_file_close(&sink->file);
	kvfree(sink->batch.extent);
	sink->batch.extent = NULL;
}

int vpfront_sink_init(void)
{
	sink_wq = alloc_workqueue("vpipe-sink", WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	return sink_wq ? 0 : -ENOMEM;
}

void vpfront_sink_exit(void)
{
	destroy_workqueue(sink_wq);
}
