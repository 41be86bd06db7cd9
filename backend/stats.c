// SPDX-License-Identifier: GPL-2.0
/*
 * stats.c: what a device shows and takes in sysfs,
 * /sys/bus/xen-backend/devices/vpipe-<domid>-<devid>/:
 *
 *   netns (write-only, root): "1" gives the device the writer's network namespace
 *     and makes its links there (EBUSY: it has one; ENODEV: the domain has no vif);
 *     "2" says that these are configured, and lets the frontend come.  vpipectl
 *     attach does both.  "3" makes links for vifs that have none, which came later, in
 *     the writer's namespace, a new one (EINVAL: not configured; ENODEV: there are
 *     none); each is used when it is up.  vpipectl update does it.
 *   vifs (read-only): the handles of the vifs that are served, separated by spaces.
 *   cancel (write-only, root): "<queue> <flow>" ends what that flow does, as CANCEL by the
 *     frontend: its TRANSFERs end with -ECANCELED (ENOENT: there is no such flow).
 *   calibrate (write-only, root): "1" measures the domain's disks, and the network, again;
 *     may take seconds (ENOTCONN: there is no frontend; or what measuring said).
 *   statistics/<counter>: one number each, monotonic unless it says otherwise.
 */
#include <linux/device.h>
#include <linux/nsproxy.h>
#include <linux/sched.h>
#include <net/net_namespace.h>

#include "vpback.h"

static ssize_t netns_store(struct device *device, struct device_attribute *attr,
			   const char *buf, size_t len)
{
	struct vpback_device *dev = dev_get_drvdata(device);
	unsigned int value;
	int ret;

	ret = kstrtouint(buf, 0, &value);
	if (!ret && value == 1)
		ret = vpback_links_set_netns(dev, current->nsproxy->net_ns);
	else if (!ret && value == 2)
		ret = vpback_xenbus_configured(dev);
	else if (!ret && value == 3)
		ret = vpback_links_update(dev, current->nsproxy->net_ns);
	else if (!ret)
		ret = -EINVAL;
	return ret ?: len;
}
static DEVICE_ATTR_WO(netns);

static ssize_t vifs_show(struct device *device, struct device_attribute *attr, char *buf)
{
	return vpback_links_show(dev_get_drvdata(device), buf);
}
static DEVICE_ATTR_RO(vifs);

static ssize_t cancel_store(struct device *device, struct device_attribute *attr,
			    const char *buf, size_t len)
{
	unsigned int queue, flow;

	if (sscanf(buf, "%u %u", &queue, &flow) != 2)
		return -EINVAL;
	return vpback_xenbus_cancel(dev_get_drvdata(device), queue, flow) ?: len;
}
static DEVICE_ATTR_WO(cancel);

static ssize_t calibrate_store(struct device *device, struct device_attribute *attr,
			       const char *buf, size_t len)
{
	return (sysfs_streq(buf, "1") ? vpback_xenbus_calibrate(dev_get_drvdata(device)) :
					-EINVAL) ?: len;
}
static DEVICE_ATTR_WO(calibrate);

static struct attribute *device_attrs[] = {
	&dev_attr_netns.attr,
	&dev_attr_vifs.attr,
	&dev_attr_cancel.attr,
	&dev_attr_calibrate.attr,
	NULL
};

static const struct attribute_group device_group = {
	.attrs = device_attrs,
};

#define STAT(_name, _stat)							\
static ssize_t _name##_show(struct device *device, struct device_attribute *a, char *buf) \
{										\
	struct vpback_device *dev = dev_get_drvdata(device);			\
										\
	return sysfs_emit(buf, "%lld\n", atomic64_read(&dev->stat[_stat]));	\
}										\
static DEVICE_ATTR_RO(_name)

STAT(requests_total, VPBACK_STAT_REQUESTS);	/* commands of the frontend */
STAT(refused_total, VPBACK_STAT_REFUSED);	/* of them, invalid or not its own */
STAT(attaches_total, VPBACK_STAT_ATTACHES);	/* connections taken over */
STAT(detaches_total, VPBACK_STAT_DETACHES);	/* connections made ready to return */
STAT(transfers_total, VPBACK_STAT_TRANSFERS);	/* TRANSFERs that ended */
STAT(bytes_total, VPBACK_STAT_BYTES);		/* bytes given to a socket or a disk */
STAT(referenced_bytes_total, VPBACK_STAT_REFERENCED);	/* from socket to socket, not copied */
STAT(frames_in_total, VPBACK_STAT_FRAMES_IN);	/* steered to shadow sockets */
STAT(frames_out_total, VPBACK_STAT_FRAMES_OUT);	/* sent by shadow sockets */
STAT(frames_held_total, VPBACK_STAT_FRAMES_HELD);	/* while a flow was between its homes */
STAT(frames_stray_total, VPBACK_STAT_FRAMES_STRAY);	/* that the guest received, and sent back */
STAT(attach_us_total, VPBACK_STAT_ATTACH_US);	/* from ATTACH until the shadow receives */
STAT(attach_us_max, VPBACK_STAT_ATTACH_US_MAX);	/* the longest of these */
STAT(return_us_total, VPBACK_STAT_RETURN_US);	/* from the freeze of a shadow to RELEASE */
STAT(return_us_max, VPBACK_STAT_RETURN_US_MAX);	/* the longest of these */
STAT(frames_dropped_total, VPBACK_STAT_FRAMES_DROPPED);	/* late ones of the guest, or no room */
STAT(retransmits_total, VPBACK_STAT_RETRANSMITS);	/* segments, of ended flows */
STAT(events_total, VPBACK_STAT_EVENTS);		/* notifications to the guest */

/* The mean of a sum over how often it was added to, microseconds. */
#define STAT_MEAN(_name, _sum, _count)						\
static ssize_t _name##_show(struct device *device, struct device_attribute *a, char *buf) \
{										\
	struct vpback_device *dev = dev_get_drvdata(device);			\
	s64 count = atomic64_read(&dev->stat[_count]);				\
										\
	return sysfs_emit(buf, "%lld\n",					\
			  count ? div64_s64(atomic64_read(&dev->stat[_sum]), count) : 0); \
}										\
static DEVICE_ATTR_RO(_name)

STAT_MEAN(attach_us_mean, VPBACK_STAT_ATTACH_US, VPBACK_STAT_ATTACHES);
STAT_MEAN(return_us_mean, VPBACK_STAT_RETURN_US, VPBACK_STAT_DETACHES);

/* A gauge: flows held now. */
static ssize_t flows_show(struct device *device, struct device_attribute *attr, char *buf)
{
	struct vpback_device *dev = dev_get_drvdata(device);

	return sysfs_emit(buf, "%d\n", atomic_read(&dev->nr_flows));
}
static DEVICE_ATTR_RO(flows);

/* A gauge: 64 KiB chunks of data on their way now. */
static ssize_t chunks_show(struct device *device, struct device_attribute *attr, char *buf)
{
	struct vpback_device *dev = dev_get_drvdata(device);

	return sysfs_emit(buf, "%u\n", READ_ONCE(dev->pool.nr_used));
}
static DEVICE_ATTR_RO(chunks);

/* Of the domain's account: charged and waited for since it was attached; gauges. */
#define STAT_ACCOUNT(_name, _format, _value)					\
static ssize_t _name##_show(struct device *device, struct device_attribute *a, char *buf) \
{										\
	struct vpback_device *dev = dev_get_drvdata(device);			\
	struct vpback_account *account = &dev->account;				\
										\
	return sysfs_emit(buf, _format "\n", _value);				\
}										\
static DEVICE_ATTR_RO(_name)

STAT_ACCOUNT(charged_bytes_total, "%lld", atomic64_read(&account->charged));
STAT_ACCOUNT(regular_bytes_total, "%lld", atomic64_read(&account->regular));
STAT_ACCOUNT(credit_waits_total, "%llu", vpback_credit_waits(account, false));
STAT_ACCOUNT(credit_wait_us_total, "%llu", vpback_credit_waits(account, true));
STAT_ACCOUNT(credits, "%lld", vpback_credit_left(account));	/* bytes; a debt is negative */
STAT_ACCOUNT(weight, "%u", READ_ONCE(account->weight));
STAT_ACCOUNT(cap, "%llu", READ_ONCE(account->cap));	/* bytes a second; 0: none */

/* What the domain may have at most, as set by policy.c or by default. */
#define STAT_LIMIT(_name, _value)						\
static ssize_t _name##_show(struct device *device, struct device_attribute *a, char *buf) \
{										\
	struct vpback_device *dev = dev_get_drvdata(device);			\
										\
	return sysfs_emit(buf, "%u\n", _value);					\
}										\
static DEVICE_ATTR_RO(_name)

STAT_LIMIT(max_ops, vpback_ops_limit(dev));		/* TRANSFERs queued */
STAT_LIMIT(max_chunks, READ_ONCE(dev->pool.max));	/* of 64 KiB */
STAT_LIMIT(max_held, vpback_held_limit(dev));		/* frames, between two homes */

static struct attribute *statistics_attrs[] = {
	&dev_attr_requests_total.attr,
	&dev_attr_refused_total.attr,
	&dev_attr_attaches_total.attr,
	&dev_attr_detaches_total.attr,
	&dev_attr_transfers_total.attr,
	&dev_attr_bytes_total.attr,
	&dev_attr_referenced_bytes_total.attr,
	&dev_attr_frames_in_total.attr,
	&dev_attr_frames_out_total.attr,
	&dev_attr_frames_held_total.attr,
	&dev_attr_frames_stray_total.attr,
	&dev_attr_attach_us_total.attr,
	&dev_attr_attach_us_mean.attr,
	&dev_attr_attach_us_max.attr,
	&dev_attr_return_us_total.attr,
	&dev_attr_return_us_mean.attr,
	&dev_attr_return_us_max.attr,
	&dev_attr_frames_dropped_total.attr,
	&dev_attr_retransmits_total.attr,
	&dev_attr_events_total.attr,
	&dev_attr_flows.attr,
	&dev_attr_chunks.attr,
	&dev_attr_charged_bytes_total.attr,
	&dev_attr_regular_bytes_total.attr,
	&dev_attr_credit_waits_total.attr,
	&dev_attr_credit_wait_us_total.attr,
	&dev_attr_credits.attr,
	&dev_attr_weight.attr,
	&dev_attr_cap.attr,
	&dev_attr_max_ops.attr,
	&dev_attr_max_chunks.attr,
	&dev_attr_max_held.attr,
	NULL
};

static const struct attribute_group statistics_group = {
	.name = "statistics",
	.attrs = statistics_attrs,
};

const struct attribute_group *vpback_stats_groups[] = {
	&device_group,
	&statistics_group,
	NULL
};
