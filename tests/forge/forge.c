// SPDX-License-Identifier: GPL-2.0
/*
 * vpipe-forge: a frontend that connects as vpipe-front does and then sends the
 * commands that a test program gives it.  Loaded instead of vpipe-front.
 */
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <xen/events.h>
#include <xen/grant_table.h>
#include <xen/page.h>
#include <xen/xen.h>
#include <xen/xenbus.h>
#include <xen/interface/io/ring.h>
#include <xen/interface/io/vpipe.h>

#include "forge.h"

static DEFINE_MUTEX(lock);		/* serialises all below: one command at a time */
static struct xenbus_device *device;
static struct xen_vpipe_front_ring ring;
static void *ring_page, *event_page, *directory;
static grant_ref_t ring_ref, event_ref, directory_ref, pool_ref[FORGE_POOL_PAGES];
static struct page *pool[FORGE_POOL_PAGES];
static evtchn_port_t evtchn;
static int irq;
static bool connected;
static DECLARE_WAIT_QUEUE_HEAD(wait);

static irqreturn_t forge_interrupt(int i, void *data)
{
	wake_up_all(&wait);
	return IRQ_HANDLED;
}

static int forge_setup(void)
{
	char path[128];
	u32 *refs;
	int ret, i;

	ret = xenbus_setup_ring(device, GFP_KERNEL, &ring_page, 1, &ring_ref) ?:
	      xenbus_setup_ring(device, GFP_KERNEL, &event_page, 1, &event_ref) ?:
	      xenbus_setup_ring(device, GFP_KERNEL, &directory, 1, &directory_ref);
	if (ret)
		return ret;
	XEN_FRONT_RING_INIT(&ring, (struct xen_vpipe_sring *)ring_page, XEN_PAGE_SIZE);
	refs = directory;
	for (i = 0; i < FORGE_POOL_PAGES; i++) {
		pool[i] = alloc_page(GFP_KERNEL | __GFP_ZERO);
		if (!pool[i])
			return -ENOMEM;
		pool_ref[i] = gnttab_grant_foreign_access(device->otherend_id,
							  xen_page_to_gfn(pool[i]), 0);
		refs[i] = pool_ref[i];
	}
	ret = xenbus_alloc_evtchn(device, &evtchn);
	if (ret)
		return ret;
	ret = bind_evtchn_to_irqhandler(evtchn, forge_interrupt, 0, "vpipe-forge", device);
	if (ret < 0)
		return ret;
	irq = ret;
	snprintf(path, sizeof(path), "%s/queue-0", device->nodename);
	return xenbus_printf(XBT_NIL, device->nodename, "version", "%u", XEN_VPIPE_VERSION) ?:
	       xenbus_printf(XBT_NIL, device->nodename, "num-queues", "1") ?:
	       xenbus_printf(XBT_NIL, path, "ring-page-order", "0") ?:
	       xenbus_printf(XBT_NIL, path, "ring-ref0", "%u", ring_ref) ?:
	       xenbus_printf(XBT_NIL, path, "event-ref", "%u", event_ref) ?:
	       xenbus_printf(XBT_NIL, path, "pool-ref", "%u", directory_ref) ?:
	       xenbus_printf(XBT_NIL, path, "pool-pages", "%u", FORGE_POOL_PAGES) ?:
	       xenbus_printf(XBT_NIL, path, "event-channel", "%u", evtchn) ?:
	       xenbus_switch_state(device, XenbusStateInitialised);
}

static bool forge_answered(void)
{
	return READ_ONCE(ring.sring->rsp_prod) != ring.rsp_cons;
}

static long forge_command(struct forge_command *cmd)
{
	struct xen_vpipe_request *req;
	struct xen_vpipe_response rsp;
	int notify;

	if (cmd->page >= FORGE_POOL_PAGES)
		return -EINVAL;
	if (cmd->page_data && copy_from_user(page_address(pool[cmd->page]),
					     u64_to_user_ptr(cmd->page_data), PAGE_SIZE))
		return -EFAULT;
	req = RING_GET_REQUEST(&ring, ring.req_prod_pvt);
	memcpy(req, cmd->request, sizeof(*req));
	req->id = ring.req_prod_pvt;
	ring.req_prod_pvt++;
	RING_PUSH_REQUESTS_AND_CHECK_NOTIFY(&ring, notify);
	ring.sring->rsp_event = ring.rsp_cons + 1;
	notify_remote_via_irq(irq);
	if (!wait_event_timeout(wait, forge_answered(), msecs_to_jiffies(cmd->timeout_ms)))
		return -ETIMEDOUT;
	RING_COPY_RESPONSE(&ring, ring.rsp_cons, &rsp);
	ring.rsp_cons++;
	cmd->status = rsp.status;
	cmd->value = rsp.value;
	return 0;
}

/* Whoever is slow here is the backend: this thread only polls. */
static void forge_flood(struct forge_flood *flood)
{
	unsigned long end = jiffies + msecs_to_jiffies(flood->ms);
	struct xen_vpipe_response rsp;
	unsigned int next = 0;
	int notify;

	while (time_before(jiffies, end) && !signal_pending(current)) {
		while (!RING_FULL(&ring)) {
			struct xen_vpipe_request *req = RING_GET_REQUEST(&ring, ring.req_prod_pvt);

			memcpy(req, flood->request[next], sizeof(*req));
			req->id = ring.req_prod_pvt++;
			next = (next + 1) % flood->nr;
		}
		RING_PUSH_REQUESTS_AND_CHECK_NOTIFY(&ring, notify);
		if (notify)
			notify_remote_via_irq(irq);
		while (forge_answered()) {
			RING_COPY_RESPONSE(&ring, ring.rsp_cons, &rsp);
			ring.rsp_cons++;
			flood->answered++;
			flood->last = rsp.status;
			if (rsp.status >= 0)
				continue;
			if (!flood->refused++)
				flood->first = rsp.status;
		}
		cond_resched();
	}
	/* The next command must find the ring empty. */
	end = jiffies + HZ;
	while (ring.rsp_cons != ring.req_prod_pvt && time_before(jiffies, end)) {
		if (forge_answered())
			ring.rsp_cons++;
		else
			cond_resched();
	}
}

static long forge_flood_user(struct forge_flood __user *user)
{
	struct forge_flood *flood = memdup_user(user, sizeof(*user));
	long ret = 0;

	if (IS_ERR(flood))
		return PTR_ERR(flood);
	flood->answered = 0;
	flood->refused = 0;
	flood->first = 0;
	if (!flood->nr || flood->nr > FORGE_FLOOD_REQUESTS)
		ret = -EINVAL;
	else
		forge_flood(flood);
	if (!ret && copy_to_user(user, flood, sizeof(*flood)))
		ret = -EFAULT;
	kfree(flood);
	return ret;
}

static long forge_ioctl(struct file *file, unsigned int nr, unsigned long arg)
{
	void __user *user = (void __user *)arg;
	struct forge_command cmd;
	long ret = -ENODEV;
	u32 jump;

	mutex_lock(&lock);
	if (!connected)
		goto out;
	switch (nr) {
	case FORGE_COMMAND:
		ret = copy_from_user(&cmd, user, sizeof(cmd)) ? -EFAULT : forge_command(&cmd);
		if (!ret && copy_to_user(user, &cmd, sizeof(cmd)))
			ret = -EFAULT;
		break;
	case FORGE_JUMP:
		ret = get_user(jump, (u32 __user *)user);
		if (!ret) {
			ring.sring->req_prod += jump;
			notify_remote_via_irq(irq);
		}
		break;
	case FORGE_FLOOD:
		ret = forge_flood_user(user);
		break;
	default:
		ret = -ENOTTY;
	}
out:
	mutex_unlock(&lock);
	return ret;
}

static void forge_backend_changed(struct xenbus_device *dev, enum xenbus_state state)
{
	switch (state) {
	case XenbusStateInitWait:
		if (dev->state == XenbusStateInitialising && forge_setup())
			xenbus_dev_fatal(dev, -EIO, "setup");
		break;
	case XenbusStateConnected:
		if (dev->state == XenbusStateInitialised) {
			xenbus_switch_state(dev, XenbusStateConnected);
			connected = true;
		}
		break;
	case XenbusStateClosing:
		connected = false;
		xenbus_switch_state(dev, XenbusStateClosing);
		break;
	case XenbusStateClosed:
		xenbus_frontend_closed(dev);
		break;
	default:
		break;
	}
}

static int forge_probe(struct xenbus_device *dev, const struct xenbus_device_id *id)
{
	device = dev;
	return xenbus_switch_state(dev, XenbusStateInitialising);
}

static const struct xenbus_device_id forge_ids[] = {
	{ "vpipe" },
	{ "" }
};

static struct xenbus_driver forge_driver = {
	.ids = forge_ids,
	.probe = forge_probe,
	.otherend_changed = forge_backend_changed,
	.not_essential = true,
};

static const struct file_operations forge_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = forge_ioctl,
};

static struct miscdevice forge_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "vpipe-forge",
	.fops = &forge_fops,
};

static int __init forge_init(void)
{
	int ret = misc_register(&forge_misc);

	if (ret)
		return ret;
	ret = xenbus_register_frontend(&forge_driver);
	if (ret)
		misc_deregister(&forge_misc);
	return ret;
}

/* Its pages stay granted for the rest of the guest's life: it is not unloaded. */
module_init(forge_init);
MODULE_DESCRIPTION("vPipe test frontend that sends forged requests");
MODULE_LICENSE("GPL");
