// SPDX-License-Identifier: GPL-2.0
/*
 * vpipectl cancel
 *
 * As if the guest's driver had asked for it: what has moved counts, and the call in
 * the guest goes on the ordinary way, or ends.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vpipectl.h"

/* QUEUE:FLOW */
bool cancel_parse(const char *text, struct cancel *cancel)
{
	char end;

	cancel->all = false;
	return !text[strspn(text, "0123456789:")] &&
	       sscanf(text, "%9u:%9u%c", &cancel->queue, &cancel->flow, &end) == 2;
}

static bool cancel_one(const struct device *dev, unsigned int queue, unsigned int flow)
{
	char path[DEVICE_PATH_MAX + 16], value[32];

	snprintf(path, sizeof(path), "%s/cancel", dev->sysfs);
	snprintf(value, sizeof(value), "%u %u", queue, flow);
	return attribute_write(path, value);
}

static enum result explain(unsigned int domid, unsigned int queue, unsigned int flow)
{
	if (errno == ENOENT) {
		complain("domain %u has nothing under way at %u:%u; 'vpipectl show' lists what there is",
			 domid, queue, flow);
		return WRONG_STATE;
	}
	complain("cannot cancel %u:%u of domain %u: %s", queue, flow, domid, strerror(errno));
	return FAILED;
}

/* What ends meanwhile needs no cancelling */
static enum result cancel_all(const struct device *dev, const struct options *opt)
{
	struct operations ops;
	unsigned int i, n = 0;
	enum result rc = OK;

	operations_read(&ops, dev->domid);
	if (!ops.known) {
		complain("what domain %u has under way is not shown here: is debugfs mounted, and the backend new enough? Name it as QUEUE:FLOW",
			 dev->domid);
		return FAILED;
	}
	for (i = 0; i < ops.nr; i++) {
		if (cancel_one(dev, ops.op[i].queue, ops.op[i].flow))
			n++;
		else if (errno != ENOENT)
			rc = explain(dev->domid, ops.op[i].queue, ops.op[i].flow);
	}
	operations_free(&ops);
	if (opt->json)
		printf("{\"domid\":%u,\"cancelled\":%u}\n", dev->domid, n);
	else
		printf("domain %u: %u cancelled\n", dev->domid, n);
	return rc;
}

enum result cancel_run(const struct options *opt, unsigned int domid, const struct cancel *cancel)
{
	char path[DEVICE_PATH_MAX + 16];
	struct device dev;
	enum result rc;

	device_init(&dev, domid);
	rc = device_check(&dev);
	if (rc)
		return rc;
	snprintf(path, sizeof(path), "%s/cancel", dev.sysfs);
	if (access(path, F_OK)) {
		complain("the backend that is loaded cannot cancel");
		return FAILED;
	}
	if (cancel->all)
		return cancel_all(&dev, opt);
	if (!cancel_one(&dev, cancel->queue, cancel->flow))
		return explain(domid, cancel->queue, cancel->flow);
	if (opt->json)
		printf("{\"domid\":%u,\"cancelled\":1}\n", domid);
	else
		printf("domain %u: 1 cancelled\n", domid);
	return OK;
}
