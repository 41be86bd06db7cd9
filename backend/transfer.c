// SPDX-License-Identifier: GPL-2.0
/*
 * transfer.c: is a TRANSFER one that can be served?  Its ends are looked at here, and
 * what they name: flows, a disk, a list of extents, which is copied once.
 */
#include <linux/blkdev.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "extent.h"
#include "vpback.h"

static bool transfer_served(u16 from, u16 to)
{
	switch (from) {
	case XEN_VPIPE_END_EXTENTS:
		return to == XEN_VPIPE_END_SOCKET || to == XEN_VPIPE_END_BUFFER;
	case XEN_VPIPE_END_SOCKET:
		return to == XEN_VPIPE_END_SOCKET || to == XEN_VPIPE_END_BUFFER;
	case XEN_VPIPE_END_BUFFER:
		return to == XEN_VPIPE_END_EXTENTS;
	default:
		return false;
	}
}

/* Is this flow as good as the end names it?  Its number is checked elsewhere. */
static bool transfer_end_good(const struct xen_vpipe_end *end, const struct vpback_flow *flow)
{
	if (end->nr || end->page || end->skip)
		return false;
	if (end->type == XEN_VPIPE_END_SOCKET && !flow->link)
		return false;
	return !flow->link || flow->complete;
}

/* The ends that are flows; *sink is another one than the command's, or NULL. */
static int transfer_flows(struct vpback_queue *queue, struct vpback_flow *flow,
			  const struct xen_vpipe_transfer *args, struct vpback_flow **sink)
{
	struct vpback_flow *other;

	*sink = NULL;
	if (args->source.type != XEN_VPIPE_END_EXTENTS &&
	    (args->source.id != flow->id || !transfer_end_good(&args->source, flow)))
		return -EINVAL;
	if (args->source.type != XEN_VPIPE_END_SOCKET ||
	    args->sink.type != XEN_VPIPE_END_SOCKET) {
		if (args->source.type == XEN_VPIPE_END_BUFFER)
			return 0;
		if (args->sink.id != flow->id || !transfer_end_good(&args->sink, flow))
			return -EINVAL;
		return 0;
	}
	other = vpback_ring_flow(queue, args->sink.id);
	if (!other)
		return -ENOENT;
	if (!transfer_end_good(&args->sink, other))
		return -EINVAL;
	*sink = other;
	return 0;
}

/* The end that is on a disk, if there is one: transfer->nr extents. */
static int transfer_disk(struct vpback_device *dev, struct vpback_transfer *transfer,
			 const struct xen_vpipe_end *end, const void *page)
{
	struct vpback_disk *disk;
	u64 sectors;

	transfer->extent_offset = end->skip;
	memcpy(transfer->extent, page, transfer->nr * sizeof(*transfer->extent));
	barrier();
	disk = vpback_disk_get(dev, end->id);
	if (IS_ERR(disk))
		return PTR_ERR(disk);
	transfer->disk = disk;
	transfer->align = bdev_logical_block_size(disk->bdev);
	sectors = bdev_nr_sectors(disk->bdev);
	if (transfer->from == XEN_VPIPE_END_EXTENTS)
		return vpback_extents_check(transfer->extent, transfer->nr, end->skip,
					    transfer->length, sectors,
					    transfer->align >> SECTOR_SHIFT);
	if (!vpback_disk_writable(disk))
		return -EROFS;
	return vpback_extents_check_sink(transfer->extent, transfer->nr, end->skip,
					 transfer->length, sectors,
					 transfer->align >> SECTOR_SHIFT);
}

/* Count it; the domain has more of them than it may. */
static bool transfer_too_many(struct vpback_device *dev, const struct vpback_transfer *transfer)
{
	s64 bytes = atomic64_add_return(transfer->size, &dev->reserved);

	return (unsigned int)atomic_inc_return(&dev->nr_ops) > vpback_ops_limit(dev) ||
	       bytes > (s64)vpback_flow_mib << 20;
}

/* XEN_VPIPE_OP_TRANSFER: its status. */
int vpback_transfer_request(struct vpback_queue *queue, struct vpback_flow *flow,
			    const struct xen_vpipe_transfer *args)
{
	bool fua = args->sink.type == (XEN_VPIPE_END_EXTENTS | XEN_VPIPE_END_FUA);
	u16 from = args->source.type, to = fua ? XEN_VPIPE_END_EXTENTS : args->sink.type;
	const struct xen_vpipe_end *end = NULL;
	struct vpback_transfer *transfer;
	struct vpback_flow *sink;
	const void *page = NULL;
	int ret;

	if (!transfer_served(from, to))
		return -EOPNOTSUPP;
	if (!args->length)
		return -EINVAL;
	ret = transfer_flows(queue, flow, args, &sink);
	if (ret)
		return ret;
	/* A frontend that does not take its events gets nothing more to do. */
	if (vpback_ring_congested(queue))
		return -ENOSPC;
	if (from == XEN_VPIPE_END_EXTENTS)
		end = &args->source;
	else if (to == XEN_VPIPE_END_EXTENTS)
		end = &args->sink;
	if (end) {
		page = vpback_ring_page(queue, end->page);
		if (!page || !end->nr || end->nr > XEN_VPIPE_MAX_EXTENTS)
			return -EINVAL;
	}
	transfer = kvzalloc(struct_size(transfer, extent, end ? end->nr : 0), GFP_KERNEL);
	if (!transfer)
		return -ENOMEM;
	transfer->size = struct_size(transfer, extent, end ? end->nr : 0);
	if (transfer_too_many(flow->dev, transfer)) {
		vpback_flow_drop(flow, transfer);
		return -ENOSPC;
	}
	transfer->from = from;
	transfer->to = to;
	transfer->fua = fua;
	transfer->cookie = args->cookie;
	transfer->length = args->length;
	transfer->unread = args->length;
	transfer->seen = U64_MAX;
	transfer->nr = end ? end->nr : 0;
	ret = (end ? transfer_disk(flow->dev, transfer, end, page) : 0) ?:
	      vpback_pipe_transfer(flow, transfer, sink);
	if (ret)
		vpback_flow_drop(flow, transfer);
	return ret;
}
