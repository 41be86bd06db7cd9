// SPDX-License-Identifier: GPL-2.0
/*
 * disk.c: the block devices behind a domain's virtual disks.  Which they are, the
 * toolstack says in xenstore, where the domain cannot write; a vbd without a
 * physical device (a file served by QEMU) cannot be used.  blkback opens its
 * device without a holder, so opening it once more is allowed; reading the very
 * device that blkback writes keeps us coherent with the guest's own I/O.
 */
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/slab.h>

#include "vpback.h"

static void disk_close(struct vpback_disk *disk)
{
	list_del(&disk->node);
	vpipe_compat_bdev_close(disk->handle, disk->writable);
	kfree(disk);
}

/* May the domain write it?  As blkback reads it; or an error. */
static int disk_mode_writes(const char *path)
{
	char *mode = xenbus_read(XBT_NIL, path, "mode", NULL);
	int writes;

	if (IS_ERR(mode))
		return PTR_ERR(mode);
	writes = !!strchr(mode, 'w');
	kfree(mode);
	return writes;
}

static struct vpback_disk *disk_open(struct vpback_device *dev, u32 vdev)
{
	unsigned int major, minor, state;
	struct vpback_disk *disk;
	char path[64];
	int ret, writes;

	snprintf(path, sizeof(path), "backend/vbd/%u/%u", dev->domid, vdev);
	if (xenbus_scanf(XBT_NIL, path, "state", "%u", &state) != 1 ||
	    state != XenbusStateConnected ||
	    xenbus_scanf(XBT_NIL, path, "physical-device", "%x:%x", &major, &minor) != 2)
		return ERR_PTR(-ENODEV);
	writes = disk_mode_writes(path);
	if (writes < 0)
		return ERR_PTR(writes);
	disk = kzalloc(sizeof(*disk), GFP_KERNEL);
	if (!disk)
		return ERR_PTR(-ENOMEM);
	disk->vdev = vdev;
	disk->writable = writes;
	disk->handle = vpipe_compat_bdev_open(MKDEV(major, minor), disk->writable);
	/* Perhaps the device cannot be written; but the disk stays as it is opened now. */
	if (IS_ERR(disk->handle) && disk->writable && PTR_ERR(disk->handle) != -ENOMEM) {
		disk->writable = false;
		disk->handle = vpipe_compat_bdev_open(MKDEV(major, minor), false);
	}
	if (IS_ERR(disk->handle)) {
		ret = PTR_ERR(disk->handle);
		kfree(disk);
		return ERR_PTR(ret);
	}
	disk->bdev = vpipe_compat_bdev(disk->handle);
	list_add(&disk->node, &dev->disks);
	return disk;
}

/*
 * A disk that is not there, or cannot be used, is looked for once, until something changes:
 * xenstore serves all domains, and nobody pays for its time.
 */
static bool disk_is_missing(const struct vpback_device *dev, u32 vdev)
{
	unsigned int i;

	for (i = 0; i < dev->nr_missing_disks; i++)
		if (dev->missing_disk[i] == vdev)
			return true;
	return dev->nr_missing_disks == ARRAY_SIZE(dev->missing_disk);
}

static struct vpback_disk *disk_look_for(struct vpback_device *dev, u32 vdev)
{
	struct vpback_disk *disk;

	if (disk_is_missing(dev, vdev))
		return ERR_PTR(-ENODEV);
	disk = disk_open(dev, vdev);
	if (disk == ERR_PTR(-ENODEV))
		dev->missing_disk[dev->nr_missing_disks++] = vdev;
	return disk;
}

/* The domain's disk by its virtual device number; -ENODEV.  May sleep. */
struct vpback_disk *vpback_disk_get(struct vpback_device *dev, u32 vdev)
{
	struct vpback_disk *disk, *found = NULL;

	mutex_lock(&dev->disks_lock);
	list_for_each_entry(disk, &dev->disks, node) {
		if (disk->vdev == vdev && !disk->stale) {
			found = disk;
			break;
		}
	}
	if (!found)
		found = disk_look_for(dev, vdev);
	if (!IS_ERR(found))
		found->users++;
	mutex_unlock(&dev->disks_lock);
	return found;
}

/* The domain may write it, and it can be written. */
bool vpback_disk_writable(const struct vpback_disk *disk)
{
	return disk->writable && !bdev_read_only(disk->bdev);
}

void vpback_disk_put(struct vpback_device *dev, struct vpback_disk *disk)
{
	mutex_lock(&dev->disks_lock);
	if (!--disk->users && disk->stale)
		disk_close(disk);
	mutex_unlock(&dev->disks_lock);
}

/* A disk came, went or changed: whoever comes next looks again. */
static void disks_changed(struct xenbus_watch *watch, const char *path, const char *token)
{
	struct vpback_device *dev = container_of(watch, struct vpback_device, disk_watch);
	struct vpback_disk *disk, *next;

	mutex_lock(&dev->disks_lock);
	list_for_each_entry_safe(disk, next, &dev->disks, node) {
		disk->stale = true;
		if (!disk->users)
			disk_close(disk);
	}
	dev->nr_missing_disks = 0;
	mutex_unlock(&dev->disks_lock);
}

static void disk_end_io(struct bio *bio)
{
	vpback_pipe_bio_done(bio->bi_private, blk_status_to_errno(bio->bi_status));
	bio_put(bio);
}

/*
 * Move whole sectors between the disk and the chunk at byte `at`, from a sector's
 * boundary in memory on.  Counted in chunk->pending by the caller; ends in
 * vpback_pipe_bio_done.
 */
void vpback_disk_submit(struct vpback_disk *disk, blk_opf_t opf, u64 sector,
			struct vpback_chunk *chunk, u32 at, u32 bytes)
{
	struct bio *bio = bio_alloc(disk->bdev, 1 << VPBACK_CHUNK_ORDER, opf, GFP_NOIO);

	bio->bi_iter.bi_sector = sector;
	bio->bi_private = chunk;
	bio->bi_end_io = disk_end_io;
	/* Page by page: neighbours in a PV domain need not be neighbours in memory. */
	while (bytes) {
		u32 n = min_t(u32, bytes, PAGE_SIZE - offset_in_page(at));

		if (bio_add_page(bio, nth_page(chunk->page, at >> PAGE_SHIFT), n,
				 offset_in_page(at)) != n) {
			bio_io_error(bio);
			return;
		}
		at += n;
		bytes -= n;
	}
	submit_bio(bio);
}

int vpback_disk_init(struct vpback_device *dev)
{
	int ret;

	mutex_init(&dev->disks_lock);
	INIT_LIST_HEAD(&dev->disks);
	dev->disk_watch.callback = disks_changed;
	dev->disk_watch.node = kasprintf(GFP_KERNEL, "backend/vbd/%u", dev->domid);
	if (!dev->disk_watch.node)
		return -ENOMEM;
	ret = register_xenbus_watch(&dev->disk_watch);
	if (ret)
		kfree(dev->disk_watch.node);
	else
		dev->disk_watched = true;
	return ret;
}

/* No transfer uses a disk any more. */
void vpback_disk_exit(struct vpback_device *dev)
{
	struct vpback_disk *disk, *next;

	if (dev->disk_watched) {
		unregister_xenbus_watch(&dev->disk_watch);
		kfree(dev->disk_watch.node);
		dev->disk_watched = false;
	}
	mutex_lock(&dev->disks_lock);
	list_for_each_entry_safe(disk, next, &dev->disks, node)
		disk_close(disk);
	mutex_unlock(&dev->disks_lock);
}
