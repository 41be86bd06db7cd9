// SPDX-License-Identifier: GPL-2.0
/*
 * file.c: from a range of a file to extents of a Xen virtual disk.
 *
 * blocks.c has the filesystem read the range directly and notes the bios; what
 * produces none (holes, unwritten ranges) is an extent of zeros.  Whatever does not
 * add up is declined: the caller copies it by ordinary calls.
 *
 * While the backend reads, the blocks must not go to another file.  What frees or
 * moves blocks of an ext4 file waits for direct I/O, so there the capture counts as
 * such.  XFS swaps extents (XFS_IOC_SWAPEXT) without that wait, and gives blocks away
 * when a file that shares them is written (reflink).  So there the inode's lock is
 * held, shared, and a file that shares blocks, or may do so, is declined.
 */
#include <linux/backing-dev.h>
#include <linux/blkdev.h>
#include <linux/cred.h>
#include <linux/dax.h>
#include <linux/fileattr.h>
#include <linux/fs.h>
#include <linux/fscrypt.h>
#include <linux/fsverity.h>
#include <linux/pagemap.h>
#include <linux/rwsem.h>

#include "vpfront.h"

/* One segment is pinned as a whole: truncation of the file waits that long. */
#define SEGMENT_BYTES	(16ULL << 20)

/* How often XFS may ask for a moment to sleep before the file is declined. */
#define LOCKED_TRIES	4

/* Where the mechanism has been shown to be exact; ext4 also serves ext2 and ext3. */
static bool file_filesystem_known(const struct super_block *sb)
{
	static const char * const known[] = { "ext4", "ext3", "ext2", "xfs" };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(known); i++)
		if (!strcmp(sb->s_type->name, known[i]))
			return true;
	return false;
}

/* The vbd behind a disk: its virtual device number, from "device/vbd/51712". */
static int file_disk_vdev(struct gendisk *disk, u32 *vdev)
{
	struct device *parent = disk_to_dev(disk)->parent;
	struct xenbus_device *xbdev;

	if (!parent || !parent->bus || strcmp(parent->bus->name, "xen"))
		return -ENODEV;
	xbdev = to_xenbus_device(parent);
	if (strcmp(xbdev->devicetype, "vbd") ||
	    sscanf(xbdev->nodename, "device/vbd/%u", vdev) != 1)
		return -ENODEV;
	return 0;
}

/* Are its data on another disk than the metadata?  (Realtime files of XFS.) */
static bool file_is_elsewhere(struct file *file)
{
	struct fileattr attr;

	return !vfs_fileattr_get(file->f_path.dentry, &attr) &&
	       attr.fsx_xflags & FS_XFLAG_REALTIME;
}

/* 0, or the enum vpipe_reason why this file cannot be a source, or a sink. */
int vpfront_file_open(struct file *user, struct vpfront_file *vf, bool sink)
{
	unsigned int flags = O_LARGEFILE | O_DIRECT | O_NONBLOCK;
	struct inode *inode = file_inode(user);
	struct super_block *sb = inode->i_sb;
	struct file *file;

	if (!sb->s_bdev)
		return VPIPE_REASON_DISK;
	vf->disk = sb->s_bdev->bd_disk;
	if (file_disk_vdev(vf->disk, &vf->vdev))
		return VPIPE_REASON_DISK;
	if (!file_filesystem_known(sb))
		return VPIPE_REASON_FILESYSTEM;
	if (!S_ISREG(inode->i_mode) || IS_DAX(inode) || IS_ENCRYPTED(inode) || IS_VERITY(inode) ||
	    IS_SWAPFILE(inode) || !(user->f_mode & FMODE_CAN_ODIRECT) ||
	    (sink && user->f_flags & O_APPEND))
		return VPIPE_REASON_FILE_TYPE;
	if (file_is_elsewhere(user))
		return VPIPE_REASON_DISK;

	/* Our own open file: with it come a file position and flags of our own. */
	flags |= sink ? O_WRONLY | (user->f_flags & O_SYNC) : O_RDONLY;
	file = dentry_open(&user->f_path, flags, current_cred());
	if (IS_ERR(file))
		return VPIPE_REASON_FILE_TYPE;
	vf->file = file;
	vf->align = max_t(unsigned int, i_blocksize(inode),
			  bdev_logical_block_size(sb->s_bdev));
	vf->by_lock = !strcmp(sb->s_type->name, "xfs");
	return 0;
}

void vpfront_file_close(struct vpfront_file *vf)
{
	if (vf->file)
		fput(vf->file);
	vf->file = NULL;
}

/* Append to the segment, merging with what continues the last extent. */
int vpfront_file_extent_add(struct vpfront_segment *seg, u64 sector, u64 bytes)
{
	struct xen_vpipe_extent *last = seg->nr ? &seg->extent[seg->nr - 1] : NULL;
	u64 nr = bytes >> SECTOR_SHIFT;
	bool zero = sector == XEN_VPIPE_SECTOR_ZERO;

	if (bytes & (SECTOR_SIZE - 1) || nr > U32_MAX)
		return -EOPNOTSUPP;
	if (last && last->nr + nr <= U32_MAX &&
	    (zero ? last->sector == sector : last->sector != XEN_VPIPE_SECTOR_ZERO &&
					     last->sector + last->nr == sector)) {
		last->nr += nr;
		return 0;
	}
	if (seg->nr == XEN_VPIPE_MAX_EXTENTS)
		return -E2BIG;
	seg->extent[seg->nr++] = (struct xen_vpipe_extent){ .sector = sector, .nr = nr };
	return 0;
}

/* A list for the extents of a segment, unless it has one.  -ENOMEM. */
int vpfront_file_extents_alloc(struct vpfront_segment *seg)
{
	if (!seg->extent)
		seg->extent = kvmalloc_array(XEN_VPIPE_MAX_EXTENTS, sizeof(*seg->extent),
					     GFP_KERNEL_ACCOUNT);
	return seg->extent ? 0 : -ENOMEM;
}

/* Write back what is dirty in [pos, end), once, so that mapping need not wait for it. */
int vpfront_file_flush(struct vpfront_file *vf, u64 pos, u64 end)
{
	return filemap_write_and_wait_range(vf->file->f_mapping, pos, end - 1);
}

/* The disk's block at `pos` of the file as bmap() tells it; 0: none, or none to tell. */
static sector_t file_bmap(struct inode *inode, u64 pos)
{
	sector_t block = pos >> inode->i_blkbits;

	return bmap(inode, &block) ? 0 : block;
}

/*
 * Does XFS itself think that the blocks will stay?  It tells bmap() nothing about a
 * file that shares blocks or once did; and with the lock held it cannot begin to.
 */
static bool file_blocks_stay(struct inode *inode, u64 start, const struct vpfront_segment *seg)
{
	u32 i;

	for (i = 0; i < seg->nr; i++) {
		if (seg->extent[i].sector != XEN_VPIPE_SECTOR_ZERO)
			return file_bmap(inode, start);
		start += (u64)seg->extent[i].nr << SECTOR_SHIFT;
	}
	return true;		/* nothing but zeros */
}

/*
 * As vpfront_blocks_list, pinned by the inode's lock.  The filesystem takes it once
 * more: it is told not to wait, for it would wait behind a writer that waits for us.
 */
static ssize_t file_capture_locked(struct vpfront_file *vf, u64 start, size_t len, bool nowait,
				   struct vpfront_segment *seg, u64 *in_file)
{
	struct inode *inode = file_inode(vf->file);
	unsigned int tries;
	ssize_t listed;

	for (tries = 1; ; tries++) {
		if (!nowait) {
			down_read_non_owner(&inode->i_rwsem);
		} else {
			if (!inode_trylock_shared(inode))
				return -EAGAIN;
			/* lockdep: whoever unlocks need not be us */
			rwsem_release(&inode->i_rwsem.dep_map, _RET_IP_);
		}
		seg->pinned = inode;
		seg->locked = true;
		seg->nr = 0;
		listed = vpfront_blocks_list(vf->file, vf->disk, start, len, true, seg, in_file);
		if (listed != -EAGAIN || nowait)
			break;
		vpfront_file_unpin(seg);
		if (tries == LOCKED_TRIES)
			return -EOPNOTSUPP;
		/* What it wanted to wait for: writeback, or its list of extents. */
		listed = vpfront_file_flush(vf, start, start + len);
		if (listed)
			return listed;
		file_bmap(inode, start);
	}
	if (listed >= 0 && !file_blocks_stay(inode, start, seg))
		return -EOPNOTSUPP;
	return listed;
}

/*
 * Map the start of [pos, end): as much as fits one segment.  Its blocks are pinned
 * then: the filesystem does not give them to another file, but whoever wants to
 * write, truncate or punch this one waits, holding its lock.  So `nowait` must be
 * set while another segment of the file is pinned.  May sleep.
 *   -ENODATA    the file has become shorter than pos
 *   -EOPNOTSUPP it cannot be mapped
 *   -EAGAIN     with `nowait`
 * or another error of the filesystem; nothing is pinned then.
 */
int vpfront_file_map(struct vpfront_file *vf, u64 pos, u64 end, bool nowait,
		     struct vpfront_segment *seg)
{
	u64 start = round_down(pos, vf->align), in_file;
	ssize_t listed = vpfront_file_extents_alloc(seg);
	size_t len;

	if (listed)
		return listed;
	end = min(end, start + SEGMENT_BYTES);
	seg->nr = 0;
	seg->pinned = NULL;
	seg->locked = false;
	seg->skip = pos - start;
	seg->length = 0;
	len = round_up(end, vf->align) - start;
	if (vf->by_lock)
		listed = file_capture_locked(vf, start, len, nowait, seg, &in_file);
	else
		listed = vpfront_blocks_list(vf->file, vf->disk, start, len, nowait, seg,
					     &in_file);
	if (listed >= 0) {
		end = min3(end, start + (u64)listed, start + in_file);
		if (end > pos)
			seg->length = end - pos;
		else
			listed = in_file <= seg->skip ? -ENODATA : -EOPNOTSUPP;
	}
	if (listed < 0) {
		vpfront_file_unpin(seg);
		return listed;
	}
	/* No more extents than the length needs. */
	while (seg->nr > 1) {
		u64 before = 0;
		u32 i;

		for (i = 0; i < seg->nr - 1; i++)
			before += (u64)seg->extent[i].nr << SECTOR_SHIFT;
		if (before < seg->skip + seg->length)
			break;
		seg->nr--;
	}
	return 0;
}

/* Does somebody wait for the pinned segment to be released? */
bool vpfront_file_contended(struct vpfront_file *vf)
{
	struct inode *inode = file_inode(vf->file);

	if (!inode_trylock_shared(inode))
		return true;
	inode_unlock_shared(inode);
	return false;
}

/* The backend has read it (or never will): truncation may go on.  Any context. */
void vpfront_file_unpin(struct vpfront_segment *seg)
{
	struct inode *inode = seg->pinned;

	seg->pinned = NULL;
	if (inode && seg->locked)
		up_read_non_owner(&inode->i_rwsem);
	else if (inode)
		inode_dio_end(inode);
}
