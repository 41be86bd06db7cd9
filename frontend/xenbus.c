// SPDX-License-Identifier: GPL-2.0
/*
 * xenbus.c: the device "vpipe" from its first state to its last, and who may use
 * it when.  A guest has one; operations hold it by _get/_put, and so do flows.
 *
 * When the backend wants to go (Closing), no new operation starts, the running ones
 * end and all sockets come home; the last one lets the state go on.  When
 * the backend is simply gone, the queues are broken first, so that nobody waits.
 * When it broke the protocol it is told to close at once: a write to a file that it
 * may still be doing cannot end before it has let go.
 */
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/slab.h>

#include "vpfront.h"

/* Operations whose driver is taken away end by then, or are broken off. */
#define LEAVE_TIMEOUT		(5 * HZ)

static unsigned int max_queues;
module_param(max_queues, uint, 0444);
MODULE_PARM_DESC(max_queues, "queues to the backend (0: one a vCPU; default 0)");

static unsigned int pool_pages = 128;
module_param(pool_pages, uint, 0444);
MODULE_PARM_DESC(pool_pages, "4 KiB pages shared with the backend for each queue (16..512; default 128)");

/* Serialises the_device and the users, closing, connected of it. */
static DEFINE_SPINLOCK(vpfront_lock);
static struct vpfront_device *the_device;

/* The device, if operations may start on it; give it back with _put. */
struct vpfront_device *vpfront_xenbus_get(void)
{
	struct vpfront_device *dev;

	spin_lock(&vpfront_lock);
	dev = the_device;
	if (dev && dev->connected && !dev->closing && !READ_ONCE(dev->broken))
		dev->users++;
	else
		dev = NULL;
	spin_unlock(&vpfront_lock);
	return dev;
}

/* Once more, by somebody who has it. */
void vpfront_xenbus_hold(struct vpfront_device *dev)
{
	spin_lock(&vpfront_lock);
	dev->users++;
	spin_unlock(&vpfront_lock);
}

void vpfront_xenbus_put(struct vpfront_device *dev)
{
	spin_lock(&vpfront_lock);
	if (!--dev->users) {
		wake_up_all(&dev->wait);
		if (dev->closing)
			schedule_work(&dev->close_work);
	}
	spin_unlock(&vpfront_lock);
}

/* Will the backend never again touch a disk for us?  Woken by dev->wait. */
bool vpfront_xenbus_gone(struct vpfront_device *dev)
{
	enum xenbus_state state = READ_ONCE(dev->backend_state);

	return READ_ONCE(dev->gone) || state == XenbusStateClosed || state == XenbusStateUnknown;
}

static void xenbus_kick_flows(struct vpfront_device *dev)
{
	unsigned int i;

	for (i = 0; i < dev->nr_queues; i++)
		vpfront_ring_kick_flows(dev->queue[i]);
}

static bool xenbus_begin_closing(struct vpfront_device *dev)
{
	bool was;

	spin_lock(&vpfront_lock);
	was = dev->closing;
	dev->closing = true;
	spin_unlock(&vpfront_lock);
	return !was;
}

static void xenbus_break(struct vpfront_device *dev)
{
	unsigned int i;

	WRITE_ONCE(dev->broken, true);
	for (i = 0; i < dev->nr_queues; i++)
		vpfront_ring_break(dev->queue[i]);
	xenbus_kick_flows(dev);
}

static void xenbus_free_queues(struct vpfront_device *dev)
{
	while (dev->nr_queues)
		vpfront_ring_destroy(dev->queue[--dev->nr_queues]);
	kfree(dev->queue);
	dev->queue = NULL;
}

static bool xenbus_idle(struct vpfront_device *dev)
{
	bool idle;

	spin_lock(&vpfront_lock);
	idle = !dev->users;
	spin_unlock(&vpfront_lock);
	return idle;
}

/* Runs when closing began, when the last operation ended, and when it broke. */
static void xenbus_close_work(struct work_struct *work)
{
	struct vpfront_device *dev = container_of(work, struct vpfront_device, close_work);

	if (READ_ONCE(dev->broken)) {
		xenbus_begin_closing(dev);
		xenbus_break(dev);
	} else {
		xenbus_kick_flows(dev);
		if (!xenbus_idle(dev))
			return;
	}
	if (dev->closing && dev->xbdev->state < XenbusStateClosing &&
	    READ_ONCE(dev->backend_state) < XenbusStateClosed) {
		/* The backend lets go of our pages now. */
		dev->connected = false;
		xenbus_switch_state(dev->xbdev, XenbusStateClosing);
	} else if (READ_ONCE(dev->backend_state) == XenbusStateClosed && xenbus_idle(dev) &&
		   dev->xbdev->state != XenbusStateClosed) {
		dev->connected = false;
		xenbus_free_queues(dev);
		xenbus_frontend_closed(dev->xbdev);
	}
}

static int xenbus_publish(struct vpfront_device *dev)
{
	struct xenbus_transaction xbt;
	unsigned int i;
	int ret;

	do {
		ret = xenbus_transaction_start(&xbt);
		if (ret)
			return ret;
		ret = xenbus_printf(xbt, dev->xbdev->nodename, "version", "%u",
				    XEN_VPIPE_VERSION) ?:
		      xenbus_printf(xbt, dev->xbdev->nodename, "num-queues", "%u",
				    dev->nr_queues);
		for (i = 0; !ret && i < dev->nr_queues; i++)
			ret = vpfront_ring_publish(dev->queue[i], xbt);
		if (ret) {
			xenbus_transaction_end(xbt, 1);
			return ret;
		}
		ret = xenbus_transaction_end(xbt, 0);
	} while (ret == -EAGAIN);
	return ret;
}

static u32 xenbus_kinds(const char *back)
{
	static const struct {
		const char *node;
		enum vpipe_kind kind;
	} features[] = {
		{ "feature-file-to-socket", VPIPE_KIND_FILE_TO_SOCKET },
		{ "feature-socket-to-file", VPIPE_KIND_SOCKET_TO_FILE },
		{ "feature-file-to-file", VPIPE_KIND_FILE_TO_FILE },
		{ "feature-socket-to-socket", VPIPE_KIND_SOCKET_TO_SOCKET },
	};
	unsigned int i;
	u32 kinds = 0;

	for (i = 0; i < ARRAY_SIZE(features); i++)
		if (xenbus_read_unsigned(back, features[i].node, 0))
			kinds |= 1U << features[i].kind;
	return kinds;
}

/* The backend is in InitWait: make the queues and publish them. */
static int xenbus_setup(struct vpfront_device *dev)
{
	const char *back = dev->xbdev->otherend;
	unsigned int version, queues, order, pages, i;
	int ret;

	if (dev->queue || dev->closing)
		return -EBUSY;
	version = xenbus_read_unsigned(back, "version", 0);
	if (version != XEN_VPIPE_VERSION) {
		xenbus_dev_fatal(dev->xbdev, -EPROTO, "backend speaks version %u, not %u",
				 version, XEN_VPIPE_VERSION);
		return -EPROTO;
	}
	queues = xenbus_read_unsigned(back, "max-queues", 1);
	queues = clamp(queues, 1U, max_queues ?: num_online_cpus());
	order = min(xenbus_read_unsigned(back, "max-ring-page-order", 0), 2U);
	pages = min(xenbus_read_unsigned(back, "max-pool-pages", 16),
		    clamp(pool_pages, 16U, (unsigned int)XEN_VPIPE_MAX_POOL_PAGES));
	dev->max_flows = clamp(xenbus_read_unsigned(back, "max-flows", 1), 1U, 65536U);
	dev->kinds = xenbus_kinds(back);
	dev->ipv6 = xenbus_read_unsigned(back, "feature-ipv6", 0);
	if (pages < 2 + XEN_VPIPE_QUEUE_PAGES) {
		xenbus_dev_fatal(dev->xbdev, -EPROTO, "backend allows only %u pool pages", pages);
		return -EPROTO;
	}

	dev->queue = kcalloc(queues, sizeof(*dev->queue), GFP_KERNEL);
	if (!dev->queue) {
		ret = -ENOMEM;
		goto err;
	}
	for (i = 0; i < queues; i++) {
		struct vpfront_queue *queue = vpfront_ring_create(dev, i, order, pages);

		if (IS_ERR(queue)) {
			ret = PTR_ERR(queue);
			goto err;
		}
		dev->queue[dev->nr_queues++] = queue;
	}
	ret = xenbus_publish(dev);
	if (ret)
		goto err;
	return xenbus_switch_state(dev->xbdev, XenbusStateInitialised);
err:
	xenbus_free_queues(dev);
	xenbus_dev_fatal(dev->xbdev, ret, "making %u queues", queues);
	return ret;
}

static void vpfront_backend_changed(struct xenbus_device *xbdev, enum xenbus_state state)
{
	struct vpfront_device *dev = dev_get_drvdata(&xbdev->dev);

	if (!dev)
		return;
	WRITE_ONCE(dev->backend_state, state);
	wake_up_all(&dev->wait);
	switch (state) {
	case XenbusStateInitWait:
		if (xbdev->state == XenbusStateInitialising)
			xenbus_setup(dev);
		break;
	case XenbusStateConnected:
		if (xbdev->state != XenbusStateInitialised)
			break;
		spin_lock(&vpfront_lock);
		dev->connected = true;
		spin_unlock(&vpfront_lock);
		xenbus_switch_state(xbdev, XenbusStateConnected);
		break;
	case XenbusStateClosed:
	case XenbusStateUnknown:
		/* Orderly when we had said Closing; otherwise it left us alone. */
		if (dev->connected)
			WRITE_ONCE(dev->broken, true);
		fallthrough;
	case XenbusStateClosing:
		xenbus_begin_closing(dev);
		schedule_work(&dev->close_work);
		break;
	default:
		break;
	}
}

static int vpfront_probe(struct xenbus_device *xbdev, const struct xenbus_device_id *id)
{
	struct vpfront_device *dev;

	dev = kzalloc(sizeof(*dev), GFP_KERNEL);
	if (!dev) {
		xenbus_dev_fatal(xbdev, -ENOMEM, "making the device");
		return -ENOMEM;
	}
	dev->xbdev = xbdev;
	init_waitqueue_head(&dev->wait);
	INIT_WORK(&dev->close_work, xenbus_close_work);
	spin_lock(&vpfront_lock);
	if (the_device) {
		spin_unlock(&vpfront_lock);
		kfree(dev);
		xenbus_dev_error(xbdev, -EEXIST, "one vpipe device is enough");
		return -EEXIST;
	}
	the_device = dev;
	spin_unlock(&vpfront_lock);
	dev_set_drvdata(&xbdev->dev, dev);
	xenbus_switch_state(xbdev, XenbusStateInitialising);
	return 0;
}

/*
 * The driver is unbound, or the toolstack took the nodes away.  In the first case
 * ask the backend to let go of our pages (its state is read, not watched: the bus
 * has taken the watch away); in the second nobody is there to be asked.
 */
static void vpfront_remove(struct xenbus_device *xbdev)
{
	struct vpfront_device *dev = dev_get_drvdata(&xbdev->dev);
	unsigned int tries, i;

	xenbus_begin_closing(dev);
	/* As long as the backend answers, nothing need be lost. */
	if (!READ_ONCE(dev->broken) && xbdev->otherend &&
	    xenbus_read_driver_state(xbdev->otherend) == XenbusStateConnected) {
		xenbus_kick_flows(dev);		/* operations end where they are */
		vpfront_flow_quiesce(dev);
		wait_event_timeout(dev->wait, xenbus_idle(dev), LEAVE_TIMEOUT);
	}
	if (!xenbus_idle(dev))
		xenbus_break(dev);
	if (dev->nr_queues && xbdev->otherend &&
	    xenbus_exists(XBT_NIL, xbdev->otherend, "state") > 0) {
		xenbus_switch_state(xbdev, XenbusStateClosing);
		/* As long as it may write to a disk for somebody there is no choice. */
		for (tries = 50; tries || !xenbus_idle(dev); tries -= !!tries) {
			enum xenbus_state state = xenbus_read_driver_state(xbdev->otherend);

			if (state == XenbusStateUnknown || state >= XenbusStateClosed)
				break;
			msleep(100);
		}
	}
	WRITE_ONCE(dev->gone, true);
	wake_up_all(&dev->wait);
	wait_event(dev->wait, xenbus_idle(dev));
	for (i = 0; i < dev->nr_queues; i++)
		vpfront_ring_quiesce(dev->queue[i]);
	cancel_work_sync(&dev->close_work);
	spin_lock(&vpfront_lock);
	the_device = NULL;
	spin_unlock(&vpfront_lock);
	dev_set_drvdata(&xbdev->dev, NULL);
	xenbus_free_queues(dev);
	kfree(dev);
}

/*
 * The guest will be saved or migrated, and its shadow sockets will not go along: what no
 * operation has comes home before.
 */
static int vpfront_suspend(struct xenbus_device *xbdev)
{
	vpfront_flow_quiesce(dev_get_drvdata(&xbdev->dev));
	return 0;
}

/*
 * After save and restore, or migration, there is no backend that knows us, and the
 * shadow sockets are gone.  The toolstack attaches anew.
 */
static int vpfront_resume(struct xenbus_device *xbdev)
{
	struct vpfront_device *dev = dev_get_drvdata(&xbdev->dev);

	WRITE_ONCE(dev->gone, true);
	WRITE_ONCE(dev->broken, true);
	wake_up_all(&dev->wait);
	xenbus_begin_closing(dev);
	schedule_work(&dev->close_work);
	return 0;
}

/*
 * Called by the xenwatch thread when something changes below "device/vpipe", and when
 * the guest was restored: then no node of the device is there any more.  The bus does
 * not see that, and would keep a dead device in the place of the next one.
 */
static void vpfront_nodes_changed(struct xenbus_watch *watch, const char *path,
				  const char *token)
{
	struct xenbus_device *xbdev = NULL;

	spin_lock(&vpfront_lock);
	if (the_device) {
		xbdev = the_device->xbdev;
		get_device(&xbdev->dev);
	}
	spin_unlock(&vpfront_lock);
	if (!xbdev)
		return;
	if (!xbdev->otherend || xenbus_exists(XBT_NIL, xbdev->nodename, "backend") <= 0)
		device_unregister(&xbdev->dev);
	put_device(&xbdev->dev);
}

static struct xenbus_watch vpfront_watch = {
	.node = "device/vpipe",
	.callback = vpfront_nodes_changed,
};

static const struct xenbus_device_id vpfront_ids[] = {
	{ "vpipe" },
	{ "" }
};

static struct xenbus_driver vpfront_driver = {
	.ids = vpfront_ids,
	.probe = vpfront_probe,
	.remove = vpfront_remove,
	.suspend = vpfront_suspend,
	.resume = vpfront_resume,
	.otherend_changed = vpfront_backend_changed,
	.not_essential = true,
};

int vpfront_xenbus_init(void)
{
	int ret = xenbus_register_frontend(&vpfront_driver);

	if (ret)
		return ret;
	ret = register_xenbus_watch(&vpfront_watch);
	if (ret)
		xenbus_unregister_driver(&vpfront_driver);
	return ret;
}

void vpfront_xenbus_exit(void)
{
	unregister_xenbus_watch(&vpfront_watch);
	xenbus_unregister_driver(&vpfront_driver);
}
