// SPDX-License-Identifier: GPL-2.0
/*
 * vpipectl weight, vpipectl cap; and what else of a share is in xenstore
 *
 * The nodes are in the backend's directory, where the guest cannot write; the backend
 * watches them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vpipectl.h"

bool limit_write(xs_transaction_t t, const char *dir, const struct share *share)
{
	char value[24];
	unsigned int i;

	for (i = 0; i < SHARE_ITEMS; i++) {
		if (share->value[i] < 0)
			continue;
		snprintf(value, sizeof(value), "%lld", share->value[i]);
		if (!store_write(t, dir, share_node[i], value))
			return false;
	}
	return true;
}

/* What nobody has said, or said wrongly, is left as it is */
void limit_read(xs_transaction_t t, const char *dir, struct share *share)
{
	struct share said;
	unsigned int i;

	share_init(&said);
	for (i = 0; i < SHARE_ITEMS; i++) {
		char *value = store_read(t, dir, share_node[i]);

		if (value && !share_parse(i, value, &said.value[i]))
			said.value[i] = -1;
		free(value);
	}
	share_merge(share, &said);
}

struct change {
	const struct device *dev;
	enum share_item item;
	long long value;
};

static enum result change_body(xs_transaction_t t, void *arg)
{
	const struct change *change = arg;
	char path[DEVICE_PATH_MAX + 16], value[24];

	if (!store_exists(t, change->dev->backend)) {
		complain("domain %u is not attached", change->dev->domid);
		return WRONG_STATE;
	}
	snprintf(value, sizeof(value), "%lld", change->value);
	snprintf(path, sizeof(path), "%s/%s", change->dev->backend, share_node[change->item]);
	if (change->item == SHARE_CAP && !change->value ?
	    store_remove(t, path, 0) :
	    store_write(t, change->dev->backend, share_node[change->item], value))
		return OK;
	complain("cannot write %s: %s", path, strerror(errno));
	return FAILED;
}

enum result limit_run(const struct options *opt, unsigned int domid, enum share_item item)
{
	struct device dev;
	struct change change = { .dev = &dev, .item = item, .value = opt->share.value[item] };

	device_init(&dev, domid);
	if (!store_exists(XBT_NULL, dev.backend) && !domain_alive(domid)) {
		complain("no domain %u", domid);
		return NO_DOMAIN;
	}
	return store_transaction(change_body, &change);
}
