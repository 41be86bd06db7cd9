// SPDX-License-Identifier: GPL-2.0
/* vpipectl: one vPipe device: its nodes, states, sysfs directory, removal */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <xen/io/xenbus.h>

#include "vpipectl.h"

#define ERROR_ROOT "/local/domain/%u/error"

void device_init(struct device *dev, unsigned int domid)
{
	dev->domid = domid;
	snprintf(dev->backend, sizeof(dev->backend), DEVICE_ROOT "/%u/0", domid);
	snprintf(dev->frontend, sizeof(dev->frontend),
		 "/local/domain/%u/device/vpipe/0", domid);
	snprintf(dev->sysfs, sizeof(dev->sysfs),
		 "/sys/bus/xen-backend/devices/vpipe-%u-0", domid);
}

const char *device_state_name(int state)
{
	static const char *const names[] = {
		[XenbusStateUnknown] = "Unknown",
		[XenbusStateInitialising] = "Initialising",
		[XenbusStateInitWait] = "InitWait",
		[XenbusStateInitialised] = "Initialised",
		[XenbusStateConnected] = "Connected",
		[XenbusStateClosing] = "Closing",
		[XenbusStateClosed] = "Closed",
		[XenbusStateReconfiguring] = "Reconfiguring",
		[XenbusStateReconfigured] = "Reconfigured",
	};

	if (state < 0)
		return "gone";
	return state < (int)(sizeof(names) / sizeof(names[0])) ? names[state] : "invalid";
}

/* Is there a device? */
enum result device_check(const struct device *dev)
{
	if (store_exists(XBT_NULL, dev->backend))
		return OK;
	if (!domain_alive(dev->domid)) {
		complain("no domain %u", dev->domid);
		return NO_DOMAIN;
	}
	complain("domain %u is not attached", dev->domid);
	return WRONG_STATE;
}

/* -1: there is none */
int device_backend_state(xs_transaction_t t, const struct device *dev)
{
	return store_number(t, dev->backend, "state");
}

int device_frontend_state(xs_transaction_t t, const struct device *dev)
{
	return store_number(t, dev->frontend, "state");
}

/* The guest's death is seen by its directories going, and by @releaseDomain */
int device_wait(const struct device *dev, store_test test, void *arg, int seconds)
{
	const char *const paths[] = { dev->backend, dev->frontend, "@releaseDomain", NULL };

	return store_wait(paths, test, arg, seconds);
}

static char *read_error(unsigned int domid, const char *dir)
{
	char path[DEVICE_PATH_MAX];
	char *text, *p;

	/* as xenbus_dev_error: <home>/error/<path below home>/error */
	snprintf(path, sizeof(path), ERROR_ROOT "/%s", domid, dir);
	text = store_read(XBT_NULL, path, "error");
	for (p = text; p && *p; p++)	/* a guest may have written it */
		if (!isprint((unsigned char)*p))
			*p = '?';
	return text;
}

/* Says what the two drivers themselves had to complain about */
void device_explain(const struct device *dev)
{
	char path[DEVICE_PATH_MAX];
	char *text;

	snprintf(path, sizeof(path), "backend/vpipe/%u/0", dev->domid);
	text = read_error(0, path);
	if (text)
		complain("the backend says: %s", text);
	free(text);
	text = read_error(dev->domid, "device/vpipe/0");
	if (text)
		complain("the guest's frontend says: %.200s", text);
	free(text);
}

bool device_remove_nodes(xs_transaction_t t, const struct device *dev)
{
	char error[DEVICE_PATH_MAX];

	snprintf(error, sizeof(error), ERROR_ROOT "/backend/vpipe/%u/0", 0, dev->domid);
	if (!store_remove(t, error, 4))
		return false;
	/* its error directory stays: the guest could not make it again */
	snprintf(error, sizeof(error), ERROR_ROOT "/device/vpipe/0", dev->domid);
	return store_remove(t, error, 2) &&
	       store_remove(t, dev->frontend, 1) &&
	       store_remove(t, dev->backend, 2);
}

static enum result remove_body(xs_transaction_t t, void *arg)
{
	const struct device *dev = arg;

	if (device_remove_nodes(t, dev))
		return OK;
	complain("cannot remove %s: %s", dev->backend, strerror(errno));
	return FAILED;
}

enum result device_remove(const struct device *dev)
{
	enum result rc = store_transaction(remove_body, (void *)dev);

	if (!rc && !device_await_unplug(dev))
		complain("the nodes are removed, but the kernel still holds %s; see dmesg",
			 dev->sysfs);
	return rc;
}

/* The kernel removes its device some time after the nodes have gone */
bool device_await_unplug(const struct device *dev)
{
	const struct timespec pause = { .tv_nsec = 20 * 1000 * 1000 };
	unsigned int i;

	for (i = 0; i < 250; i++) {
		if (access(dev->sysfs, F_OK))
			return true;
		nanosleep(&pause, NULL);
	}
	return false;
}

static int compare_domids(const void *a, const void *b)
{
	unsigned int x = *(const unsigned int *)a, y = *(const unsigned int *)b;

	return (x > y) - (x < y);
}

/* The numbers of all domains that have a device, or leftovers of one */
unsigned int *device_domains(unsigned int *n)
{
	char **list = store_list(XBT_NULL, DEVICE_ROOT, n);
	unsigned int *domids = calloc(*n + 1, sizeof(*domids));
	unsigned int i;

	if (!domids) {
		*n = 0;
	} else {
		for (i = 0; i < *n; i++)
			domids[i] = strtoul(list[i], NULL, 10);
		qsort(domids, *n, sizeof(*domids), compare_domids);
	}
	free(list);
	return domids;
}

static enum result sweep_body(xs_transaction_t t, void *arg)
{
	struct device *dev = arg;
	char home[DEVICE_PATH_MAX];

	/* both, and in the transaction: a new domain may just get this number */
	snprintf(home, sizeof(home), "/local/domain/%u", dev->domid);
	if (store_exists(t, home) || domain_alive(dev->domid))
		return WRONG_STATE;
	return device_remove_nodes(t, dev) ? OK : FAILED;
}

/*
 * Removes what is left of domains that are gone, and may wait until the kernel has
 * followed; true: of some there is more, but they are not quite gone yet
 */
bool device_sweep(bool wait)
{
	unsigned int n, i, *domids = device_domains(&n);
	struct device dev;
	bool more = false;

	for (i = 0; i < n; i++) {
		if (domain_alive(domids[i]))
			continue;
		device_init(&dev, domids[i]);
		if (store_transaction(sweep_body, &dev))
			more = true;
		else if (wait)
			device_await_unplug(&dev);
	}
	free(domids);
	return more;
}
