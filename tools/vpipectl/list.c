// SPDX-License-Identifier: GPL-2.0
/* vpipectl list, vpipectl show */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "sample.h"
#include "vpipectl.h"

struct row {
	struct device dev;
	bool alive;
	char *name;
	char *network;
	int backend;		/* XenbusState */
	int frontend;
	int queues;
	struct share share;	/* as xenstore says */
};

static void row_read(struct row *row, unsigned int domid)
{
	struct device *dev = &row->dev;

	device_init(dev, domid);
	row->alive = domain_alive(domid);
	row->name = domain_name(domid);
	row->network = store_read(XBT_NULL, dev->backend, "network-status");
	row->backend = device_backend_state(XBT_NULL, dev);
	row->frontend = device_frontend_state(XBT_NULL, dev);
	row->queues = store_number(XBT_NULL, dev->frontend, "num-queues");
	share_init(&row->share);
	limit_read(XBT_NULL, dev->backend, &row->share);
}

static void row_free(struct row *row)
{
	free(row->name);
	free(row->network);
}

static void format_number(long long value, char *text, size_t size)
{
	if (value >= 0)
		snprintf(text, size, "%lld", value);
	else
		snprintf(text, size, "-");
}

static void format_cap(long long cap, char *text, size_t size)
{
	if (cap > 0)
		rate_format(cap, text, size);
	else
		snprintf(text, size, "-");
}

static void row_print(const struct row *row)
{
	char queues[16], weight[24], cap[24];

	format_number(row->queues, queues, sizeof(queues));
	format_number(row->share.value[SHARE_WEIGHT], weight, sizeof(weight));
	format_cap(row->share.value[SHARE_CAP], cap, sizeof(cap));
	printf("%5u  %-24s  %-12s  %-12s  %-9s  %6s  %6s  %6s\n", row->dev.domid,
	       row->alive && row->name ? row->name : row->alive ? "-" : "(dead)",
	       device_state_name(row->backend), device_state_name(row->frontend),
	       row->network ? row->network : "-", queues, weight, cap);
}

static void row_json(struct json *json, const struct row *row)
{
	unsigned int i;

	json_number(json, "domid", row->dev.domid);
	json_string(json, "name", row->name);
	json_boolean(json, "alive", row->alive);
	json_string(json, "backend_state", device_state_name(row->backend));
	json_string(json, "frontend_state", device_state_name(row->frontend));
	json_string(json, "network_status", row->network);
	if (row->queues >= 0)
		json_number(json, "queues", row->queues);
	else
		json_null(json, "queues");
	json_open(json, "share", '{');
	for (i = 0; i < SHARE_ITEMS; i++) {
		if (row->share.value[i] >= 0)
			json_number(json, share_node[i], row->share.value[i]);
		else
			json_null(json, share_node[i]);
	}
	json_close(json, '}');
}

enum result list_run(const struct options *opt)
{
	unsigned int i, n, *domids = device_domains(&n);
	struct json json = { .out = stdout };
	struct row row;

	if (opt->json)
		json_open(&json, NULL, '[');
	else
		printf("%5s  %-24s  %-12s  %-12s  %-9s  %6s  %6s  %6s\n", "ID", "Name",
		       "Backend", "Frontend", "Network", "Queues", "Weight", "Cap");
	for (i = 0; i < n; i++) {
		row_read(&row, domids[i]);
		if (opt->json) {
			json_open(&json, NULL, '{');
			row_json(&json, &row);
			json_close(&json, '}');
		} else {
			row_print(&row);
		}
		row_free(&row);
	}
	if (opt->json) {
		json_close(&json, ']');
		putchar('\n');
	}
	free(domids);
	return OK;
}

static void show_value(const char *what, const struct sample_value *value)
{
	if (value->known)
		printf("%-18s %lld\n", what, value->value);
	else
		printf("%-18s -\n", what);
}

static void show_print(const struct row *row, const struct domain_sample *sample, const char *vifs)
{
	char number[24];
	unsigned int i;

	printf("%-18s %s\n%-18s %u%s\n", "name", row->name ? row->name : "-", "domain",
	       row->dev.domid, row->alive ? "" : " (dead)");
	printf("%-18s %s\n%-18s %s\n%-18s %s\n", "backend", device_state_name(row->backend),
	       "frontend", device_state_name(row->frontend), "network",
	       row->network ? row->network : "-");
	printf("%-18s %s\n", "vifs served", *vifs ? vifs : "-");
	format_number(row->queues, number, sizeof(number));
	printf("%-18s %s\n", "queues", number);
	show_value("weight", &sample->counter[SAMPLE_WEIGHT]);
	format_cap(sample->counter[SAMPLE_CAP].value, number, sizeof(number));
	printf("%-18s %s\n", "cap", number);
	for (i = SHARE_MAX_OPS; i < SHARE_ITEMS; i++) {
		format_number(row->share.value[i], number, sizeof(number));
		printf("%-18s %s\n", share_node[i], number);
	}
	show_value("credits", &sample->counter[SAMPLE_CREDITS]);
	show_value("waits for credit", &sample->counter[SAMPLE_WAITS]);
	show_value("bytes moved", &sample->counter[SAMPLE_BYTES]);
	show_value("bytes charged", &sample->counter[SAMPLE_CHARGED]);
	show_value("of them, not by us", &sample->counter[SAMPLE_REGULAR]);
	show_value("flows", &sample->counter[SAMPLE_FLOWS]);
	if (!sample->ops.known) {
		printf("%-18s -\n", "operations");
		return;
	}
	printf("%-18s %u\n", "operations", sample->ops.nr);
	operations_print(stdout, &sample->ops, INT_MAX);
}

/* Handles with spaces between them */
static void json_vifs(struct json *json, char *vifs)
{
	char *save, *word;

	json_open(json, "vifs", '[');
	for (word = strtok_r(vifs, " ", &save); word; word = strtok_r(NULL, " ", &save))
		json_number(json, NULL, strtol(word, NULL, 10));
	json_close(json, ']');
}

enum result show_run(const struct options *opt, unsigned int domid)
{
	struct json json = { .out = stdout };
	struct domain_sample sample;
	char vifs[256] = "";
	enum result rc;
	struct row row;

	device_init(&row.dev, domid);
	rc = device_check(&row.dev);
	if (rc)
		return rc;
	row_read(&row, domid);
	sample_domain(&sample, domid);
	attribute_read(row.dev.sysfs, "vifs", vifs, sizeof(vifs));
	if (opt->json) {
		json_open(&json, NULL, '{');
		row_json(&json, &row);
		json_vifs(&json, vifs);
		sample_domain_json(&json, &sample);
		json_close(&json, '}');
		putchar('\n');
	} else {
		show_print(&row, &sample, vifs);
	}
	sample_domain_free(&sample);
	row_free(&row);
	return OK;
}
