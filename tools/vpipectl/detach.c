// SPDX-License-Identifier: GPL-2.0
/*
 * vpipectl detach
 *
 * The guest takes its connections back first: the toolstack asks (online = 0,
 * state = Closing), the frontend returns all flows and closes, the backend unmaps
 * and is Closed.  Then, and not before, the nodes go.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xen/io/xenbus.h>

#include "vpipectl.h"

#define DEFAULT_TIMEOUT 30	/* seconds */

struct attempt {
	struct device *dev;
	bool removed;
};

/* Nothing to be given back: no frontend, or none that ever connected */
static bool is_idle(xs_transaction_t t, const struct device *dev)
{
	int backend = device_backend_state(t, dev);
	int frontend = device_frontend_state(t, dev);

	return backend <= XenbusStateInitWait || backend == XenbusStateClosed ||
	       frontend <= XenbusStateInitialising;
}

/* Or the daemon would attach it at once again */
static bool tell_daemon(xs_transaction_t t, unsigned int domid)
{
	char path[DEVICE_PATH_MAX];

	snprintf(path, sizeof(path), "/local/domain/%u", domid);
	if (!store_exists(t, path))
		return true;
	snprintf(path, sizeof(path), DEVICE_WISH, domid);
	return store_write(t, path, "attach", "0");
}

static enum result close_body(xs_transaction_t t, void *arg)
{
	struct attempt *attempt = arg;
	struct device *dev = attempt->dev;
	bool ok;

	if (!store_exists(t, dev->backend) && !store_exists(t, dev->frontend))
		return WRONG_STATE;
	attempt->removed = !domain_alive(dev->domid) || is_idle(t, dev);
	if (attempt->removed)
		ok = device_remove_nodes(t, dev);
	else
		ok = store_write(t, dev->backend, "online", "0") &&
		     store_write(t, dev->backend, "state", "5");
	if (ok && tell_daemon(t, dev->domid))
		return OK;
	complain("cannot write %s: %s", dev->backend, strerror(errno));
	return FAILED;
}

static bool has_closed(void *arg)
{
	const struct device *dev = arg;
	int backend = device_backend_state(XBT_NULL, dev);

	return backend < 0 || backend == XenbusStateClosed ||
	       device_frontend_state(XBT_NULL, dev) < 0 || !domain_alive(dev->domid);
}

static enum result await_close(struct device *dev, const struct options *opt)
{
	int seconds = opt->timeout < 0 ? DEFAULT_TIMEOUT : opt->timeout;
	int err = device_wait(dev, has_closed, dev, seconds);

	if (!err)
		return OK;
	if (err == -EINTR) {
		complain("interrupted; domain %u goes on closing, 'vpipectl detach' again removes its device",
			 dev->domid);
		return FAILED;
	}
	if (err != -ETIMEDOUT) {
		complain("cannot watch xenstore: %s", strerror(-err));
		return FAILED;
	}
	if (opt->force) {
		complain("domain %u did not take its connections back within %d s; removing its device all the same",
			 dev->domid, seconds);
		return OK;
	}
	complain("domain %u did not take its connections back within %d s (frontend %s); "
		 "wait and detach again, or use --force, which resets them",
		 dev->domid, seconds, device_state_name(device_frontend_state(XBT_NULL, dev)));
	device_explain(dev);
	return FAILED;
}

enum result detach_run(const struct options *opt, unsigned int domid)
{
	struct device dev;
	struct attempt attempt = { .dev = &dev };
	bool alive = domain_alive(domid);
	enum result rc;

	device_init(&dev, domid);
	rc = store_transaction(close_body, &attempt);
	if (rc == WRONG_STATE && !alive) {
		complain("no domain %u, and nothing left of one", domid);
		return NO_DOMAIN;
	}
	if (rc == WRONG_STATE)
		complain("domain %u is not attached; 'vpipectl list' shows those that are", domid);
	if (!rc && !attempt.removed)
		rc = await_close(&dev, opt);
	if (!rc)
		rc = device_remove(&dev);
	if (!rc)
		printf("domain %u detached\n", domid);
	return rc;
}
