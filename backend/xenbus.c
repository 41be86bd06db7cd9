// SPDX-License-Identifier: GPL-2.0
/*
 * xenbus.c: a domain's device "vpipe" from attach to detach.
 *
 *   probe        xenstore: network-status = waiting; wait for the toolstack
 *                (links.c: the namespace for the shadow sockets; links in it)
 *   configured   features, InitWait
 *   connect      the frontend has published its queues: serve them
 *   disconnect   it goes, or is gone: nothing of it stays mapped or running
 *   remove       links and namespace go
 */
#include <linux/module.h>
#include <linux/slab.h>

#include "vpback.h"

static unsigned int vpback_max_queues = 4;
module_param_named(max_queues, vpback_max_queues, uint, 0644);
MODULE_PARM_DESC(max_queues, "queues that a frontend may have (1..64; default 4)");

unsigned int vpback_max_flows = 4096;
module_param_named(max_flows, vpback_max_flows, uint, 0644);
MODULE_PARM_DESC(max_flows, "connections that a queue may have offloaded at once (default 4096)");

unsigned int vpback_pool_mib = 128;
module_param_named(pool_mib, vpback_pool_mib, uint, 0644);
MODULE_PARM_DESC(pool_mib, "MiB of data that may be on its way for a domain (default 128)");

unsigned int vpback_flow_mib = 512;
module_param_named(flow_mib, vpback_flow_mib, uint, 0644);
MODULE_PARM_DESC(flow_mib, "MiB of socket buffers that a domain's flows may ask for (default 512)");

unsigned int vpback_threads;
module_param_named(threads, vpback_threads, uint, 0644);
MODULE_PARM_DESC(threads, "threads that move a domain's data (0: one a CPU, at most 8; default 0)");

/* --- connect and disconnect: with dev->lock ----------------------------------- */

static void xenbus_disconnect(struct vpback_device *dev)
{
	if (!dev->queue)
		return;
	vpback_regular_stop(dev);
	while (dev->nr_queues)
		vpback_ring_disconnect(dev->queue[--dev->nr_queues]);
	kfree(dev->queue);
	dev->queue = NULL;
	if (!IS_ERR_OR_NULL(dev->sched))
		vpback_sched_destroy(dev->sched);
	dev->sched = NULL;
	vpback_disk_exit(dev);
	vpback_pool_exit(&dev->pool);
}

static int xenbus_connect(struct vpback_device *dev)
{
	unsigned int version, queues, i;
	int ret;

	version = xenbus_read_unsigned(dev->xbdev->otherend, "version", 0);
	queues = xenbus_read_unsigned(dev->xbdev->otherend, "num-queues", 0);
	if (version != XEN_VPIPE_VERSION || !queues ||
	    queues > clamp(vpback_max_queues, 1U, 64U))
		return -EPROTO;
	dev->queue = kcalloc(queues, sizeof(*dev->queue), GFP_KERNEL);
	if (!dev->queue)
		return -ENOMEM;
	vpback_pool_init(&dev->pool);
	vpback_pool_set_max(&dev->pool, dev->max_chunks);
	ret = vpback_disk_init(dev);
	if (ret)
		goto err;
	dev->sched = vpback_sched_create(dev);
	if (IS_ERR(dev->sched)) {
		ret = PTR_ERR(dev->sched);
		goto err;
	}
	for (i = 0; i < queues; i++) {
		struct vpback_queue *queue = vpback_ring_connect(dev, i);

		if (IS_ERR(queue)) {
			ret = PTR_ERR(queue);
			goto err;
		}
		dev->queue[dev->nr_queues++] = queue;
	}
	vpback_regular_start(dev);
	return 0;
err:
	xenbus_disconnect(dev);
	return ret;
}

/* --- the toolstack's part ----------------------------------------------------------- */

/* The links are configured: the frontend may come. */
int vpback_xenbus_configured(struct vpback_device *dev)
{
	const char *node = dev->xbdev->nodename;
	int ret;

	mutex_lock(&dev->lock);
	ret = !dev->net ? -EINVAL : dev->configured ? -EBUSY : 0;
	if (!ret) {
		dev->ipv6 = vpback_shadow_has_ipv6(dev->net);
		ret = xenbus_printf(XBT_NIL, node, "version", "%u", XEN_VPIPE_VERSION) ?:
		      xenbus_printf(XBT_NIL, node, "max-queues", "%u",
				    clamp(vpback_max_queues, 1U, 64U)) ?:
		      xenbus_printf(XBT_NIL, node, "max-ring-page-order", "%u",
				    XEN_VPIPE_MAX_RING_PAGE_ORDER) ?:
		      xenbus_printf(XBT_NIL, node, "max-pool-pages", "%u",
				    XEN_VPIPE_MAX_POOL_PAGES) ?:
		      xenbus_printf(XBT_NIL, node, "max-flows", "%u", vpback_max_flows) ?:
		      xenbus_printf(XBT_NIL, node, "feature-file-to-socket", "1") ?:
		      xenbus_printf(XBT_NIL, node, "feature-socket-to-file", "1") ?:
		      xenbus_printf(XBT_NIL, node, "feature-file-to-file", "1") ?:
		      xenbus_printf(XBT_NIL, node, "feature-socket-to-socket", "1") ?:
		      xenbus_printf(XBT_NIL, node, "feature-ipv6", "%d", dev->ipv6) ?:
		      xenbus_printf(XBT_NIL, node, "network-status", "connected") ?:
		      xenbus_switch_state(dev->xbdev, XenbusStateInitWait);
	}
	if (!ret)
		dev->configured = true;
	mutex_unlock(&dev->lock);
	return ret;
}

/* -ENOTCONN: there is no frontend, and so no open disk. */
int vpback_xenbus_calibrate(struct vpback_device *dev)
{
	int ret;

	mutex_lock(&dev->lock);
	ret = dev->queue ? vpback_calibrate(dev) : -ENOTCONN;
	mutex_unlock(&dev->lock);
	return ret;
}

/* Whatever a flow does ends; -ENOENT: there is none of that number. */
int vpback_xenbus_cancel(struct vpback_device *dev, unsigned int queue, u32 flow)
{
	int ret;

	mutex_lock(&dev->lock);
	ret = queue < dev->nr_queues ? vpback_ring_cancel(dev->queue[queue], flow) : -ENOENT;
	mutex_unlock(&dev->lock);
	return ret;
}

/* --- the bus -------------------------------------------------------------------------- */

static void vpback_frontend_changed(struct xenbus_device *xbdev, enum xenbus_state state)
{
	struct vpback_device *dev = dev_get_drvdata(&xbdev->dev);
	int ret;

	switch (state) {
	case XenbusStateInitialising:
		/* A frontend that comes back after it had closed. */
		if (xbdev->state == XenbusStateClosed && dev->configured)
			xenbus_switch_state(xbdev, XenbusStateInitWait);
		break;
	case XenbusStateInitialised:
	case XenbusStateConnected:
		if (xbdev->state != XenbusStateInitWait)
			break;
		mutex_lock(&dev->lock);
		ret = xenbus_connect(dev);
		mutex_unlock(&dev->lock);
		if (ret)
			xenbus_dev_fatal(xbdev, ret, "connecting to the frontend");
		else
			xenbus_switch_state(xbdev, XenbusStateConnected);
		break;
	case XenbusStateClosing:
	case XenbusStateClosed:
		mutex_lock(&dev->lock);
		xenbus_disconnect(dev);
		mutex_unlock(&dev->lock);
		xenbus_switch_state(xbdev, XenbusStateClosed);
		if (state == XenbusStateClosing || xenbus_dev_is_online(xbdev))
			break;
		fallthrough;
	case XenbusStateUnknown:
		/* The domain is dead: its pages must not stay mapped. */
		mutex_lock(&dev->lock);
		xenbus_disconnect(dev);
		mutex_unlock(&dev->lock);
		device_unregister(&xbdev->dev);
		break;
	default:
		break;
	}
}

static int vpback_probe(struct xenbus_device *xbdev, const struct xenbus_device_id *id)
{
	struct vpback_device *dev;
	int ret;

	dev = kzalloc(sizeof(*dev), GFP_KERNEL);
	if (!dev) {
		xenbus_dev_fatal(xbdev, -ENOMEM, "making the device");
		return -ENOMEM;
	}
	dev->xbdev = xbdev;
	dev->domid = xbdev->otherend_id;
	mutex_init(&dev->lock);
	mutex_init(&dev->links_lock);
	spin_lock_init(&dev->feed_lock);
	INIT_LIST_HEAD(&dev->links);
	ratelimit_state_init(&dev->complaints, 60 * HZ, 5);
	dev_set_drvdata(&xbdev->dev, dev);
	/* rmmod has to wait until no domain is attached. */
	__module_get(THIS_MODULE);
	ret = vpback_policy_init(dev);
	if (ret) {
		xenbus_dev_fatal(xbdev, ret, "watching its weight and limits");
		goto err;
	}
	ret = xenbus_printf(XBT_NIL, xbdev->nodename, "network-status", "waiting");
	if (ret) {
		xenbus_dev_fatal(xbdev, ret, "writing network-status");
		vpback_policy_exit(dev);
		goto err;
	}
	vpback_debug_add(dev);
	return 0;
err:
	module_put(THIS_MODULE);
	dev_set_drvdata(&xbdev->dev, NULL);
	kfree(dev);
	return ret;
}

static void vpback_remove(struct xenbus_device *xbdev)
{
	struct vpback_device *dev = dev_get_drvdata(&xbdev->dev);

	vpback_debug_remove(dev);
	vpback_policy_exit(dev);
	mutex_lock(&dev->lock);
	xenbus_disconnect(dev);
	vpback_links_drop(dev);
	mutex_unlock(&dev->lock);
	dev_set_drvdata(&xbdev->dev, NULL);
	kfree(dev);
	module_put(THIS_MODULE);
}

static const struct xenbus_device_id vpback_ids[] = {
	{ "vpipe" },
	{ "" }
};

static struct xenbus_driver vpback_driver = {
	.ids = vpback_ids,
	.probe = vpback_probe,
	.remove = vpback_remove,
	.otherend_changed = vpback_frontend_changed,
	.driver.dev_groups = vpback_stats_groups,
};

int vpback_xenbus_init(void)
{
	return xenbus_register_backend(&vpback_driver);
}

void vpback_xenbus_exit(void)
{
	xenbus_unregister_driver(&vpback_driver);
}
