/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * model.h: what include/xen/interface/io/vpipe.h says of a list of extents, said
 * slowly: numbers that cannot overflow, a map with one byte a sector.
 */
#ifndef EXTENT_MODEL_H
#define EXTENT_MODEL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <xen/interface/io/vpipe.h>

#define MODEL_INVALID	1U	/* the list makes no sense */
#define MODEL_RANGE	2U	/* an extent leaves the disk */
#define MODEL_SECTORS	4096U	/* the largest disk with a map */

__extension__ typedef unsigned __int128 model_wide;

static inline bool model_is_data(const struct xen_vpipe_extent *extent)
{
	return extent->sector != XEN_VPIPE_SECTOR_ZERO;
}

static inline int model_compare(const void *a, const void *b)
{
	const struct xen_vpipe_extent *x = a, *y = b;

	return (x->sector > y->sector) - (x->sector < y->sector);
}

/* Too large for a map: in order, each must begin where the one before has ended. */
static inline bool model_overlap_sorted(const struct xen_vpipe_extent *extent, uint32_t nr)
{
	struct xen_vpipe_extent *sorted = calloc(nr, sizeof(*sorted));
	uint32_t i, n = 0;
	bool overlap = false;

	for (i = 0; i < nr; i++)
		if (model_is_data(&extent[i]))
			sorted[n++] = extent[i];
	qsort(sorted, n, sizeof(*sorted), model_compare);
	for (i = 1; i < n; i++)
		if ((model_wide)sorted[i - 1].sector + sorted[i - 1].nr > sorted[i].sector)
			overlap = true;
	free(sorted);
	return overlap;
}

/* All data extents lie within the disk. */
static inline bool model_overlap(const struct xen_vpipe_extent *extent, uint32_t nr,
				 uint64_t disk_sectors)
{
	static uint8_t taken[MODEL_SECTORS];
	uint32_t i, s;

	if (disk_sectors > MODEL_SECTORS)
		return model_overlap_sorted(extent, nr);
	for (s = 0; s < disk_sectors; s++)
		taken[s] = 0;
	for (i = 0; i < nr; i++)
		for (s = 0; model_is_data(&extent[i]) && s < extent[i].nr; s++)
			if (taken[extent[i].sector + s]++)
				return true;
	return false;
}

/* 0, or all that is wrong with it. */
static inline unsigned int model_extents(const struct xen_vpipe_extent *extent, uint32_t nr,
					 uint32_t skip, uint64_t length, uint64_t disk_sectors,
					 uint32_t align)
{
	model_wide total = 0, before_last, wanted = (model_wide)skip + length;
	unsigned int wrong = 0;
	uint32_t i;

	if (nr < 1 || nr > 256)
		return MODEL_INVALID;
	if (length == 0)
		wrong |= MODEL_INVALID;
	for (i = 0; i < nr; i++) {
		if (extent[i].nr == 0 || extent[i].reserved != 0)
			wrong |= MODEL_INVALID;
		if (extent[i].nr % align != 0 ||	/* a hole, too, is whole blocks */
		    (model_is_data(&extent[i]) && extent[i].sector % align != 0))
			wrong |= MODEL_INVALID;
		if (model_is_data(&extent[i]) &&
		    (extent[i].sector >= disk_sectors ||
		     (model_wide)extent[i].sector + extent[i].nr > disk_sectors))
			wrong |= MODEL_RANGE;
		total += (model_wide)extent[i].nr * 512;
	}
	before_last = total - (model_wide)extent[nr - 1].nr * 512;
	if (skip >= (model_wide)extent[0].nr * 512)	/* the first is needed */
		wrong |= MODEL_INVALID;
	if (wanted > total)				/* they suffice */
		wrong |= MODEL_INVALID;
	if (wanted <= before_last)			/* the last is needed */
		wrong |= MODEL_INVALID;
	if (!(wrong & MODEL_RANGE) && model_overlap(extent, nr, disk_sectors))
		wrong |= MODEL_INVALID;
	return wrong;
}

/* The same for a sink: all of its sectors are written, and there is something to write to. */
static inline unsigned int model_extents_sink(const struct xen_vpipe_extent *extent, uint32_t nr,
					      uint32_t skip, uint64_t length,
					      uint64_t disk_sectors, uint32_t align)
{
	unsigned int wrong = model_extents(extent, nr, skip, length, disk_sectors, align);
	model_wide total = 0;
	uint32_t i;

	if (nr < 1 || nr > 256)
		return wrong;
	for (i = 0; i < nr; i++) {
		if (!model_is_data(&extent[i]))
			wrong |= MODEL_INVALID;
		total += (model_wide)extent[i].nr * 512;
	}
	if (skip != 0 || length != total)
		wrong |= MODEL_INVALID;
	return wrong;
}

/* May the check have answered that?  Which of several errors it names is its choice. */
static inline bool model_extents_agrees(unsigned int wrong, int status, int einval, int erange)
{
	if (status == -einval)
		return wrong & MODEL_INVALID;
	if (status == -erange)
		return wrong & MODEL_RANGE;
	return status == 0 && wrong == 0;
}

#endif
