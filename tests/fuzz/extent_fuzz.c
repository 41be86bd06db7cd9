// SPDX-License-Identifier: LGPL-2.1-or-later
/* backend/extent.h: any list against the slow model. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "extent.h"
#include "input.h"
#include "../unit/extent/model.h"

/*
 * Either as it would come from a guest, or in few bytes: near what came before, so
 * that whole lists are found to be good.
 */
static void take_extent(struct input *in, bool raw, uint64_t next, uint64_t disk,
			struct xen_vpipe_extent *extent)
{
	uint8_t kind;

	if (raw) {
		extent->sector = input_take(in, 8);
		extent->nr = input_take(in, 4);
		extent->reserved = input_take(in, 4);
		return;
	}
	kind = input_take(in, 1);
	extent->nr = kind & 0x10 ? input_take(in, 4) : 1U + (kind & 0xf);
	extent->reserved = kind == 0xff;
	switch (kind >> 5) {
	case 0:
		extent->sector = XEN_VPIPE_SECTOR_ZERO;
		break;
	case 1:
		extent->sector = input_take(in, 8);
		break;
	case 2:
		extent->sector = disk - input_take(in, 1);
		break;
	case 3:
		extent->sector = input_take(in, 2) % MODEL_SECTORS;
		break;
	default:
		extent->sector = next + ((kind >> 5) & 3);
	}
}

/* One with a map, as large as there can be, or any. */
static uint64_t take_disk(struct input *in, uint8_t how)
{
	if (!(how & 1))
		return input_take(in, 2) % (MODEL_SECTORS + 1);
	return how & 16 ? UINT64_MAX - input_take(in, 1) : input_take(in, 8);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	uint8_t how = input_take(&in, 1);
	uint64_t disk = take_disk(&in, how);
	uint32_t nr = input_take(&in, 2) % (XEN_VPIPE_MAX_EXTENTS + 2), skip, i;
	uint64_t length, total = 0, next = 0;
	struct xen_vpipe_extent *extent;
	uint32_t align = how & 32 ? 1U << (how >> 6) : 1;
	unsigned int wrong;
	int status;

	skip = input_take(&in, how & 2 ? 4 : 1);
	length = how & 4 ? input_take(&in, 8) : input_take(&in, 2);
	/* No longer than it says, so that a look behind its end is seen. */
	extent = calloc(nr ?: 1, sizeof(*extent));
	if (!extent)
		abort();
	for (i = 0; i < nr; i++) {
		take_extent(&in, how & 8, next, disk, &extent[i]);
		next = extent[i].sector == XEN_VPIPE_SECTOR_ZERO ? next :
		       extent[i].sector + extent[i].nr;
		total += extent[i].nr * 512ULL;
	}
	if (!(how & 4))			/* counted from the end of the list */
		length = total - skip - length;

	status = vpback_extents_check(extent, nr, skip, length, disk, align);
	wrong = model_extents(extent, nr, skip, length, disk, align);
	if (!model_extents_agrees(wrong, status, EINVAL, ERANGE)) {
		fprintf(stderr, "%d, but model %u: skip %u length %llu disk %llu align %u\n",
			status, wrong, skip, (unsigned long long)length,
			(unsigned long long)disk, align);
		for (i = 0; i < nr; i++)
			fprintf(stderr, "  %llu + %u, reserved %u\n",
				(unsigned long long)extent[i].sector, extent[i].nr,
				extent[i].reserved);
		abort();
	}
	status = vpback_extents_check_sink(extent, nr, skip, length, disk, align);
	wrong = model_extents_sink(extent, nr, skip, length, disk, align);
	if (!model_extents_agrees(wrong, status, EINVAL, ERANGE)) {
		fprintf(stderr, "sink: %d, but model %u\n", status, wrong);
		abort();
	}
	free(extent);
	return 0;
}
