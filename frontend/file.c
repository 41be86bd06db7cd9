// SPDX-License-Identifier: GPL-2.0
/*
 * file.c: from a range of a file to extents of a Xen virtual disk.
 *
 * Data comes from capture.c, holes and unwritten ranges (which produce no bios)
 * from SEEK_DATA and SEEK_HOLE as extents of zeros.  Whatever does not add up is
 * declined: the caller copies it by ordinary calls.
 */
#include <linux/backing-dev.h>
#include <linux/blkdev.h>
#include <linux/cred.h>
#include <linux/dax.h>
#include <linux/fs.h>
#include <linux/fscrypt.h>
#include <linux/fsverity.h>

#include "vpfront.h"

/* One segment is pinned as a whole: truncation of the file waits that long. */
#define SEGMENT_BYTES	(32ULL << 20)

/* Where the mechanism has been shown to be exact; ext4 also serves ext2 and ext3. */
static bool file_filesystem_known(const struct super_block *sb)
{
	return !strcmp(sb->s_type->name, "ext4") || !strcmp(sb->s_type->name, "ext3") ||
	       !strcmp(sb->s_type->name, "ext2");
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

/* 0, or the enum vpipe_reason why this file cannot be a source. */
int vpfront_file_open(struct file *user, struct vpfront_file *vf)
{
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
	if (IS_DAX(inode) || IS_ENCRYPTED(inode) || IS_VERITY(inode) || IS_SWAPFILE(inode) ||
	    !(user->f_mode & FMODE_CAN_ODIRECT))
		return VPIPE_REASON_FILE_TYPE;

	/* The caller was allowed to open it for reading; ask again all the same. */
	file = dentry_open(&user->f_path, O_RDONLY | O_LARGEFILE | O_DIRECT | O_NONBLOCK,
			   current_cred());
	if (IS_ERR(file))
		return VPIPE_REASON_FILE_TYPE;
	vf->file = file;
	vf->align = max_t(unsigned int, i_blocksize(inode),
			  bdev_logical_block_size(sb->s_bdev));
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

/*
 * Map the start of [pos, end): as much as fits one segment.  `end` must not lie
 * behind the end of the file.  May sleep.  0, -EOPNOTSUPP when it cannot be
 * mapped, or another error of the filesystem; nothing is pinned then.
 */
int vpfront_file_map(struct vpfront_file *vf, u64 pos, u64 end, struct vpfront_segment *seg)
{
	u64 start = round_down(pos, vf->align), at = start, upto;
	int ret = 0;

	seg->nr = 0;
	seg->pinned = NULL;
	seg->skip = pos - start;
	end = min(end, start + SEGMENT_BYTES);
	upto = round_up(end, vf->align);
	while (at < upto) {
		u32 nr_before = seg->nr;
		loff_t data, hole;

		data = vfs_llseek(vf->file, at, SEEK_DATA);
		if (data == -ENXIO)	/* a hole up to the end of the file */
			data = upto;
		if (data < 0) {
			ret = data;
			break;
		}
		data = min_t(u64, round_down(data, vf->align), upto);
		if (data > at) {
			ret = vpfront_file_extent_add(seg, XEN_VPIPE_SECTOR_ZERO, data - at);
			if (ret)
				break;
			at = data;
			continue;
		}
		hole = vfs_llseek(vf->file, at, SEEK_HOLE);
		if (hole <= 0) {
			ret = hole ?: -EOPNOTSUPP;
			break;
		}
		hole = min_t(u64, round_up(hole, vf->align), upto);
		ret = vpfront_capture_read(vf->file, vf->disk, at, hole - at, seg);
		if (ret == -E2BIG && nr_before) {
			/* Send what was there before this run of data. */
			seg->nr = nr_before;
			break;
		}
		if (ret)
			break;
		at = hole;
	}
	/* A fragmented run alone may overflow the list: ask for less of it. */
	while (ret == -E2BIG && at == start && upto - start > vf->align) {
		vpfront_file_unpin(seg);
		seg->nr = 0;
		upto = start + round_up((upto - start) / 2, vf->align);
		ret = vpfront_capture_read(vf->file, vf->disk, start, upto - start, seg);
		if (!ret)
			at = upto;
	}
	if (ret == -E2BIG && at > start)
		ret = 0;
	if (ret) {
		vpfront_file_unpin(seg);
		return ret;
	}
	seg->length = min(at, end) - pos;
	return 0;
}

/* The backend has read it (or never will): truncation may go on.  Any context. */
void vpfront_file_unpin(struct vpfront_segment *seg)
{
	if (seg->pinned)
		inode_dio_end(seg->pinned);
	seg->pinned = NULL;
}
