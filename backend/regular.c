// SPDX-License-Identifier: GPL-2.0
/*
 * regular.c: what a domain moves by its ordinary virtual disks and network cards counts
 * against the same credits.  blkback and netback ask nobody for leave and cannot be held
 * up; but their counters are read, ten times a second, and what was added is charged, so
 * that the domain's transfers have what is left of its share.
 *
 * The bytes are those of the vifs' statistics, and of the sectors that blkback shows in
 * sysfs: it has no other door.  Frames that steer.c takes off a vif are in neither.
 */
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/workqueue.h>

#include "vpback.h"

#define PERIOD_MS	100U

static bool regular_charged = true;
module_param_named(account_frontends, regular_charged, bool, 0644);
MODULE_PARM_DESC(account_frontends,
		 "charge a domain for its ordinary disk and network traffic too (default Y)");

struct regular_disks {
	struct vpback_device *dev;
	u64 sectors;
};

/* A number in a file of sysfs; 0 when there is none. */
static u64 regular_read(const char *device, const char *name)
{
	struct file *file;
	char path[96], text[24];
	u64 value = 0;
	loff_t at = 0;
	ssize_t n;

	snprintf(path, sizeof(path), "/sys/bus/xen-backend/devices/%s/statistics/%s", device,
		 name);
	file = filp_open(path, O_RDONLY, 0);
	if (IS_ERR(file))
		return 0;
	n = kernel_read(file, text, sizeof(text) - 1, &at);
	filp_close(file, NULL);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	return kstrtou64(strim(text), 10, &value) ? 0 : value;
}

/* A device of some backend: is it a virtual disk of this domain? */
static int regular_add_disk(struct device *device, void *data)
{
	struct regular_disks *disks = data;
	char prefix[24];

	snprintf(prefix, sizeof(prefix), "vbd-%u-", disks->dev->domid);
	if (!strncmp(dev_name(device), prefix, strlen(prefix)))
		disks->sectors += regular_read(dev_name(device), "rd_sect") +
				  regular_read(dev_name(device), "wr_sect");
	return 0;
}

static u64 regular_disk_bytes(struct vpback_device *dev)
{
	struct regular_disks disks = { .dev = dev };

	bus_for_each_dev(dev->xbdev->dev.bus, NULL, &disks, regular_add_disk);
	return disks.sectors << SECTOR_SHIFT;
}

/* What was added; a disk or a vif that went takes its numbers along. */
static u64 regular_grown(u64 *last, u64 now)
{
	u64 before = *last;

	*last = now;
	return now > before ? now - before : 0;
}

static void regular_look(struct work_struct *work)
{
	struct vpback_device *dev = container_of(to_delayed_work(work), struct vpback_device,
						 regular_work);
	u64 disk, net;

	if (READ_ONCE(regular_charged)) {
		disk = regular_grown(&dev->regular_disk, regular_disk_bytes(dev));
		net = regular_grown(&dev->regular_net, vpback_links_bytes(dev));
		/* The first look is at the time before. */
		if (dev->regular_known && disk + net)
			vpback_credit_force(&dev->account, disk, net);
		dev->regular_known = true;
	} else {
		dev->regular_known = false;
	}
	schedule_delayed_work(&dev->regular_work, msecs_to_jiffies(PERIOD_MS));
}

/* With the device's lock, when it is connected; an idle CPU is not woken for it. */
void vpback_regular_start(struct vpback_device *dev)
{
	INIT_DEFERRABLE_WORK(&dev->regular_work, regular_look);
	dev->regular_known = false;
	schedule_delayed_work(&dev->regular_work, 0);
	dev->regular_on = true;
}

void vpback_regular_stop(struct vpback_device *dev)
{
	if (dev->regular_on)
		cancel_delayed_work_sync(&dev->regular_work);
	dev->regular_on = false;
}
