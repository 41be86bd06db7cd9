// SPDX-License-Identifier: GPL-2.0
/*
 * policy.c: what the host's operator grants a domain, live, by nodes of xenstore below
 * backend/vpipe/<domid>/<devid>/, which the domain cannot write:
 *
 *   weight      1..65535 (256): its share of what domains move, to those of the others
 *   cap         bytes a second that it may move at most; 0 (default): no limit
 *   max-ops     TRANSFERs that may be queued (module parameter max_ops)
 *   max-chunks  chunks of 64 KiB of data that may be on its way (pool_mib)
 *   max-held    frames that may be held while connections change hands (max_held)
 *
 * What is no number counts as absent.
 */
#include <linux/module.h>
#include <linux/slab.h>

#include "vpback.h"

unsigned int vpback_max_ops = 32768;
module_param_named(max_ops, vpback_max_ops, uint, 0644);
MODULE_PARM_DESC(max_ops, "TRANSFERs that a domain may have queued (default 32768)");

unsigned int vpback_max_held = VPBACK_MAX_FRAMES;
module_param_named(max_held, vpback_max_held, uint, 0644);
MODULE_PARM_DESC(max_held, "frames that are held for a domain at most (default 4096)");

static u64 policy_read(struct vpback_device *dev, const char *node, u64 absent)
{
	unsigned long long value;

	if (xenbus_scanf(XBT_NIL, dev->xbdev->nodename, node, "%llu", &value) != 1)
		return absent;
	return value;
}

static void policy_changed(struct xenbus_watch *watch, const char *path, const char *token)
{
	struct vpback_device *dev = container_of(watch, struct vpback_device, policy_watch);
	const char *node = strrchr(path, '/');
	u64 weight, cap;

	if (node && (!strcmp(node, "/state") || !strcmp(node, "/network-status")))
		return;		/* our own */
	weight = policy_read(dev, "weight", VPBACK_CREDIT_WEIGHT);
	cap = policy_read(dev, "cap", 0);
	vpback_credit_configure(&dev->account, min(weight, VPBACK_CREDIT_MAX_WEIGHT), cap);
	WRITE_ONCE(dev->max_ops, min(policy_read(dev, "max-ops", 0), UINT_MAX));
	WRITE_ONCE(dev->max_held, min(policy_read(dev, "max-held", 0), UINT_MAX));
	WRITE_ONCE(dev->max_chunks, min(policy_read(dev, "max-chunks", 0), UINT_MAX));
	vpback_pool_set_max(&dev->pool, dev->max_chunks);
}

int vpback_policy_init(struct vpback_device *dev)
{
	int ret;

	vpback_credit_configure(&dev->account, VPBACK_CREDIT_WEIGHT, 0);
	dev->policy_watch.callback = policy_changed;
	dev->policy_watch.node = kstrdup(dev->xbdev->nodename, GFP_KERNEL);
	if (!dev->policy_watch.node)
		return -ENOMEM;
	ret = register_xenbus_watch(&dev->policy_watch);	/* it is called once at once */
	if (ret)
		kfree(dev->policy_watch.node);
	return ret;
}

void vpback_policy_exit(struct vpback_device *dev)
{
	unregister_xenbus_watch(&dev->policy_watch);
	kfree(dev->policy_watch.node);
}
