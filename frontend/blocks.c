// SPDX-License-Identifier: GPL-2.0
/*
 * blocks.c: which disk blocks hold a range of a file.  The filesystem is made to read
 * that range itself, directly, into marked pages that are nobody's data, and the bios
 * are caught (capture.c): where they were going is the answer.
 *
 * So the filesystem does all that it would do for O_DIRECT: it writes back dirty
 * pages, takes its locks, maps, and refuses what it cannot do.
 */
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/string.h>
#include <linux/uio.h>

#include "vpfront.h"

struct blocks {
	struct vpfront_capture cap;
	struct vpfront_segment *seg;
	struct inode *inode;
	u64 at;				/* bytes of the range that are accounted for */
	int error;
};

/*
 * Bytes [pos, pos + bytes) of the range lie at `sector`.  What no bio asked for
 * before them is a hole or not written yet, which the filesystem fills with zeros.
 * Once the list is full, the rest is left to the next segment.
 */
static void blocks_account(struct blocks *blocks, u64 pos, u64 sector, u64 bytes)
{
	if (blocks->error)
		return;
	if (pos < blocks->at) {
		blocks->error = -EOPNOTSUPP;	/* out of order */
		return;
	}
	if (pos > blocks->at)
		blocks->error = vpfront_file_extent_add(blocks->seg, XEN_VPIPE_SECTOR_ZERO,
							pos - blocks->at);
	if (blocks->error)
		return;
	blocks->at = pos;
	if (!bytes)
		return;
	blocks->error = vpfront_file_extent_add(blocks->seg, sector, bytes);
	if (!blocks->error)
		blocks->at += bytes;
}

static void blocks_caught(struct vpfront_capture *cap, struct bio *bio, u64 pos)
{
	struct blocks *blocks = container_of(cap, struct blocks, cap);

	/*
	 * The filesystem holds its lock against truncation here.  Taken now, the
	 * count makes truncate, hole punch and defragmentation wait for the backend.
	 */
	if (!blocks->seg->pinned) {
		inode_dio_begin(blocks->inode);
		blocks->seg->pinned = blocks->inode;
	}
	blocks_account(blocks, pos, bio->bi_iter.bi_sector, bio->bi_iter.bi_size);
	vpfront_capture_end_bio(cap, bio, BLK_STS_OK);
}

/*
 * Fill the segment with the blocks of [pos, pos + len), which must be aligned for
 * direct I/O; it may end early, at the end of the file or when its list is full.
 * With `nowait`, -EAGAIN when a lock or writeback would have to be waited for.
 * Returns the bytes that the list covers (whole blocks) and in *end the bytes that
 * are in the file from pos on, or:
 *   -EOPNOTSUPP the filesystem read (some of) it otherwise, or elsewhere
 */
ssize_t vpfront_blocks_list(struct file *file, struct gendisk *disk, loff_t pos, size_t len,
			    bool nowait, struct vpfront_segment *seg, u64 *end)
{
	struct blocks blocks = {
		.cap = { .disk = disk, .op = REQ_OP_READ, .caught = blocks_caught },
		.seg = seg, .inode = file_inode(file),
	};
	struct iov_iter iter;
	struct kiocb kiocb;
	ssize_t ret;

	ret = vpfront_capture_begin(&blocks.cap, len);
	if (ret)
		return ret;
	iov_iter_bvec(&iter, ITER_DEST, blocks.cap.bvec, blocks.cap.nr_bvec, len);
	init_sync_kiocb(&kiocb, file);
	kiocb.ki_pos = pos;
	kiocb.ki_flags |= IOCB_DIRECT | (nowait ? IOCB_NOWAIT : 0);
	ret = vfs_iocb_iter_read(file, &kiocb, &iter);
	vpfront_capture_end(&blocks.cap);

	/* The filesystem takes the flag away when it falls back to its cache. */
	if (ret >= 0 && !(kiocb.ki_flags & IOCB_DIRECT))
		ret = -EOPNOTSUPP;
	/* Nobody's data may have come here: what the list calls zeros must be zeros. */
	if (!vpfront_capture_clean(&blocks.cap, len)) {
		pr_err_once("vpipe-front: a read went past the capture\n");
		ret = -EOPNOTSUPP;
	}
	if (ret < 0)
		return ret == -EINVAL ? -EOPNOTSUPP : ret;
	*end = ret;
	/* A hole at the end of what was read. */
	if (blocks.at < ret)
		blocks_account(&blocks, round_up((u64)ret, i_blocksize(blocks.inode)), 0, 0);
	if (blocks.error && blocks.error != -E2BIG)
		return blocks.error;
	return blocks.at;
}
