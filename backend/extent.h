/* SPDX-License-Identifier: GPL-2.0 */
/*
 * extent.h: is a list of extents one that this disk can serve?  Pure arithmetic
 * on a private copy of the list; also compiled in userspace by tests/unit/extent.
 */
#ifndef _VPBACK_EXTENT_H
#define _VPBACK_EXTENT_H

#ifdef __KERNEL__
#include <linux/errno.h>
#include <linux/types.h>
#else
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#endif
#include <xen/interface/io/vpipe.h>

#define VPBACK_SECTOR_BYTES	512U

/* Does any data extent share a sector with another?  Lists are in order as a rule. */
static inline bool vpback_extents_overlap(const struct xen_vpipe_extent *extent, uint32_t nr)
{
	uint64_t end = 0;
	bool ascending = true;
	uint32_t i, j;

	for (i = 0; i < nr; i++) {
		if (extent[i].sector == XEN_VPIPE_SECTOR_ZERO)
			continue;
		if (extent[i].sector < end)
			ascending = false;
		end = extent[i].sector + extent[i].nr;
	}
	if (ascending)
		return false;
	for (i = 0; i < nr; i++) {
		if (extent[i].sector == XEN_VPIPE_SECTOR_ZERO)
			continue;
		for (j = 0; j < i; j++) {
			if (extent[j].sector == XEN_VPIPE_SECTOR_ZERO)
				continue;
			if (extent[i].sector < extent[j].sector + extent[j].nr &&
			    extent[j].sector < extent[i].sector + extent[i].nr)
				return true;
		}
	}
	return false;
}

/*
 * 0 when `length` bytes behind the first `skip` bytes of these extents can be read
 * from a disk of disk_sectors sectors, whose blocks are `align` sectors (a power of
 * two); -EINVAL when the list makes no sense, -ERANGE when it leaves the disk.
 */
static inline int vpback_extents_check(const struct xen_vpipe_extent *extent, uint32_t nr,
				       uint32_t skip, uint64_t length, uint64_t disk_sectors,
				       uint32_t align)
{
	uint64_t sectors = 0, last = 0;
	uint32_t i;

	if (!nr || nr > XEN_VPIPE_MAX_EXTENTS || !length)
		return -EINVAL;
	for (i = 0; i < nr; i++) {
		if (!extent[i].nr || extent[i].reserved || extent[i].nr & (align - 1))
			return -EINVAL;
		if (extent[i].sector != XEN_VPIPE_SECTOR_ZERO &&
		    (extent[i].sector >= disk_sectors ||
		     extent[i].nr > disk_sectors - extent[i].sector))
			return -ERANGE;
		if (extent[i].sector != XEN_VPIPE_SECTOR_ZERO && extent[i].sector & (align - 1))
			return -EINVAL;
		last = sectors;
		sectors += extent[i].nr;	/* at most 256 * 2^32 */
	}
	if (skip >= (uint64_t)extent[0].nr * VPBACK_SECTOR_BYTES ||
	    length > sectors * VPBACK_SECTOR_BYTES - skip ||
	    skip + length <= last * VPBACK_SECTOR_BYTES)
		return -EINVAL;
	return vpback_extents_overlap(extent, nr) ? -EINVAL : 0;
}

/*
 * The same for `length` bytes to be written: to data extents only, and to all of them
 * from the first sector to the last.
 */
static inline int vpback_extents_check_sink(const struct xen_vpipe_extent *extent, uint32_t nr,
					    uint32_t skip, uint64_t length, uint64_t disk_sectors,
					    uint32_t align)
{
	uint64_t sectors = 0;
	uint32_t i;
	int ret;

	ret = vpback_extents_check(extent, nr, skip, length, disk_sectors, align);
	if (ret)
		return ret;
	for (i = 0; i < nr; i++) {
		if (extent[i].sector == XEN_VPIPE_SECTOR_ZERO)
			return -EINVAL;
		sectors += extent[i].nr;
	}
	return skip || length != sectors * VPBACK_SECTOR_BYTES ? -EINVAL : 0;
}

#endif /* _VPBACK_EXTENT_H */
