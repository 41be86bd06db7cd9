// SPDX-License-Identifier: GPL-2.0
/*
 * debug.c: what goes on, in debugfs, /sys/kernel/debug/vpipe-back/:
 *
 *   capacity     "disk <MB/s> <calibrated|set>", and the same for "net": what credits
 *                are divided of; "calibrated" is also what is assumed before (1000)
 *   <domid>-<devid>/operations
 *                a line of names, then one for each TRANSFER that has not ended:
 *                queue, flow, kind, cookie, bytes moved, bytes in all, what its flow waits
 *                for, source, sink.  The order is that of queues and flows.
 */
#include <linux/debugfs.h>
#include <linux/seq_file.h>

#include "vpback.h"

static struct dentry *debug_root;

static const char *debug_kind(const struct vpback_transfer *transfer)
{
	if (transfer->from == XEN_VPIPE_END_BUFFER)
		return "buffer-to-file";
	if (transfer->from == XEN_VPIPE_END_EXTENTS)
		return transfer->to == XEN_VPIPE_END_SOCKET ? "file-to-socket" : "file-to-file";
	return transfer->to == XEN_VPIPE_END_SOCKET ? "socket-to-socket" : "socket-to-file";
}

/* As it looks without the scheduler's lock: good enough to be looked at. */
static const char *debug_waits(struct vpback_flow *flow)
{
	const struct vpback_task *task = &flow->task;

	if (READ_ONCE(task->waits))
		return "credit";
	if (READ_ONCE(task->queued) || READ_ONCE(task->running))
		return "none";
	if (!list_empty_careful(&flow->pool_node))
		return "pool";
	return atomic_read(&flow->bios) || !flow->link ? "disk" : "socket";
}

static void debug_end(struct seq_file *seq, struct vpback_flow *flow,
		      const struct vpback_transfer *transfer, u16 type)
{
	const struct xen_vpipe_tcp_state *st = &flow->state;
	u16 port = ntohs((__force __be16)st->peer_port);

	if (type == XEN_VPIPE_END_EXTENTS)
		seq_printf(seq, " disk:%u", transfer->disk->vdev);
	else if (type == XEN_VPIPE_END_BUFFER)
		seq_puts(seq, " buffer");
	else if (st->family == 4)
		seq_printf(seq, " %pI4:%u", st->peer_addr, port);
	else
		seq_printf(seq, " [%pI6c]:%u", st->peer_addr, port);
}

/* Under the flow's lock. */
static void debug_transfer(struct seq_file *seq, unsigned int queue, struct vpback_flow *flow,
			   const struct vpback_transfer *transfer)
{
	struct vpback_flow *sink = flow;

	seq_printf(seq, "%u %u %s %llu %llu %llu %s", queue, flow->id, debug_kind(transfer),
		   transfer->cookie, READ_ONCE(transfer->moved), READ_ONCE(transfer->length),
		   debug_waits(flow));
	debug_end(seq, flow, transfer, transfer->from);
	spin_lock_bh(&flow->dev->feed_lock);
	if (transfer->sink)
		sink = transfer->sink;
	debug_end(seq, sink, transfer, transfer->to);
	spin_unlock_bh(&flow->dev->feed_lock);
	seq_putc(seq, '\n');
}

/* For vpback_ring_each(): it cannot go meanwhile. */
static void debug_flow(struct vpback_flow *flow, unsigned int queue, void *data)
{
	const struct vpback_transfer *transfer;

	spin_lock(&flow->lock);
	list_for_each_entry(transfer, &flow->transfers, node)
		debug_transfer(data, queue, flow, transfer);
	list_for_each_entry(transfer, &flow->writes, node)
		debug_transfer(data, queue, flow, transfer);
	spin_unlock(&flow->lock);
}

static int operations_show(struct seq_file *seq, void *v)
{
	struct vpback_device *dev = seq->private;
	unsigned int i;
	int ret;

	ret = mutex_lock_interruptible(&dev->lock);
	if (ret)
		return ret;
	seq_puts(seq, "queue flow kind cookie moved length waits source sink\n");
	for (i = 0; i < dev->nr_queues; i++)
		vpback_ring_each(dev->queue[i], debug_flow, seq);
	mutex_unlock(&dev->lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(operations);

static int capacity_show(struct seq_file *seq, void *v)
{
	unsigned int mbps;
	bool set;

	mbps = vpback_credit_capacity(VPBACK_CREDIT_DISK, &set);
	seq_printf(seq, "disk %u %s\n", mbps, set ? "set" : "calibrated");
	mbps = vpback_credit_capacity(VPBACK_CREDIT_NET, &set);
	seq_printf(seq, "net %u %s\n", mbps, set ? "set" : "calibrated");
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(capacity);

/* Nothing depends on these files: errors are not looked at. */
void vpback_debug_add(struct vpback_device *dev)
{
	const char *devid = strrchr(dev->xbdev->nodename, '/');
	char name[24];

	snprintf(name, sizeof(name), "%u-%s", dev->domid, devid ? devid + 1 : "");
	dev->debug = debugfs_create_dir(name, debug_root);
	debugfs_create_file("operations", 0400, dev->debug, dev, &operations_fops);
}

/* Waits for who reads them; not with the device's lock. */
void vpback_debug_remove(struct vpback_device *dev)
{
	debugfs_remove_recursive(dev->debug);
}

void vpback_debug_init(void)
{
	debug_root = debugfs_create_dir("vpipe-back", NULL);
	debugfs_create_file("capacity", 0400, debug_root, NULL, &capacity_fops);
}

void vpback_debug_exit(void)
{
	debugfs_remove_recursive(debug_root);
}
