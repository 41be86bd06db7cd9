// SPDX-License-Identifier: GPL-2.0
/* vpipectl: what all attached domains do */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sample.h"
#include "vpipectl.h"

static const char *const counter_file[SAMPLE_COUNTERS] = {
	[SAMPLE_BYTES] = "bytes_total",
	[SAMPLE_CHARGED] = "charged_bytes_total",
	[SAMPLE_REGULAR] = "regular_bytes_total",
	[SAMPLE_CREDITS] = "credits",
	[SAMPLE_WAITS] = "credit_waits_total",
	[SAMPLE_WAIT_US] = "credit_wait_us_total",
	[SAMPLE_FLOWS] = "flows",
	[SAMPLE_WEIGHT] = "weight",
	[SAMPLE_CAP] = "cap",
};

void sample_domain(struct domain_sample *domain, unsigned int domid)
{
	char dir[DEVICE_PATH_MAX + 16];
	struct device dev;
	struct share share;
	unsigned int i;

	memset(domain, 0, sizeof(*domain));
	domain->domid = domid;
	domain->name = domain_name(domid);
	device_init(&dev, domid);
	snprintf(dir, sizeof(dir), "%s/statistics", dev.sysfs);
	for (i = 0; i < SAMPLE_COUNTERS; i++)
		domain->counter[i].known = attribute_number(dir, counter_file[i],
							    &domain->counter[i].value);
	/* where the backend does not say what holds: what was asked for */
	share_init(&share);
	limit_read(XBT_NULL, dev.backend, &share);
	for (i = 0; i < 2; i++) {
		struct sample_value *value = &domain->counter[i ? SAMPLE_CAP : SAMPLE_WEIGHT];
		long long said = share.value[i ? SHARE_CAP : SHARE_WEIGHT];

		if (!value->known && said >= 0)
			*value = (struct sample_value){ said, true };
	}
	operations_read(&domain->ops, domid);
}

void sample_domain_free(struct domain_sample *domain)
{
	free(domain->name);
	operations_free(&domain->ops);
}

static void compare(struct domain_sample *now, const struct domain_sample *before, double seconds)
{
	long long bytes = now->counter[SAMPLE_BYTES].value - before->counter[SAMPLE_BYTES].value;

	if (seconds > 0 && bytes > 0)
		now->rate = bytes / seconds;
	operations_rate(&now->ops, &before->ops, seconds);
}

/* With the rates since the sample before, if there is one (not NULL) */
void sample_take(struct sample *sample, const struct sample *before)
{
	unsigned int i, k, n, *domids = device_domains(&n);
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	sample->time = ts.tv_sec + ts.tv_nsec / 1e9;
	sample->seconds = before ? sample->time - before->time : 0;
	sample->nr = 0;
	sample->domain = calloc(n + 1, sizeof(*sample->domain));
	for (i = 0; sample->domain && i < n; i++) {
		struct domain_sample *domain = &sample->domain[sample->nr];

		if (!domain_alive(domids[i]))
			continue;
		sample_domain(domain, domids[i]);
		for (k = 0; before && k < before->nr; k++)
			if (before->domain[k].domid == domids[i])
				compare(domain, &before->domain[k], sample->seconds);
		sample->nr++;
	}
	free(domids);
}

void sample_free(struct sample *sample)
{
	unsigned int i;

	for (i = 0; i < sample->nr; i++)
		sample_domain_free(&sample->domain[i]);
	free(sample->domain);
	sample->domain = NULL;
	sample->nr = 0;
}

void sample_operations_json(struct json *json, const struct operations *ops)
{
	unsigned int i;

	if (!ops->known) {
		json_null(json, "operations");
		return;
	}
	json_open(json, "operations", '[');
	for (i = 0; i < ops->nr; i++) {
		const struct operation *op = &ops->op[i];

		json_open(json, NULL, '{');
		json_number(json, "queue", op->queue);
		json_number(json, "flow", op->flow);
		json_string(json, "kind", op->kind);
		json_string(json, "cookie", op->cookie);
		json_string(json, "source", op->source);
		json_string(json, "sink", op->sink);
		json_number(json, "moved", op->moved);
		if (op->length < 0)
			json_null(json, "length");
		else
			json_number(json, "length", op->length);
		json_number(json, "rate", op->rate);
		json_string(json, "waits", op->waits);
		json_close(json, '}');
	}
	json_close(json, ']');
}

/* The members of an object that the caller has opened; counters by their own names */
void sample_domain_json(struct json *json, const struct domain_sample *domain)
{
	unsigned int i;

	for (i = 0; i < SAMPLE_COUNTERS; i++) {
		if (domain->counter[i].known)
			json_number(json, counter_file[i], domain->counter[i].value);
		else
			json_null(json, counter_file[i]);
	}
	json_number(json, "rate", domain->rate);
	sample_operations_json(json, &domain->ops);
}
