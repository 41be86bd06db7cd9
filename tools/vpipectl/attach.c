// SPDX-License-Identifier: GPL-2.0
/*
 * vpipectl attach, vpipectl update
 *
 *   vpipectl                              vpipe-back
 *   writes both directories         -->   probes
 *                                   <--   network-status = waiting
 *   new network namespace           -->   makes a link for each vif in it
 *   routes, rules, sysctls; "done"  -->   network-status = connected, InitWait
 *                                         Connected, when the guest's driver comes
 *
 * Each step is undone when a later one fails.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xen/io/xenbus.h>

#include "vpipectl.h"

#define PROBE_TIMEOUT	10	/* seconds */
#define DEFAULT_TIMEOUT	5

static enum result check_host(void)
{
	if (access("/proc/sys/net/ipv4", F_OK)) {
		complain("/proc/sys is missing: mount /proc");
		return FAILED;
	}
	if (access("/sys/bus/xen-backend", F_OK)) {
		complain("this kernel has no Xen backend bus, or /sys is not mounted");
		return FAILED;
	}
	if (access(DEVICE_DRIVER, F_OK)) {
		complain("the backend is not loaded; load it: modprobe vpipe-back");
		return FAILED;
	}
	return OK;
}

static enum result check_domain(unsigned int domid)
{
	char dir[DEVICE_PATH_MAX];
	unsigned int n;

	if (!domid) {
		complain("domain 0 is not a guest: programs in it need no vPipe");
		return USAGE;
	}
	if (!domain_alive(domid)) {
		complain("no domain %u; 'xl list' shows those that run", domid);
		return NO_DOMAIN;
	}
	snprintf(dir, sizeof(dir), "/local/domain/0/backend/vif/%u", domid);
	free(store_list(XBT_NULL, dir, &n));
	if (!n) {
		complain("domain %u has no vif that this domain serves: give it one (xl network-attach %u), then attach",
			 domid, domid);
		return FAILED;
	}
	return OK;
}

struct attempt {
	struct device *dev;
	const struct share *share;
	bool stale;
};

static bool write_nodes(xs_transaction_t t, const struct device *dev, const struct share *share)
{
	char domid[16];

	snprintf(domid, sizeof(domid), "%u", dev->domid);
	return store_mkdir(t, dev->frontend, dev->domid, 0) &&
	       store_write(t, dev->frontend, "backend", dev->backend) &&
	       store_write(t, dev->frontend, "backend-id", "0") &&
	       store_write(t, dev->frontend, "state", "1") &&
	       store_mkdir(t, dev->backend, 0, dev->domid) &&
	       store_write(t, dev->backend, "frontend", dev->frontend) &&
	       store_write(t, dev->backend, "frontend-id", domid) &&
	       store_write(t, dev->backend, "online", "1") &&
	       limit_write(t, dev->backend, share) &&
	       store_write(t, dev->backend, "state", "1");
}

static enum result say_attached(const struct device *dev, int state)
{
	const char *advice = "";

	if (state >= XenbusStateClosing)
		advice = " and is being detached; 'vpipectl detach' finishes that";
	complain("domain %u is attached already (backend %s)%s", dev->domid,
		 device_state_name(state), advice);
	return WRONG_STATE;
}

/* What a detach has told the daemon holds no more */
static bool forget_detach(xs_transaction_t t, unsigned int domid)
{
	char path[DEVICE_PATH_MAX];

	snprintf(path, sizeof(path), DEVICE_WISH, domid);
	if (store_number(t, path, "attach"))
		return true;
	snprintf(path, sizeof(path), DEVICE_WISH "/attach", domid);
	return store_remove(t, path, 1);
}

/* Looks and writes in one transaction: of two at once, one finds the other's nodes */
static enum result write_body(xs_transaction_t t, void *arg)
{
	struct attempt *attempt = arg;
	struct device *dev = attempt->dev;
	char home[DEVICE_PATH_MAX];

	snprintf(home, sizeof(home), "/local/domain/%u", dev->domid);
	if (!store_exists(t, home)) {
		complain("domain %u is going away", dev->domid);
		return NO_DOMAIN;
	}
	/*
	 * A backend without its frontend is what an earlier domain has left; one that is
	 * half made, what an attach has that was killed: we have its lock now.
	 */
	attempt->stale = store_exists(t, dev->backend) &&
			 (!store_exists(t, dev->frontend) ||
			  device_backend_state(t, dev) == XenbusStateInitialising);
	if (attempt->stale)
		return device_remove_nodes(t, dev) ? OK : FAILED;
	if (store_exists(t, dev->backend))
		return say_attached(dev, device_backend_state(t, dev));
	/* a frontend alone is a leftover too, and may have wrong permissions */
	if (!store_remove(t, dev->frontend, 0) || !write_nodes(t, dev, attempt->share) ||
	    !forget_detach(t, dev->domid)) {
		complain("cannot write %s: %s", dev->backend, strerror(errno));
		return FAILED;
	}
	return OK;
}

static enum result write_device(struct device *dev, const struct share *share)
{
	struct attempt attempt = { .dev = dev, .share = share };
	enum result rc;

	do {
		rc = store_transaction(write_body, &attempt);
		/* else the kernel would take the new nodes for the old device */
		if (!rc && attempt.stale && !device_await_unplug(dev)) {
			complain("the kernel still holds %s of an earlier domain; see dmesg",
				 dev->sysfs);
			return FAILED;
		}
	} while (!rc && attempt.stale);
	return rc;
}

static bool has_probed(void *arg)
{
	const struct device *dev = arg;
	char *status = store_read(XBT_NULL, dev->backend, "network-status");
	bool waiting = status && !strcmp(status, "waiting");

	free(status);
	return waiting || device_backend_state(XBT_NULL, dev) != XenbusStateInitialising;
}

static enum result await_probe(struct device *dev)
{
	int err = device_wait(dev, has_probed, dev, PROBE_TIMEOUT);

	if (!err && device_backend_state(XBT_NULL, dev) == XenbusStateInitialising)
		return OK;
	if (err == -EINTR)
		complain("interrupted");
	else if (err == -ETIMEDOUT)
		complain("the backend did not take the device within %d s; see dmesg",
			 PROBE_TIMEOUT);
	else if (err)
		complain("cannot watch xenstore: %s", strerror(-err));
	else
		complain("the backend gave the device up");
	return FAILED;
}

/*
 * Connected, or on its way out. The guest's driver is the last: until it has seen the
 * backend connected and says so itself, its transfers go the ordinary way.
 */
static bool has_settled(void *arg)
{
	const struct device *dev = arg;
	int backend = device_backend_state(XBT_NULL, dev);
	int frontend = device_frontend_state(XBT_NULL, dev);

	return backend < 0 || frontend < 0 || frontend >= XenbusStateConnected ||
	       backend >= XenbusStateClosing;
}

static enum result await_guest(struct device *dev, int seconds)
{
	int err = device_wait(dev, has_settled, dev, seconds);
	int backend = device_backend_state(XBT_NULL, dev);
	int frontend = device_frontend_state(XBT_NULL, dev);

	if (backend == XenbusStateConnected && frontend == XenbusStateConnected) {
		printf("domain %u attached\n", dev->domid);
		return OK;
	}
	if (err == -ETIMEDOUT) {
		if (frontend == XenbusStateInitialising)
			printf("domain %u attached; waiting for the guest to load vpipe-front\n",
			       dev->domid);
		else
			printf("domain %u attached; its frontend is not ready yet (%s)\n",
			       dev->domid, device_state_name(frontend));
		return OK;
	}
	if (err == -EINTR)
		complain("interrupted");
	else if (err)
		complain("cannot watch xenstore: %s", strerror(-err));
	else if (frontend < 0)
		complain("domain %u went away", dev->domid);
	else
		complain("the guest and the backend did not come together (frontend %s, backend %s); see dmesg in both",
			 device_state_name(frontend), device_state_name(backend));
	return FAILED;
}

enum result attach_run(const struct options *opt, unsigned int domid)
{
	struct device dev;
	enum result rc;

	rc = check_domain(domid);
	if (!rc)
		rc = check_host();
	if (!rc)
		rc = lock_take(domid);
	if (rc)
		return rc;
	device_sweep(true);
	device_init(&dev, domid);
	rc = write_device(&dev, &opt->share);
	if (rc)
		return rc;

	rc = await_probe(&dev);
	if (!rc)
		rc = netns_hand_over(&dev);
	/* no longer: the guest may take its time, and somebody may want to detach it */
	lock_give(domid);
	if (!rc)
		rc = await_guest(&dev, opt->timeout < 0 ? DEFAULT_TIMEOUT : opt->timeout);
	if (rc) {
		device_explain(&dev);
		device_remove(&dev);
	}
	return rc;
}

enum result update_run(unsigned int domid)
{
	struct device dev;
	enum result rc;
	int state;

	device_init(&dev, domid);
	rc = device_check(&dev);
	if (!rc)
		rc = lock_take(domid);
	if (rc)
		return rc;
	state = device_backend_state(XBT_NULL, &dev);
	if (state < XenbusStateInitWait || state > XenbusStateConnected) {
		complain("domain %u is not attached (backend %s)", domid,
			 device_state_name(state));
		return WRONG_STATE;
	}
	return netns_update(&dev);
}
